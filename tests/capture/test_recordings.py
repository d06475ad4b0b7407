"""Reading recordings: every format through one interface."""

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from sweepdepth import Calibration, CalibrationError, RecordingError
from sweepdepth.capture.events import EVENT_DTYPE, TRIGGER_DTYPE, Batch, make_events, make_triggers
from sweepdepth.capture.recordings import open_recording, write_recording
from sweepdepth.capture.sources.chunks import interleave

WIDTH, HEIGHT = 96, 72  # of the `calibration` fixture
START_US = 1_763_000_511_821_624
SHARED = Path(__file__).parents[2].parent / "shared" / "data" / "recordings"


def some_events(n: int = 5000, span_us: int = 400_000, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return make_events(
        START_US + np.sort(rng.integers(0, span_us, n)),
        rng.integers(0, WIDTH, n),
        rng.integers(0, HEIGHT, n),
        rng.integers(0, 2, n),
    )


def some_triggers() -> np.ndarray:
    """Edges of four sweeps of 100 ms; the first before, the last after all events."""
    return make_triggers(START_US - 500 + np.arange(5) * 100_500, np.array([1, 2, 1, 2, 1]))


def write(path: Path, events: np.ndarray, triggers: np.ndarray, **options) -> Path:
    write_recording(path, [Batch(events, triggers, 0)], WIDTH, HEIGHT, **options)
    return path


@pytest.fixture(params=[".h5", ".aedat4"])
def recorded(request, tmp_path) -> Path:
    """A file of each format that can store everything."""
    return write(tmp_path / f"sweep{request.param}", some_events(), some_triggers())


def test_properties_of_a_recording_are_known_on_opening(recorded):
    with open_recording(recorded) as recording:
        assert recording.format == {".h5": "HDF5", ".aedat4": "AEDAT4"}[recorded.suffix]
        assert (recording.width, recording.height) == (WIDTH, HEIGHT)
        assert recording.first_us is not None
        assert recording.last_us is not None
        assert START_US - 500 <= recording.first_us <= START_US + 1000
        assert START_US + 399_000 <= recording.last_us <= START_US + 401_500
        assert recording.n_events in (5000, None)
        assert recording.calibration is None
        assert not recording.repairs


def test_events_have_the_same_types_for_all_formats(recorded):
    with open_recording(recorded) as recording:
        events, triggers = recording.read()
    assert events.dtype == EVENT_DTYPE
    assert events.dtype.isalignedstruct
    assert triggers.dtype == TRIGGER_DTYPE
    np.testing.assert_array_equal(events, some_events())
    np.testing.assert_array_equal(triggers, some_triggers())


def test_batches_are_short_and_merged_in_time_order(recorded):
    end_us = 0
    with open_recording(recorded) as recording:
        for batch in recording:
            times = np.concatenate([batch.events["timestamp"], batch.triggers["timestamp"]])
            assert len(times)
            assert np.all(np.diff(batch.events["timestamp"]) >= 0)
            assert times.min() >= end_us
            assert times.max() < batch.end_us
            assert times.max() - times.min() <= 20_000
            end_us = batch.end_us
    assert end_us == some_triggers()["timestamp"][-1] + 1


def test_a_recording_can_be_read_again_and_again(recorded):
    with open_recording(recorded) as recording:
        first = [batch.end_us for batch in recording]
        assert [batch.end_us for batch in recording] == first
        next(iter(recording))
        assert len(recording.read()[0]) == 5000


def test_batches_own_their_memory(recorded):
    with open_recording(recorded) as recording:
        batches = list(recording)
    for batch in batches:
        batch.events["x"] += 1
    assert np.concatenate([b.events["x"] for b in batches]).tolist() == (some_events()["x"] + 1).tolist()


def test_the_stored_calibration_is_used_unless_another_is_given(recorded, calibration, lens):
    write(recorded, some_events(), some_triggers(), calibration=calibration, force=True)
    with open_recording(recorded) as recording:
        assert recording.calibration == calibration
    other = Calibration.parse(lens.replace("f_number = 1.4", "f_number = 2.0"))
    with open_recording(recorded, other) as recording:
        assert recording.calibration == other


def test_a_calibration_for_another_sensor_is_refused(recorded, lens):
    other = Calibration.parse(lens.replace("width = 96", "width = 97"))
    with pytest.raises(CalibrationError, match=r"has 96×72 pixels, but the calibration is for 97×72"):
        open_recording(recorded, other)


def test_a_file_of_the_dsec_dataset_opens_with_a_calibration(tmp_path, calibration):
    """Times as 32-bit µs after an offset, no size, no triggers."""
    events = some_events()
    with h5py.File(tmp_path / "events.h5", "w") as file:
        for name, column, dtype in (("x", "x", "u2"), ("y", "y", "u2"), ("p", "polarity", "u1")):
            file[f"events/{name}"] = events[column].astype(dtype)
        file["events/t"] = (events["timestamp"] - START_US).astype("u4")
        file["t_offset"] = START_US
        file["ms_to_idx"] = np.zeros(401, "u8")
    with pytest.raises(RecordingError, match=r"does not say how large its sensor is.*--lens"):
        open_recording(tmp_path / "events.h5")
    with open_recording(tmp_path / "events.h5", calibration) as recording:
        read, triggers = recording.read()
    np.testing.assert_array_equal(read, events)
    assert len(triggers) == 0


def test_additional_content_does_no_harm(tmp_path):
    """A scene of a dataset is a recording with ground truth at its root."""
    path = write(tmp_path / "scene_000042.h5", some_events(), some_triggers())
    with h5py.File(path, "a") as file:
        file["depth"] = np.ones((HEIGHT, WIDTH), "f4")
        file["intensity"] = np.ones((HEIGHT, WIDTH), "f4")
        file.attrs["seed"] = 7
    with open_recording(path) as recording:
        np.testing.assert_array_equal(recording.read()[0], some_events())


@pytest.mark.parametrize(
    "text",
    [
        "t,x,y,p\n{t0},3,4,1\n{t1},5,6,0\n",
        "{t0};3;4;1\r\n{t1};5;6;0\r\n",
        "# made by hand\n{t0} 3 4 1\n{t1} 5 6 0",
        "x\ty\tpolarity\ttimestamp\n3\t4\t1\t{t0}\n5\t6\t-1\t{t1}\n",
        "{s0} 3 4 1\n{s1} 5 6 0\n\n",
    ],
    ids=["header", "semicolons", "spaces", "columns in another order", "seconds"],
)
def test_text_files_are_read_in_any_layout(tmp_path, calibration, text):
    times = {"t0": START_US, "t1": START_US + 17, "s0": "1763000511.821624", "s1": "1763000511.821641"}
    (tmp_path / "events.txt").write_text(text.format(**times))
    with open_recording(tmp_path / "events.txt", calibration) as recording:
        events, _ = recording.read()
    assert events.tolist() == [(START_US, 3, 4, 1), (START_US + 17, 5, 6, 0)]


@pytest.mark.parametrize("start_us", [0, START_US])
def test_seconds_in_text_are_exact_to_the_microsecond(tmp_path, calibration, start_us):
    times = start_us + np.arange(2000)
    lines = [f"{t // 10**6}.{t % 10**6:06d} 1 2 1\n" for t in times.tolist()]
    (tmp_path / "events.txt").write_text("".join(lines))
    with open_recording(tmp_path / "events.txt", calibration) as recording:
        np.testing.assert_array_equal(recording.read()[0]["timestamp"], times)


def test_triggers_are_read_slightly_ahead_of_events():
    """The two streams of a file are merged in time, and a damaged trigger hides none of the later ones."""
    edge_us = START_US + np.arange(200) * 10_000
    edge_us[[5, 15, 16, 37]] = 2**62
    blocks = (events_at(START_US + i * 50_000 + np.arange(50_000)) for i in range(40))
    seen: list[int] = []
    for i, chunk in enumerate(
        interleave(blocks, ((t, make_triggers(np.array([t]), np.array([1]))) for t in edge_us.tolist()))
    ):
        seen += chunk.triggers["timestamp"].tolist()
        due = edge_us[edge_us <= START_US + (i + 1) * 50_000 - 1]
        assert set(due.tolist()) <= set(seen)
        assert len(seen) <= len(due) + 20
    assert seen == edge_us.tolist()


def events_at(times: np.ndarray) -> np.ndarray:
    return make_events(times, np.zeros(len(times)), np.zeros(len(times)), np.zeros(len(times)))


@pytest.mark.parametrize(
    "name, size, n_events, span_us",
    [
        ("emlb_demo-01.aedat4", (346, 260), 319_512, 510_990),
        ("expelliarmus_evt2_sample.raw", (640, 480), 539_481, 50_000),
        ("expelliarmus_evt3_sample.raw", (1280, 720), 219_596, 8_800),
        ("faery_dvs.es", (320, 240), 473_225, 999_000),
    ],
)
def test_real_recordings_are_read_completely(lens, name, size, n_events, span_us):
    if not SHARED.is_dir():
        pytest.skip("the development recordings are not here")
    camera = Calibration.parse(
        lens.replace("width = 96", f"width = {size[0]}").replace("height = 72", f"height = {size[1]}")
    )
    with open_recording(SHARED / name, camera) as recording:
        events, triggers = recording.read()
    assert (recording.width, recording.height) == size
    assert len(events) == n_events
    assert events["timestamp"][-1] - events["timestamp"][0] == pytest.approx(span_us, rel=0.01)
    assert len(triggers) == 0  # frames' triggers are not external edges
    assert not recording.repairs.events
    assert recording.repairs.coarse_us == (1000 if name == "faery_dvs.es" else None)


def test_a_missing_library_is_named_with_its_install_command(tmp_path):
    """faery is an extra that reads truncated AEDAT4 files; a module of that name that fails on import simulates its
    absence."""
    (tmp_path / "faery.py").write_text("raise ImportError('no faery here')")
    content = write(tmp_path / "a.aedat4", some_events(), some_triggers()).read_bytes()
    (tmp_path / "a.aedat4").write_bytes(content[: len(content) * 3 // 4])
    script = (
        "import sys\n"
        "from sweepdepth import open_recording, RecordingError\n"
        "try: open_recording(sys.argv[1])\n"
        "except RecordingError as error: print(error)\n"
    )
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    result = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "a.aedat4")],
        env=os.environ | {"PYTHONPATH": path}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert "pip install 'sweepdepth[formats]'" in result.stdout


def test_a_plain_script_without_a_main_guard_reads_from_any_folder(tmp_path, recorded):
    """A worker that imported the script would run it again; one that searched the current folder would find a wrong
    numpy."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "numpy.py").write_text("raise RuntimeError('the wrong numpy')")
    script = tmp_path / "script.py"
    script.write_text(
        "print('begin')\n"
        "from sweepdepth import open_recording\n"
        f"with open_recording({str(recorded)!r}) as recording:\n"
        "    print(sum(len(batch.events) for batch in recording))\n"
    )
    result = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path / "elsewhere",
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONDEVMODE": "1"},
    )
    assert result.stdout.split() == ["begin", "5000"]
    assert result.stderr == ""
