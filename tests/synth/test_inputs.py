"""Inputs of a job are checked before it starts."""

import json

import pytest

from sweepdepth.synth.generation.config import ConfigError, GenerationConfig
from sweepdepth.synth.generation.inputs import check_inputs
from sweepdepth.synth.generation.job import generate

CASES = [
    ("kitchen.blend", b"no Blender", r"kitchen\.blend: is not a Blender file"),
    ("cube.obj", b"v 0 0 0\n", r"cube\.obj: cannot be used as a model: it has no faces"),
    ("cube.glb", b"glTX", r"cube\.glb: cannot be used as a model: it is not a binary glTF file"),
    ("cube.gltf", b"{", r"cube\.gltf: cannot be used as a model: it is not a glTF file"),
    ("cube.gltf", json.dumps({"buffers": [{"uri": "cube.bin"}]}).encode(), r"its file cube\.bin is missing"),
]


@pytest.mark.parametrize("name, content, message", CASES)
def test_a_file_that_cannot_be_used_stops_a_job_before_it_makes_a_folder(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    blend = name.endswith(".blend")
    scene = {"blend": str(tmp_path / name)} if blend else {"assets": [str(tmp_path / name)]}
    with pytest.raises(ConfigError, match=message):
        generate(tmp_path / "data", 3, 0, GenerationConfig.parse({"scene": scene}))
    assert not (tmp_path / "data").exists()


def test_a_lens_that_cannot_be_drawn_stops_the_job(tmp_path):
    config = GenerationConfig.parse({"lens": {"blur_px": [500, 600]}})
    with pytest.raises(ConfigError, match=r"lens\.blur_px \[500\.0, 600\.0\]: no lens"):
        generate(tmp_path / "data", 3, 0, config)
    assert not (tmp_path / "data").exists()


def test_valid_files_pass(tmp_path):
    (tmp_path / "a.blend").write_bytes(b"BLENDER-v405")
    (tmp_path / "cube.obj").write_bytes(b"v 0 0 0\nf 1 1 1\n")
    (tmp_path / "cube.gltf").write_text(json.dumps({"buffers": [{"uri": "data:application/octet-stream;base64,"}]}))
    check_inputs(GenerationConfig.parse({"scene": {"blend": str(tmp_path / "a.blend")}}))
    check_inputs(GenerationConfig.parse({"scene": {"assets": [str(tmp_path / n) for n in ("cube.obj", "cube.gltf")]}}))
