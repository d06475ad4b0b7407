"""Exit statuses of commands with several inputs: 0 all, 3 some, 1 none."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
import typer

from sweepdepth.capture.files.dataset import open_dataset
from sweepdepth.capture.recordings import open_recording
from sweepdepth.cli.interruption import exit_unless_all
from sweepdepth.stream.demo import recording_path
from sweepdepth.synth.generation.config import GenerationConfig
from sweepdepth.synth.generation.job import generate

COMMAND = Path(sys.executable).with_name("sweepdepth")


def sweepdepth(*arguments, cwd):
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=280, check=False
    )
    return done.returncode, done.stderr


def test_recordings_of_which_some_or_all_fail(tmp_path):
    replay = ["replay", "--estimator", "polarity", "--out", "depths"]
    assert sweepdepth(*replay, "gone.raw", "lost.raw", cwd=tmp_path)[0] == 1
    shutil.copy(recording_path(), tmp_path / "there.h5")
    with open_recording(recording_path()) as recording:
        assert recording.calibration is not None
        lens = re.sub(r"^cx = .*$", "cx = -5.0", recording.calibration.to_toml(), flags=re.MULTILINE)
    (tmp_path / "there.toml").write_text(lens)
    status, error = sweepdepth(*replay, "there.h5", "lost.raw", cwd=tmp_path)
    assert status == 3
    assert "1 of 2 recordings have depth in depths" in error
    assert "failed: lost.raw" in error
    assert "warning: there.h5: calibration: camera.cx, cy (-5, " in error


def test_scenes_of_which_some_cannot_be_packed(tmp_path):
    config = {"render": "patches", "sweeps": 1, "camera": {"width": 32, "height": 24}}
    settings = GenerationConfig.parse(config | {"intensity": {"frames": 4, "noise": False}})
    generate(tmp_path / "data", 2, 0, settings, workers=1)
    assert sweepdepth("synth", "pack", "data", "all.pack", cwd=tmp_path)[0] == 0
    with h5py.File(open_dataset(tmp_path / "data").first_variants[0], "a") as scene:
        del scene["focal_stack"]
    status, error = sweepdepth("synth", "pack", "data", "some.pack", cwd=tmp_path)
    assert status == 3
    assert "1 scenes" in error
    assert "1 without an ideal focal stack were skipped" in error


@pytest.mark.parametrize(("done", "status"), [(4, 3), (0, 1)])
def test_status_by_the_number_of_inputs_that_are_done(done, status):
    exit_unless_all(done, left_out=0)
    with pytest.raises(typer.Exit) as ended:
        exit_unless_all(done, left_out=5)
    assert ended.value.exit_code == status
