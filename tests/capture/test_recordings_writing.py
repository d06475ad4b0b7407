"""Writing recordings: what is read back, what a format cannot store, and that files appear complete or not at all."""

import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401  reads the compressed datasets
import numpy as np
import psutil
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sweepdepth import RecordingError
from sweepdepth.capture.events import EVENT_DTYPE, TRIGGER_DTYPE, Batch, join, make_events, make_triggers
from sweepdepth.capture.formats.recordings import AEDAT4_TRIGGERS, for_writing
from sweepdepth.capture.recordings import RecordingWriter, open_recording, write_recording
from sweepdepth.capture.sources.chunks import NO_EVENTS, NO_TRIGGERS, Sink, Source

WIDTH, HEIGHT = 96, 72
START_US = 1_763_000_511_821_624
SUFFIXES = [".h5", ".aedat4", ".raw", ".dat", ".es", ".csv", ".npz"]


def steady(n: int, start_us: int = START_US) -> np.ndarray:
    rng = np.random.default_rng(n)
    return make_events(
        start_us + np.arange(n), rng.integers(0, WIDTH, n), rng.integers(0, HEIGHT, n), rng.integers(0, 2, n)
    )


def one_batch(events: np.ndarray, triggers: np.ndarray = NO_TRIGGERS) -> list[Batch]:
    return [Batch(events, triggers, 0)]


EDGES = make_triggers(START_US + np.arange(4) * 200_000, np.array([1, 2, 1, 2]))

rows = st.lists(
    st.tuples(
        st.integers(0, 3) | st.integers(0, 60_000_000),  # µs since the event before: ties, and pauses of up to a minute
        st.integers(0, WIDTH - 1),
        st.integers(0, HEIGHT - 1),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=100,
)
edges = st.lists(st.tuples(st.integers(0, 1_000_000), st.sampled_from(sorted(AEDAT4_TRIGGERS.values()))), max_size=20)


@pytest.mark.parametrize("suffix", SUFFIXES)
@given(rows=rows, edges=edges)
@settings(deadline=None, max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_codec_restores_its_input(tmp_path, suffix, rows, edges):
    """To the microsecond, counted from 1970; Event Stream files count from their first event."""
    events = np.array(rows, EVENT_DTYPE)
    events["timestamp"] = START_US + np.cumsum(events["timestamp"])
    triggers = np.array(sorted((START_US + t, *kind) for t, kind in edges), TRIGGER_DTYPE)
    path = tmp_path / f"recording{suffix}"
    encode, decode = codec(path)
    sink = encode(str(path), WIDTH, HEIGHT, None)
    half = len(events) // 2
    sink.write(events[:half], triggers)
    sink.write(events[half:], NO_TRIGGERS)
    sink.close()
    source = decode(str(path), (WIDTH, HEIGHT))
    chunks = [(chunk.events.copy(), chunk.triggers.copy()) for chunk in source.chunks]
    if suffix == ".es":
        events["timestamp"] -= events["timestamp"][0]
    assert (source.header.width, source.header.height) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(join([e for e, _ in chunks]), events)
    if for_writing(path).holds_triggers:
        np.testing.assert_array_equal(join([t for _, t in chunks], TRIGGER_DTYPE), triggers)


def codec(path: Path) -> tuple[Callable[..., Sink], Callable[..., Source]]:
    """The encoder and the decoder, to be run in this process."""
    names = (for_writing(path).encoder or "", for_writing(path).decoder)
    encode, decode = (
        getattr(import_module(f"sweepdepth.capture.recordings.{module}"), function)
        for module, function in (name.split(":") for name in names)
    )
    return encode, decode


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_is_written_and_read_through_its_processes(tmp_path, suffix):
    path = tmp_path / f"recording{suffix}"
    n = 300_000  # several slots of the ring
    batches = [Batch(steady(n)[at : at + 70_000], NO_TRIGGERS, 0) for at in range(0, n, 70_000)]
    write_recording(path, batches, WIDTH, HEIGHT, lossy=suffix == ".es")
    with open_recording(path) as recording:
        events, triggers = recording.read()
    np.testing.assert_array_equal(events, steady(n, 0 if suffix == ".es" else START_US))
    assert len(triggers) == 0
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("suffix", [".h5", ".aedat4"])
def test_conversion_keeps_the_whole_recording(tmp_path, suffix, calibration):
    source, target = tmp_path / "source.h5", tmp_path / f"target{suffix}"
    write_recording(source, one_batch(steady(300_000), EDGES), WIDTH, HEIGHT, calibration)
    with open_recording(source) as recording:
        write_recording(target, recording, recording.width, recording.height, recording.calibration)
    with open_recording(target) as recording:
        events, triggers = recording.read()
        assert recording.calibration == calibration
    np.testing.assert_array_equal(events, steady(300_000))
    np.testing.assert_array_equal(triggers, EDGES)


def test_hdf5_follows_the_layout_of_dsec(tmp_path):
    """Tools for the DSEC dataset can read it, by that dataset's rule for time windows."""
    events = steady(200_000)  # more than is written at once
    events["timestamp"] = START_US + np.sort(np.random.default_rng(0).integers(0, 50_500, len(events)))
    events["timestamp"][0] = START_US
    write_recording(tmp_path / "a.h5", one_batch(events, EDGES), WIDTH, HEIGHT)
    with h5py.File(tmp_path / "a.h5") as file:
        offset, t, ms_to_idx = (np.asarray(file[name]) for name in ("t_offset", "events/t", "ms_to_idx"))
        assert offset == START_US
        assert t.dtype == np.int64
        assert np.asarray(file["events/x"]).tolist() == events["x"].tolist()
        assert np.asarray(file["triggers/type"]).tolist() == [1, 2, 1, 2]
        assert np.asarray(file["triggers/t"]).tolist() == [0, 200_000, 400_000, 600_000]
        assert (file.attrs["width"], file.attrs["height"]) == (WIDTH, HEIGHT)
    for start_ms, end_ms in ((0, 1), (3, 17), (0, 51), (50, 51)):
        window = t[int(ms_to_idx[start_ms]) : int(ms_to_idx[end_ms])]
        expected = t[(t >= start_ms * 1000) & (t < end_ms * 1000)]
        np.testing.assert_array_equal(window, expected)


def test_event_stream_files_have_their_y_axis_pointing_up(tmp_path):
    events = steady(1, 0)
    write_recording(tmp_path / "a.es", one_batch(events), WIDTH, HEIGHT)
    header, event = np.split(np.frombuffer((tmp_path / "a.es").read_bytes(), np.uint8), [20])
    assert header[:12].tobytes() == b"Event Stream"
    assert event[3] == HEIGHT - 1 - events["y"][0]


def test_a_pause_too_long_for_the_millisecond_index_is_refused(tmp_path):
    events = steady(2)
    events["timestamp"][1] += 101 * 3_600_000_000
    with pytest.raises(RecordingError, match=r"a\.h5: cannot be written: it would span 101 hours.*write \.aedat4"):
        write_recording(tmp_path / "a.h5", one_batch(events), WIDTH, HEIGHT)
    assert os.listdir(tmp_path) == []


def test_a_pause_too_long_for_the_clock_of_dat_is_refused(tmp_path):
    events = steady(2)
    events["timestamp"][1] += 36 * 60_000_000
    with pytest.raises(
        RecordingError, match=r"a\.dat: cannot be written: its clock cannot count a pause of 36 minutes"
    ):
        write_recording(tmp_path / "a.dat", one_batch(events), WIDTH, HEIGHT)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".dat", ".es", ".csv"])
def test_formats_without_triggers_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    with pytest.raises(RecordingError, match=r"cannot store triggers.*write \.h5 or \.aedat4, or give --lossy"):
        write_recording(path, one_batch(steady(10, 0), EDGES), WIDTH, HEIGHT)
    assert os.listdir(tmp_path) == []
    (loss,) = write_recording(path, one_batch(steady(10, 0), EDGES), WIDTH, HEIGHT, lossy=True)
    assert "triggers: 4 are lost" in loss
    with open_recording(path) as recording:
        assert len(recording.read()[0]) == 10


def test_the_absolute_time_is_not_lost_silently(tmp_path):
    with pytest.raises(RecordingError, match=f"cannot store absolute times, .* starts at {START_US} µs"):
        write_recording(tmp_path / "a.es", one_batch(steady(10)), WIDTH, HEIGHT)
    losses = write_recording(tmp_path / "a.es", one_batch(steady(10)), WIDTH, HEIGHT, lossy=True)
    assert losses == (f"ES cannot store absolute times: {START_US} µs were subtracted",)


@pytest.mark.parametrize("suffix", [".h5", ".aedat4", ".raw"])
def test_no_events_at_all_make_a_recording_too(tmp_path, suffix):
    write_recording(tmp_path / f"a{suffix}", [], WIDTH, HEIGHT)
    write_recording(tmp_path / f"b{suffix}", one_batch(NO_EVENTS, EDGES), WIDTH, HEIGHT)
    with open_recording(tmp_path / f"a{suffix}") as recording:
        assert list(recording) == []
    with open_recording(tmp_path / f"b{suffix}") as recording:
        events, triggers = recording.read()
    assert len(events) == 0
    np.testing.assert_array_equal(triggers, EDGES)


@pytest.mark.parametrize("spoil", ["order", "sensor", "triggers", "batches"])
def test_events_out_of_order_or_off_the_sensor_are_refused(tmp_path, spoil):
    events, triggers = steady(100), EDGES.copy()
    batches = one_batch(events, triggers)
    if spoil == "order":
        events["timestamp"][50] -= 10
    elif spoil == "sensor":
        events["x"][50] = WIDTH
    elif spoil == "triggers":
        triggers["timestamp"][1] = 0
    else:
        batches = batches * 2
    with pytest.raises(RecordingError, match="not in time order"):
        write_recording(tmp_path / "a.h5", batches, WIDTH, HEIGHT)
    assert os.listdir(tmp_path) == []


def test_an_existing_file_is_kept_unless_forced(tmp_path):
    path = tmp_path / "a.h5"
    path.write_text("precious")
    with pytest.raises(RecordingError, match=r"a\.h5: exists; give --force to replace it"):
        write_recording(path, one_batch(steady(10)), WIDTH, HEIGHT)
    assert path.read_text() == "precious"
    write_recording(path, one_batch(steady(10)), WIDTH, HEIGHT, force=True)
    assert os.listdir(tmp_path) == ["a.h5"]
    with open_recording(path) as recording:
        assert recording.n_events == 10


@pytest.mark.parametrize("suffix", [".h5", ".aedat4", ".csv"])
def test_a_failure_keeps_the_existing_file(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_text("precious")

    def broken_source():
        yield from one_batch(steady(1000))
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write_recording(path, broken_source(), WIDTH, HEIGHT, force=True)
    assert os.listdir(tmp_path) == [path.name]
    assert path.read_text() == "precious"


@pytest.mark.parametrize(
    "path, message",
    [
        ("a.png", r"\.png is not a recording format; use one of \.aedat4, \.h5"),
        ("a", "no suffix is not a recording format"),
        ("file/folder/a.aedat4", "file/folder: the folder cannot be made: Not a directory"),
        ("folder.h5", "is a folder"),
    ],
)
def test_paths_that_cannot_be_written_are_refused_at_once(tmp_path, path, message):
    (tmp_path / "folder.h5").mkdir()
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match=message):
        RecordingWriter(tmp_path / path, WIDTH, HEIGHT)


def encoders() -> list[psutil.Process]:
    """Child processes of this one that write recordings."""
    return [child for child in psutil.Process().children() if "sweepdepth.capture" in " ".join(child.cmdline())]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_size_limit_is_an_error_and_leaves_nothing(tmp_path, suffix):
    """Some encoders crash then, but in their own process."""
    writer = RecordingWriter(tmp_path / f"a{suffix}", WIDTH, HEIGHT, lossy=True)
    (encoder,) = encoders()
    resource.prlimit(encoder.pid, resource.RLIMIT_FSIZE, (1 << 19, 1 << 19))
    with pytest.raises(RecordingError, match="cannot be written: "):
        write_all(writer, [Batch(steady(400_000), NO_TRIGGERS, 0)])
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("suffix", [".h5", ".aedat4"])
def test_a_full_disk_is_reported(tmp_path, suffix):
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can make a small disk")
    try:
        writer = RecordingWriter(tmp_path / f"a{suffix}", WIDTH, HEIGHT)
        with pytest.raises(RecordingError, match="cannot be written: the disk is full"):
            write_all(writer, [Batch(steady(400_000), NO_TRIGGERS, 0)])
        assert os.listdir(tmp_path) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def write_all(writer: RecordingWriter, batches: list[Batch]) -> None:
    for batch in batches:
        writer.write(batch)
    writer.close()


def test_temporary_files_of_a_killed_run_are_removed_by_the_next(tmp_path):
    """But a file that another process is still writing stays."""
    script = (
        "import sys, time\n"
        "from sweepdepth.capture.recordings import RecordingWriter\n"
        "writer = RecordingWriter(sys.argv[1], 96, 72)\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    path = tmp_path / "a.h5"
    other = subprocess.Popen([sys.executable, "-c", script, str(path)], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    with other, other.stdout:
        assert other.stdout.readline() == "ready\n"
        (left_behind,) = os.listdir(tmp_path)
        assert left_behind.startswith(".a.h5.")
        assert ".partial" in left_behind
        with RecordingWriter(tmp_path / "b.h5", WIDTH, HEIGHT):
            assert left_behind in os.listdir(tmp_path)
        with RecordingWriter(path, WIDTH, HEIGHT) as writer:
            assert left_behind in os.listdir(tmp_path)
            writer.abort()
        other.send_signal(signal.SIGKILL)
        other.wait()
    with RecordingWriter(path, WIDTH, HEIGHT):
        assert left_behind not in os.listdir(tmp_path)
    assert sorted(os.listdir(tmp_path)) == ["a.h5", "b.h5"]


def test_a_killed_encoder_is_an_error(tmp_path):
    writer = RecordingWriter(tmp_path / "a.h5", WIDTH, HEIGHT)
    (encoder,) = encoders()
    encoder.kill()
    batches = [Batch(steady(100_000, START_US + i * 100_000), NO_TRIGGERS, 0) for i in range(20)]
    with pytest.raises(RecordingError, match=r"a\.h5: cannot be written: the encoder was ended by SIGKILL"):
        write_all(writer, batches)
    assert os.listdir(tmp_path) == []


def test_a_closed_writer_refuses_events(tmp_path):
    writer = RecordingWriter(tmp_path / "a.csv", WIDTH, HEIGHT)
    writer.write(Batch(steady(3, 0), NO_TRIGGERS, 0))
    writer.close()
    writer.close()
    writer.abort()
    with pytest.raises(RecordingError, match="is closed"):
        writer.write(Batch(steady(3, 0), NO_TRIGGERS, 0))
    assert Path(tmp_path / "a.csv").read_text().splitlines()[0] == "t,x@96,y@72,on"
