"""The packaged examples: complete, readable and consistent."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sweepdepth import Calibration, RecordingError
from sweepdepth.capture.recordings import open_recording
from sweepdepth.net.cases import find_sources
from sweepdepth.stream.examples import PHOTOGRAPHS, lay_out
from sweepdepth.synth.generation.config import GenerationConfig
from sweepdepth.synth.photographs import find_photographs, read_photograph

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("examples") / "here"
    contents = lay_out(path)
    assert {entry.name for entry in path.iterdir()} == set(contents)
    return path


def test_recordings_and_calibration_belong_together(folder):
    calibration = Calibration.load(folder / "lens.toml")
    with open_recording(folder / "stream/demo_recording.h5", calibration) as recording:
        events, triggers = recording.read()
    for name in ("sweep.aedat4", "laboratory/target.h5", "table.h5", "events.mat"):
        with open_recording(folder / name, calibration) as recording:
            ours, edges = recording.read()
        np.testing.assert_array_equal(ours, events)
        if name not in ("table.h5", "events.mat"):  # which have events only
            np.testing.assert_array_equal(edges["timestamp"], triggers["timestamp"])
    for name in ("laboratory", "laboratory-test"):
        assert len(find_sources(folder / name)) == 1


def test_photographs_are_a_focal_stack(folder):
    camera = Calibration.load(folder / "lens.toml").camera
    paths = find_photographs(folder / "photographs")
    assert len(paths) == PHOTOGRAPHS
    images = np.stack([read_photograph(path, camera.width, camera.height) for path in paths])
    assert np.abs(np.diff(images, axis=0)).mean() > 1e-4  # the focus moves
    with Image.open(paths[0]) as image:
        assert image.size == (2 * camera.width, 2 * camera.height)


def test_example_configurations_are_valid(folder):
    for name in ("train", "heldout"):
        GenerationConfig.load(folder / "examples" / "weights" / f"{name}.toml")
    assert (folder / "examples" / "node" / "subscriber.mjs").exists()
    assert not (folder / "examples" / "node" / "node_modules").exists()


def test_examples_overwrite_nothing(folder):
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(RecordingError, match=r"lens\.toml: exists; choose an empty folder"):
        lay_out(folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


def test_the_pipe_sender_explains_itself_and_its_calibration_fits():
    script = ROOT / "examples" / "pipe_sender.py"
    done = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True)
    assert "--rate RATE" in done.stdout
    calibration = Calibration.load(script.with_suffix(".toml"))
    assert (calibration.camera.width, calibration.camera.height) == (96, 72)
    assert calibration.sweep.duration_us == 200_000
