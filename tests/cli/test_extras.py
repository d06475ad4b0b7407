"""A core installation names in one line the extra that a command needs."""

import os
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from importlib.util import find_spec
from pathlib import Path
from shutil import copytree
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from sweepdepth import Calibration
from sweepdepth.capture.files.depth_file import DepthFile
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.installation import EXTRAS

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]

# Every Python imports a module of this name when it starts, and so do processes that a command starts. `find_spec` and
# `import` then treat the modules as not installed.
SITECUSTOMIZE = """
import os, sys
sys.modules.update(dict.fromkeys(os.environ["MISSING_MODULES"].split()))
"""
RUN = "import sys; sys.argv[0] = 'sweepdepth'; from sweepdepth.cli import main; main()"

DRIVER = """
[driver]
kind = "optotune"
far_ma = 0.0
near_ma = 100.0
"""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory) -> Path:
    """Files for the commands."""
    folder = tmp_path_factory.mktemp("inputs") / "here"
    folder.mkdir()
    content = recording_path().read_bytes()
    (folder / "sweep.h5").write_bytes(content)
    with h5py.File(recording_path()) as file:
        text = str(file.attrs["lens_toml"])
    (folder / "lens.toml").write_text(text + DRIVER)
    calibration = Calibration.parse(text)
    camera = calibration.camera
    depth = np.ones((camera.height, camera.width), np.float32)
    frame: Any = SimpleNamespace(depth=depth, std=depth, t_start_us=0, t_end_us=1, direction=1, quality=1.0)
    with DepthFile(folder / "depth.h5", calibration, "polarity") as file:
        file.append(frame)
    (folder / "camera.bag").write_bytes(b"#ROSBAG V2.0\n")
    return folder


def test_the_doctor_knows_every_extra_and_what_it_installs():
    extras = PROJECT["optional-dependencies"]
    assert EXTRAS.keys() == extras.keys() - {"test", "docs", "all"}
    distributions = packages_distributions()
    for extra, (modules, _) in EXTRAS.items():
        if all(map(find_spec, modules)):
            installed = {canonicalize_name(distributions.get(module, [module])[0]) for module in modules}
            assert installed == {canonicalize_name(Requirement(text).name) for text in extras[extra]} - {"numpy"}


@pytest.mark.parametrize(
    "modules,command,extra",
    [
        ("tensorboard", "train --data . --out run", "train"),
        ("torch lightning", "train --data . --out run", "train"),
        ("viser", "view tcp://127.0.0.1:5560", "view"),
        ("viser", "view sweep.h5", "view"),
        ("viser", "demo --view", "view"),
        ("prometheus_client", "replay sweep.h5 --out new.h5 --metrics 0", "metrics"),
        ("prometheus_client", "live --camera pipe:a --lens lens.toml --metrics 0 --record new.h5", "metrics"),
        ("serial", "lens test --driver optotune:/dev/ttyACM0 --lens lens.toml", "lens"),
        ("serial", "live --camera pipe:a --lens lens.toml --driver optotune:/dev/ttyACM0 --record new.h5", "lens"),
        ("OpenEXR", "convert depth.h5 new.exr", "export"),
        ("OpenEXR", "convert depth.h5 new.exr --all", "export"),
        ("imageio_ffmpeg", "convert depth.h5 new.mp4", "export"),
        ("imageio_ffmpeg", "convert sweep.h5 new.mp4", "export"),
        ("rosbags", "info camera.bag", "ros"),
        ("rosbags", "convert camera.bag new.h5", "ros"),
        ("bpy", "synth render --out data --scenes 1", "blender"),
        ("distributed", "synth render --out data --scenes 1 --scheduler tcp://127.0.0.1:1", "cluster"),
        ("distributed", "synth render --out data --scenes 1 --render patches", "cluster"),
        ("openvino torch", "replay sweep.h5 --weights default --out new.h5", "openvino"),
        ("safetensors", "replay sweep.h5 --weights default --out new.h5", "openvino"),
        ("openvino torch", "view sweep.h5 --weights default", "openvino"),
        ("openvino torch", "eval --data . --weights default", "openvino"),
        ("torch", "eval --data . --baselines apertures=.", "train"),
        ("openvino", "export default robot_openvino --size 64x48", "openvino"),
        ("onnxscript", "export default robot.onnx --size 64x48", "onnx,openvino,train"),
        ("onnx", "export default robot.onnx --size 64x48", "onnx,openvino,train"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(tmp_path, inputs, modules, command, extra):
    (site := tmp_path / "site").mkdir()
    (site / "sitecustomize.py").write_text(SITECUSTOMIZE)
    path = os.pathsep.join([str(site), os.environ.get("PYTHONPATH", "")])
    here = copytree(inputs, tmp_path / "here")
    done = subprocess.run(
        [sys.executable, "-c", RUN, *command.split()],
        cwd=here,
        env=os.environ | {"MISSING_MODULES": modules, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 1, done.stderr
    (last,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert f"pip install 'sweepdepth[{extra}]'" in last
    assert "Traceback" not in done.stderr
    assert {path.name for path in here.iterdir()} == {path.name for path in inputs.iterdir()}
