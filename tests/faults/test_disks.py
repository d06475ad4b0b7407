"""Full disks: a one-line error, no partial files, existing files unharmed, and success once there is room."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy as np
import pytest

from sweepdepth.capture.errors import RecordingError, SweepdepthError
from sweepdepth.capture.events import Batch, make_events
from sweepdepth.capture.files.dataset import DiskFullError, open_dataset, read_scene
from sweepdepth.capture.files.depth_file import DepthFile, read_depth_file
from sweepdepth.capture.recordings import LiveRecorder, open_recording, write_recording
from sweepdepth.capture.sources.chunks import NO_TRIGGERS
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.replay import replay
from sweepdepth.stream.run_options import RunOptions

from ..stream.conftest import FrameMaker
from .processes import one_line_error
from .table import rounds, saw
from .test_kills import TESTS

FULL = r"disk is full|No space left"
Disk = Callable[[int], Path]
KB, MB = 1 << 10, 1 << 20


def noise(n: int = 400_000) -> np.ndarray:
    random = np.random.default_rng(0)
    times = np.cumsum(random.integers(0, 10, n))
    return make_events(times, random.integers(0, 96, n), random.integers(0, 72, n), random.integers(0, 2, n))


def full_disk(fault: str, done: str, seen: str) -> None:
    saw(f"the disk is full: {fault}", done, seen)


@rounds(1)
@pytest.mark.parametrize("before", [False, True], ids=["new", "replaced"])
def test_replay(small_disk: Disk, chance: Random, before: bool):
    path = small_disk(chance.randrange(8 * KB, 250 * KB)) / "depth.h5"
    if before:
        path.write_bytes(b"precious")
    try:
        with open_recording(recording_path()) as recording:
            replay(recording, RunOptions("polarity"), out=path, force=before)
    except SweepdepthError as error:
        message = str(error)
    else:
        full_disk("`replay --out`", "a disk of 8 to 250 kB", "there was room")
        return
    assert message == f"{path}: cannot be written: No space left on device"
    assert not before or path.read_bytes() == b"precious"
    assert [p.name for p in path.parent.iterdir()] == (["depth.h5"] if before else [])
    small_disk(20 * MB)
    with open_recording(recording_path()) as recording:
        replay(recording, RunOptions("polarity"), out=path, force=before)
    assert len(read_depth_file(path)) > 3
    full_disk(
        "`replay --out`",
        "a disk of 8 to 250 kB",
        "a one-line error, no file, the old one unharmed; succeeds with space",
    )


@rounds(1)
@pytest.mark.parametrize("suffix", [".h5", ".aedat4", ".csv", ".raw"])
def test_conversion(small_disk: Disk, tmp_path: Path, chance: Random, suffix: str):
    path = small_disk(chance.randrange(4 * KB, 900 * KB)) / f"recording{suffix}"
    events = noise()
    with pytest.raises(RecordingError, match=FULL) as caught:
        write_recording(path, [Batch(events, NO_TRIGGERS, int(events["timestamp"][-1]) + 1)], 96, 72)
    assert str(caught.value).startswith(str(path))
    assert not list(path.parent.iterdir())
    small_disk(60 * MB)
    write_recording(path, [Batch(events, NO_TRIGGERS, int(events["timestamp"][-1]) + 1)], 96, 72)
    with open_recording(path) as recording:
        if suffix != ".csv":
            assert recording.width == 96
    full_disk(
        "`convert`", "disks of 4 to 900 kB; HDF5, AEDAT4, CSV, RAW", "a one-line error, no file; succeeds with space"
    )


@rounds(1)
@pytest.mark.parametrize("suffix", [".h5", ".aedat4"])
def test_live_recording(small_disk: Disk, chance: Random, suffix: str):
    """The recording stops with one warning and keeps its content; the stream continues."""
    path, warnings = small_disk(chance.randrange(1200 * KB, 3 * MB)) / f"live{suffix}", []
    events = noise(4_000_000)
    with LiveRecorder(path, 96, 72, on_failure=warnings.append) as recorder:
        for part in np.array_split(events, 80):
            recorder.write(Batch(part, NO_TRIGGERS, int(part["timestamp"][-1]) + 1))
            if recorder.status().failure:
                break
    assert warnings == [f"{path}: the disk is full; it keeps what was written before"]
    if suffix == ".h5":
        with open_recording(path) as recording:
            got, _ = recording.read()
        assert np.array_equal(got["timestamp"], events["timestamp"][: len(got)])
    full_disk(
        "a live recording", "a disk of 1 to 3 MB", "one warning; the part written is readable; the stream continues"
    )


@rounds(1)
def test_listening(small_disk: Disk, calibration, make_frame: FrameMaker, chance: Random):
    path = small_disk(chance.randrange(4 * KB, 300 * KB)) / "depth.h5"

    def save() -> None:
        with DepthFile(path, calibration, "polarity") as file:
            for k in range(100):
                file.append(make_frame(k, 96, 72))

    with pytest.raises(RecordingError, match=FULL):
        save()
    assert not list(path.parent.iterdir())
    full_disk("`listen --out`", "a disk of 4 to 300 kB", "a one-line error, no file")


@rounds(0)
def test_generation(small_disk: Disk, monkeypatch, chance: Random):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS / "synth"), os.environ.get("PYTHONPATH", "")]))
    from ..synth.scene_makers import run as generate

    folder = small_disk(chance.randrange(60 * KB, 500 * KB)) / "data"
    try:
        generate(folder, 12)
        seen, message = "there was room", ""
    except DiskFullError as error:
        message = str(error)
        seen = "a one-line error; finished scenes are complete, the rest is made with space"
    assert not message or "the disk is full; make room and run the same line again" in message
    for path in open_dataset(folder).scenes if (folder / "dataset.json").exists() else ():
        read_scene(path)
    assert not list(folder.glob(".scene*"))
    small_disk(50 * MB)
    generate(folder, 12)
    assert open_dataset(folder).missing(12) == []
    full_disk("`synth render`", "a disk of 60 to 500 kB", seen)


TRAINING = """
import sys
from pathlib import Path
from sweepdepth.capture.errors import SweepdepthError
from test_training import make_cases, settings
from sweepdepth.net.training import recorded, train
if __name__ == "__main__":
    try:
        resume = len(sys.argv) > 2
        config = settings(steps=8, steps_per_epoch=2)
        train(recorded(make_cases(2)), config, Path(sys.argv[1]), resume=resume, threads=1, workers=0)
    except (SweepdepthError, OSError) as error:  # as the command does
        sys.exit(f"error: {error}")
"""


@rounds(0)
def test_training(small_disk: Disk, tmp_path: Path, chance: Random):
    pytest.importorskip("lightning")
    script = tmp_path / "train.py"
    script.write_text(TRAINING)

    def train(out: Path, *arguments: str) -> tuple[int, str]:
        path = os.pathsep.join([str(TESTS / "net"), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [sys.executable, str(script), str(out), *arguments],
            env=os.environ | {"PYTHONPATH": path},
            capture_output=True,
            text=True,
            timeout=800,
            check=False,
        )
        return done.returncode, done.stderr

    out = small_disk(chance.choice([4, 12, 20, 60, 100, 150, 200]) * KB) / "run"
    code, complaint = train(out)
    if code == 0:
        full_disk("`train`", "a disk of 4 to 200 kB", "there was room")
        return
    message = one_line_error(complaint)
    assert "No space left" in message or "full" in message
    small_disk(100 * MB)
    begun = (out / "settings.json").exists()
    code, complaint = train(out, *(["resume"] if begun else []))
    assert code == 0, complaint
    assert (out / "weights.safetensors").exists()
    assert not list(out.glob(".*"))
    full_disk("`train`", "a disk of 4 to 200 kB", "a one-line error; resumed with space")
    shutil.rmtree(out)
