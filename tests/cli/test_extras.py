"""A core installation names in one line the extra that a command needs."""

import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import copy

import pytest

from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.installation import EXTRAS

# `find_spec` and `import` treat these modules as not installed.
WITHOUT = """
import sys
sys.modules.update(dict.fromkeys(sys.argv[1].split()))
sys.argv = ["sweepdepth", *sys.argv[2:]]
from sweepdepth.cli import main
main()
"""


def test_the_doctor_knows_every_extra():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]
    assert EXTRAS.keys() == project["optional-dependencies"].keys() - {"test", "docs", "all"}


@pytest.mark.parametrize(
    "modules,command,extra",
    [
        ("tensorboard", "train --data . --out run", "train"),
        ("torch lightning", "train --data . --out run", "train"),
        ("viser", "view tcp://127.0.0.1:5560", "view"),
        ("viser", "demo --view", "view"),
        ("bpy", "synth render --out data --scenes 1", "blender"),
        ("distributed", "synth render --out data --scenes 1 --scheduler tcp://127.0.0.1:1", "cluster"),
        ("openvino torch", "view sweep.h5 --weights default", "openvino"),
        ("openvino torch", "eval --data . --weights default", "openvino"),
        ("openvino", "export default robot_openvino --size 64x48", "openvino"),
        ("onnx", "export default robot.onnx --size 64x48", "onnx,openvino,train"),
    ],
)
def test_a_missing_extra_is_named_in_one_line(tmp_path, modules, command, extra):
    copy(recording_path(), tmp_path / "sweep.h5")
    line = [sys.executable, "-c", WITHOUT, modules, *command.split()]
    done = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, timeout=250, check=False)
    assert done.returncode == 1, done.stderr
    (last,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert f"pip install 'sweepdepth[{extra}]'" in last
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["sweep.h5"]
