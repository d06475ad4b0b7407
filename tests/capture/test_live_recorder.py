"""Recording while streaming blocks nothing, and its file stays readable whatever happens to the writing processes."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psutil
import pytest

from sweepdepth import RecordingError
from sweepdepth.capture.events import Batch, make_events, make_triggers
from sweepdepth.capture.recordings import LiveRecorder, open_recording
from sweepdepth.capture.sources.chunks import NO_TRIGGERS

WIDTH, HEIGHT = 96, 72
START_US = 1_763_000_511_821_624
KINDS = [".h5", ".aedat4"]


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    yield
    assert encoders() == []


def encoders() -> list[psutil.Process]:
    """Child processes of this one that write recordings."""
    return [child for child in psutil.Process().children() if "sweepdepth.capture" in " ".join(child.cmdline())]


def steady(n: int, start_us: int = START_US, step_us: int = 1) -> np.ndarray:
    rng = np.random.default_rng(n)
    return make_events(
        start_us + step_us * np.arange(n), rng.integers(0, WIDTH, n), rng.integers(0, HEIGHT, n), rng.integers(0, 2, n)
    )


def read(path: Path) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    with open_recording(path) as recording:
        events, triggers = recording.read()
        return events, triggers, recording.repairs.notes


@pytest.mark.parametrize("suffix", KINDS)
def test_the_file_contains_the_streamed_events(tmp_path, calibration, suffix):
    events = steady(200_000)
    triggers = make_triggers(START_US + np.array([0, 100_000]), np.array([1, 2]))
    path = tmp_path / f"live{suffix}"
    with LiveRecorder(path, WIDTH, HEIGHT, calibration) as record:
        record(Batch(events[:100_000], triggers[:1], START_US + 100_000))
        record(Batch(events[100_000:], triggers[1:], START_US + 200_000))
    status = record.status()
    assert (status.n_events, status.n_triggers, status.failure) == (200_000, 2, None)
    assert status.sentences == ()
    got_events, got_triggers, notes = read(path)
    np.testing.assert_array_equal(got_events, events)
    np.testing.assert_array_equal(got_triggers, triggers)
    assert notes == ()
    with open_recording(path) as recording:
        assert recording.calibration == calibration


def test_a_recording_can_be_read_while_it_grows(tmp_path):
    path = tmp_path / "live.h5"
    with LiveRecorder(path, WIDTH, HEIGHT) as recorder:
        deadline = time.monotonic() + 30
        start_us, n = START_US, 0
        while n < 20_000:
            recorder.write(Batch(steady(2000, start_us), NO_TRIGGERS, start_us + 2000))
            start_us += 2000
            time.sleep(0.05)
            assert time.monotonic() < deadline
            if (start_us - START_US) % 20_000 == 0:
                events, _, notes = read(path)
                n = len(events)
                assert notes == ("it was never closed: it is still being recorded, or the recording was cut off",)


RECORDING = """
import sys, time
import numpy as np
from sweepdepth.capture.events import Batch, make_events, make_triggers
from sweepdepth.capture.recordings import LiveRecorder
recorder = LiveRecorder(sys.argv[1], 96, 72)
print(recorder._process.pid, flush=True)
began_us = time.monotonic_ns() // 1000
at_us = began_us
recorded = 0
while True:
    until_us = time.monotonic_ns() // 1000
    t = np.arange(at_us, until_us, 20)
    events = make_events(t, t % 96, t % 72, t % 2)
    recorder.write(Batch(events, make_triggers(t[:1], np.ones(1)), until_us))
    assert not recorder.status().dropped_events
    at_us = until_us
    if recorded < 100_000 <= recorded + len(t):
        print("2 s of events", flush=True)
    recorded += len(t)
    time.sleep(0.01)
"""


@pytest.mark.parametrize("suffix", KINDS)
@pytest.mark.parametrize("who", ["both", "owner", "encoder"])
def test_a_killed_process_loses_a_second_at_most(tmp_path, suffix, who):
    """Events have the host's time, so the age of the last one in the file is the length of the loss."""
    path = tmp_path / f"live{suffix}"
    command = [sys.executable, "-c", RECORDING, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        encoder = psutil.Process(int(owner.stdout.readline()))
        owner.stdout.readline()
        killed_us = time.monotonic_ns() // 1000
        if who in ("both", "encoder"):
            encoder.kill()
        if who in ("both", "owner"):
            owner.kill()
        psutil.wait_procs([encoder], timeout=30)
        owner.kill()
    events, triggers, _ = read(path)
    age_s = (killed_us - int(events["timestamp"][-1])) * 1e-6
    np.testing.assert_array_equal(events["x"], events["timestamp"] % 96)
    assert len(events) > 10_000
    if suffix == ".h5":
        assert age_s < 1.0
        assert len(triggers) > 0


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Path]:
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can make a small disk")
    yield tmp_path
    subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("suffix", KINDS)
def test_a_full_disk_stops_the_recording_with_one_warning(small_disk, suffix):
    """Further writing has no effect, and the file keeps its content."""
    path, warnings = small_disk / f"live{suffix}", []
    with LiveRecorder(path, WIDTH, HEIGHT, on_failure=warnings.append) as recorder:
        rng, deadline = np.random.default_rng(0), time.monotonic() + 60
        k = ignored = 0
        while ignored < 5:
            events = steady(20_000, START_US + 20_000 * k)
            events["x"] = rng.integers(0, WIDTH, len(events))
            recorder.write(Batch(events, NO_TRIGGERS, START_US + 20_000 * (k + 1)))
            k += 1
            ignored += bool(warnings)
            time.sleep(0.05)
            assert time.monotonic() < deadline
    assert warnings == [f"{path}: the disk is full; it keeps what was written before"]
    assert recorder.status().failure == warnings[0]
    assert recorder.status().sentences == (f"recording stopped: {warnings[0]}",)
    if suffix == ".h5":
        events, _, _ = read(path)
        assert len(events) > 100_000


def test_a_stalled_encoder_blocks_nothing(tmp_path):
    """Events that it cannot take are dropped and counted, triggers last; all others are in the file."""
    path = tmp_path / "live.h5"
    n, n_batches = 100_000, 60
    with LiveRecorder(path, WIDTH, HEIGHT) as recorder:
        (encoder,) = encoders()
        encoder.send_signal(signal.SIGSTOP)
        slowest = 0.0
        for k in range(n_batches):
            start_us = START_US + n * k
            began = time.monotonic()
            edge = make_triggers(np.array([start_us]), np.array([1]))
            recorder.write(Batch(steady(n, start_us), edge, start_us + n))
            slowest = max(slowest, time.monotonic() - began)
        encoder.send_signal(signal.SIGCONT)
    status = recorder.status()
    assert slowest < 1.0
    assert status.dropped_events > 0
    assert status.n_events + status.dropped_events == n * n_batches
    assert (status.n_triggers, status.dropped_triggers) == (n_batches, 0)
    assert "recording too slow" in status.sentences[0]
    events, triggers, _ = read(path)
    assert (len(events), len(triggers)) == (status.n_events, n_batches)


@pytest.mark.parametrize("suffix", [".raw", ".csv", ".es", ".dat"])
def test_formats_unreadable_when_truncated_are_refused(tmp_path, suffix):
    with pytest.raises(RecordingError, match=r"is lost when it is cut off; use one of \.aedat4, \.h5, \.hdf5"):
        LiveRecorder(tmp_path / f"live{suffix}", WIDTH, HEIGHT)
    assert os.listdir(tmp_path) == []


def test_an_existing_file_is_kept_unless_forced(tmp_path):
    path = tmp_path / "live.h5"
    path.write_text("precious")
    with pytest.raises(RecordingError, match=r"live\.h5: exists; give --force"):
        LiveRecorder(path, WIDTH, HEIGHT)
    assert path.read_text() == "precious"
    with LiveRecorder(path, WIDTH, HEIGHT, force=True) as recorder:
        recorder.write(Batch(steady(10), NO_TRIGGERS, START_US + 10))
    assert len(read(path)[0]) == 10
    with pytest.raises(RecordingError, match=r"live\.h5: the folder cannot be made"):
        LiveRecorder(path / "live.h5", WIDTH, HEIGHT)


def test_a_closed_recorder_refuses_events(tmp_path):
    recorder = LiveRecorder(tmp_path / "live.h5", WIDTH, HEIGHT)
    assert recorder.close().failure is None
    recorder.close()
    recorder.write(Batch(steady(10), NO_TRIGGERS, START_US + 10))
    assert recorder.status().n_events == 0
    assert len(read(tmp_path / "live.h5")[0]) == 0
