"""The synthesizer from the command line: a dataset from Blender, and a recording from photographs."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

COMMAND = Path(sys.executable).with_name("sweepdepth")


def sweepdepth(*arguments, cwd, expect=0):
    done = subprocess.run(
        [COMMAND, *map(str, arguments)], cwd=cwd, capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == expect, done.stderr
    return done.stdout, done.stderr


@pytest.mark.blender
@pytest.mark.skipif(find_spec("bpy") is None, reason="Blender's Python module is not installed")
def test_a_rendered_dataset_is_described_and_replays(tmp_path):
    (tmp_path / "small.toml").write_text("sweeps = 2\n[camera]\nwidth = 64\nheight = 48\n")
    arguments = ["synth", "render", "--out", "data", "--scenes", "1", "--config", "small.toml", "--json"]
    out, error = sweepdepth(*arguments, cwd=tmp_path)
    assert json.loads(out)["made"] == 1
    assert "1 of 1 scenes" in error
    assert json.loads(sweepdepth(*arguments, cwd=tmp_path)[0])["made"] == 0
    facts = json.loads(sweepdepth("info", "data", "--json", "--picture", "sheet.png", cwd=tmp_path)[0])
    assert facts["dataset"]["scenes"] == 1
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert len(np.unique(np.asarray(sheet.convert("RGB")).reshape(-1, 3), axis=0)) > 100  # grey, events and depth
    scene = tmp_path / "data" / "scene_000000.h5"
    sweepdepth("info", scene, "--picture", "scene.png", cwd=tmp_path)
    assert (tmp_path / "scene.png").read_bytes().startswith(b"\x89PNG")
    assert "x.word: cannot be written" in sweepdepth("info", "data", "--picture", "x.word", cwd=tmp_path, expect=1)[1]
    assert not list(tmp_path.glob("x.*"))
    result = json.loads(sweepdepth("replay", "data/scene_000000.h5", "--out", "depth.h5", "--json", cwd=tmp_path)[0])
    assert result["frames"] == 2
    _, error = sweepdepth(*arguments, "--seed", "1", cwd=tmp_path, expect=1)
    assert "seed" in error


def test_patch_scenes_are_rendered_described_and_packed(tmp_path):
    text = "sweeps = 2\n[camera]\nwidth = 64\nheight = 48\n[intensity]\nframes = 12\nnoise = false\n"
    (tmp_path / "small.toml").write_text(text)
    arguments = ["synth", "render", "--out", "data", "--scenes", "2", "--config", "small.toml", "--workers", "1"]
    out, _ = sweepdepth(*arguments, "--render", "patches", "--json", cwd=tmp_path)
    assert json.loads(out)["made"] == 2
    _, error = sweepdepth(*arguments, "--render", "lightfield", cwd=tmp_path, expect=1)
    assert "render" in error
    assert json.loads(sweepdepth("info", "data", "--json", cwd=tmp_path)[0])["dataset"]["scenes"] == 2
    packed = json.loads(sweepdepth("synth", "pack", "data", "a.pack", "--json", cwd=tmp_path)[0])
    assert (packed["scenes"], packed["left_out"]) == (2, 0)
    assert packed["bytes"] == (tmp_path / "a.pack").stat().st_size
    _, error = sweepdepth("synth", "pack", "data", "a.pack", cwd=tmp_path, expect=1)
    assert "a.pack: exists" in error


def test_photographs_become_a_recording_whose_depth_follows_their_order(tmp_path, lens):
    """The left half of the scene is sharp in the second of five photographs, the right half in the fourth."""
    pattern = gaussian_filter(np.random.default_rng(0).normal(size=(72, 96)), 1.2)
    pattern = np.interp(pattern, np.quantile(pattern, [0.02, 0.98]), [0.1, 1.0])
    (tmp_path / "stack").mkdir()
    for k in range(5):
        blurred = [gaussian_filter(pattern, 0.3 + 0.75 * abs(k - sharp)) for sharp in (1, 3)]
        image = np.where(np.arange(96) < 48, *blurred)
        Image.fromarray((255 * image ** (1 / 2.2)).astype(np.uint8)).save(tmp_path / "stack" / f"{k}.png")
    (tmp_path / "lens.toml").write_text(lens)
    sweepdepth(
        "synth", "simulate", "stack", "--lens", "lens.toml", "--out", "sweep.h5", "--sensor", "clean", cwd=tmp_path
    )
    sweepdepth("replay", "sweep.h5", "--out", "depth.h5", cwd=tmp_path)
    sweepdepth("convert", "depth.h5", "depth.npy", cwd=tmp_path)
    diopters = 1 / np.load(tmp_path / "depth.npy")
    assert np.nanmedian(diopters[:, :40]) < 1.5 < np.nanmedian(diopters[:, 56:])
    _, error = sweepdepth(
        "synth", "simulate", "nowhere", "--lens", "lens.toml", "--out", "x.h5", cwd=tmp_path, expect=1
    )
    assert "nowhere" in error
