"""External input of any kind ends in a result or in one of our errors, within a time limit. Hypothesis damages valid
files and messages, which are read in a separate process, so that crashes, hangs and excessive memory are detected.
Faults found are kept in `test_found.py`.
"""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepdepth.capture.files import dataset

from .fuzzer import Fuzzer, cases
from .mutations import damaged_bytes, damaged_json, damaged_toml, spoil, spoiled_objects
from .originals import RECORDINGS, SOUND, packed
from .readers import LENS


@cases(60, 0.25)
@given(spoiled=damaged_toml(LENS))
def test_calibrations(fuzz: Fuzzer, spoiled: bytes):
    fuzz("lens.toml", "lens", spoiled, ".toml")


@cases(50, 0.25)
@given(topic=st.sampled_from(sorted(SOUND)), data=st.data())
def test_wire_headers(fuzz: Fuzzer, topic: str, data: st.DataObject):
    name, header, *buffers = SOUND[topic]
    fuzz("wire headers", "message", packed([name, data.draw(damaged_json(header)), *buffers]), ".message")


@cases(50, 0.2)
@given(topic=st.sampled_from(sorted(SOUND)), data=st.data())
def test_wire_messages(fuzz: Fuzzer, topic: str, data: st.DataObject):
    """Parts lost, repeated, mixed up or damaged."""
    parts = list(SOUND[topic])
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(parts)))
        match data.draw(st.integers(0, 3)):
            case 0:
                parts.insert(at, data.draw(st.sampled_from(parts + SOUND["depth"] + SOUND["stack"])))
            case 1 if at < len(parts):
                parts[at] = data.draw(damaged_bytes(parts[at]))
            case 2 if at < len(parts) and len(parts) > 1:
                del parts[at]
            case _:
                parts = [*parts[at:], *parts[:at]]
    fuzz("wire messages", "message", packed(parts), ".message")


TRIGGERS = b"# logger\ntimestamp [s],edge,channel\n" + b"".join(
    b"1763000000.%d00000,%s,0\n" % (2 * k, b"rising" if k % 2 else b"falling") for k in range(5)
)


@cases(50, 0.25)
@given(data=st.data(), headless=st.booleans())
def test_trigger_files(fuzz: Fuzzer, data: st.DataObject, headless: bool):
    sound = b"".join(TRIGGERS.splitlines(keepends=True)[2 if headless else 0 :])
    fuzz("trigger files", "triggers", data.draw(damaged_bytes(sound)), ".csv")


@pytest.mark.parametrize("suffix", RECORDINGS)
@cases(6, 0.002)
@given(data=st.data())
def test_recordings(fuzz: Fuzzer, originals: Path, suffix: str, data: st.DataObject):
    if not (originals / f"recording{suffix}").exists():
        pytest.skip("rosbags is missing: pip install 'sweepdepth[ros]'")
    spoiled = data.draw(damaged_bytes((originals / f"recording{suffix}").read_bytes()))
    fuzz(f"{suffix} recordings", "recording", spoiled, suffix)


@cases(20, 0.04)
@given(data=st.data())
def test_dataset_scenes_with_damaged_bytes(fuzz: Fuzzer, originals: Path, data: st.DataObject):
    fuzz("scenes, bytes", "scene", data.draw(damaged_bytes((originals / "scene.h5").read_bytes())), ".h5")


@cases(20, 0.06)
@given(data=st.data())
def test_dataset_scenes_with_other_content(fuzz: Fuzzer, originals: Path, data: st.DataObject):
    names = ["events/x", "events/t", "events/p", "t_offset", "triggers/t", "triggers/type", "events", "triggers"]
    names += ["depth", "intensity", "focal_stack", "focal_stack_diopters", "aperture_pair"]
    try_objects(fuzz, "scenes, objects", "scene", originals / "scene.h5", names, ["lens_toml", "width", "seed"], data)


@cases(6, 0.003)
@given(data=st.data())
def test_recordings_with_other_content(fuzz: Fuzzer, originals: Path, data: st.DataObject):
    names = ["events/x", "events/t", "events/p", "t_offset", "ms_to_idx", "triggers/t", "triggers/type", "events"]
    attributes = ["lens_toml", "width", "height"]
    try_objects(fuzz, ".h5 recordings, objects", "recording", originals / "recording.h5", names, attributes, data)


@cases(20, 0.04)
@given(data=st.data())
def test_depth_files_with_damaged_bytes(fuzz: Fuzzer, originals: Path, data: st.DataObject):
    fuzz("depth files, bytes", "depth", data.draw(damaged_bytes((originals / "depth.h5").read_bytes())), ".h5")


@cases(20, 0.06)
@given(data=st.data())
def test_depth_files_with_other_content(fuzz: Fuzzer, originals: Path, data: st.DataObject):
    names = ["depth", "std", "t_start_us", "t_end_us", "direction", "quality"]
    attributes = ["format_version", "lens_toml", "estimator"]
    try_objects(fuzz, "depth files, objects", "depth", originals / "depth.h5", names, attributes, data)


def try_objects(
    fuzz: Fuzzer, name: str, reader: str, original: Path, names: list[str], attributes: list[str], data: Any
) -> None:
    path = fuzz.file(original.read_bytes(), ".h5")
    spoil(path, data.draw(spoiled_objects(names, attributes)))
    fuzz.try_file(name, reader, path)


@cases(20, 0.05)
@given(data=st.data())
def test_dataset_manifests(fuzz: Fuzzer, data: st.DataObject):
    manifest = {"format": dataset.FORMAT, "seed": 3, "configuration": {"a": {"b": [1, 2]}}, "versions": {"numpy": "1"}}
    fuzz("dataset.json", "manifest", data.draw(damaged_json(json.dumps(manifest).encode())), ".json")


@cases(15, 0.03)
@given(data=st.data())
def test_saved_stacks(fuzz: Fuzzer, originals: Path, data: st.DataObject):
    fuzz("saved stacks", "stack", data.draw(damaged_bytes((originals / "stack.npz").read_bytes())), ".npz")


@cases(10, 0.02)
@given(data=st.data())
def test_key_files(fuzz: Fuzzer, originals: Path, data: st.DataObject):
    fuzz("key files", "keys", data.draw(damaged_bytes((originals / "robot.key_secret").read_bytes())), ".key_secret")


@cases(15, 0.02)
@given(data=st.data())
def test_weights(fuzz: Fuzzer, originals: Path, data: st.DataObject):
    if not (originals / "weights.safetensors").exists():
        pytest.skip("torch or safetensors is missing: pip install 'sweepdepth[train]'")
    content = (originals / "weights.safetensors").read_bytes()
    if data.draw(st.booleans()):
        length = int.from_bytes(content[:8], "little")
        header = data.draw(damaged_json(content[8 : 8 + length]))
        spoiled = len(header).to_bytes(8, "little") + header + content[8 + length :]
    else:
        spoiled = data.draw(damaged_bytes(content))
    fuzz("weights", "weights", spoiled, ".safetensors")


def test_sound_originals_are_read(fuzz: Fuzzer, originals: Path, tmp_path: Path):
    """Otherwise the tests above would prove nothing."""
    (tmp_path / "lens.toml").write_text(LENS)
    (tmp_path / "a.message").write_bytes(packed(SOUND["depth"]))
    for reader, path in (
        *(("recording", originals / f"recording{suffix}") for suffix in RECORDINGS if suffix != ".mcap"),
        ("scene", originals / "scene.h5"),
        ("depth", originals / "depth.h5"),
        ("stack", originals / "stack.npz"),
        ("keys", originals / "robot.key_secret"),
        ("lens", tmp_path / "lens.toml"),
        ("message", tmp_path / "a.message"),
    ):
        assert (
            fuzz.try_file("sound files", reader, Path(shutil.copy(path, tmp_path / f"copy{path.suffix}"))) == "result"
        )
