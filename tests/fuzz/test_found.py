"""Faults found by fuzzing, each as its smallest case: all once ended in an unexpected exception, or in none."""

from pathlib import Path

import h5py
import numpy as np
import pytest

from sweepdepth.capture.errors import RecordingError
from sweepdepth.capture.files.dataset import MANIFEST, open_dataset, read_scene
from sweepdepth.capture.files.depth_file import open_depth_file, read_depth_file
from sweepdepth.capture.stack import EventFocalStack

from .mutations import spoil


@pytest.mark.parametrize(
    "step, message",
    [
        (("group", "depth", None), "is damaged, or no scene of a dataset"),
        (("replace", "depth", np.zeros((3, 2), "f4")), r"depth has the shape \(3, 2\), not \(16, 24\)"),
        (("replace", "intensity", np.zeros((16, 24), "c8")), "intensity is complex64"),
        (("replace", "depth", 3), "depth is int64"),
        (("link", "intensity", 1), "too many links"),
        (("replace", "t_offset", np.zeros(3)), "is damaged"),
        (("remove", "focal_stack_diopters", None), "focal_stack_diopters"),
        (("attribute", "lens_toml", np.zeros(3)), "is damaged"),
        (("attribute", "lens_toml", "\x1b[2J"), "is not valid TOML"),
    ],
)
def test_scenes_with_parts_of_other_types(originals: Path, tmp_path: Path, step, message):
    path = tmp_path / "scene.h5"
    path.write_bytes((originals / "scene.h5").read_bytes())
    spoil(path, [step])
    with pytest.raises(Exception, match=message) as caught:
        read_scene(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert str(caught.value).isprintable()


def test_a_depth_file_with_a_link_to_itself(originals: Path, tmp_path: Path):
    path = tmp_path / "depth.h5"
    path.write_bytes((originals / "depth.h5").read_bytes())
    spoil(path, [("link", "std", 1)])
    with pytest.raises(RecordingError, match=r"is damaged: .*too many links"), open_depth_file(path):
        pass


@pytest.mark.parametrize("name, read", [("depth.h5", read_depth_file), ("scene.h5", read_scene)])
@pytest.mark.parametrize("room", [0, 2**64 - 16, 2**64 - 1])
def test_hdf5_texts_in_a_heap_without_end(originals: Path, tmp_path: Path, name: str, read, room: int):
    """HDF5 itself would search it endlessly."""
    content = bytearray((originals / name).read_bytes())
    heap = content.index(b"GCOL")
    at, end = heap + 16, heap + int.from_bytes(content[heap + 8 : heap + 16], "little")
    while index := int.from_bytes(content[at : at + 2], "little"):
        at += 16 + -(-int.from_bytes(content[at + 8 : at + 16], "little") // 8) * 8
    assert index == 0
    assert at + 16 <= end  # the free space at the heap's end
    content[at + 8 : at + 16] = room.to_bytes(8, "little")
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(RecordingError, match="one of its heaps does not end") as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_a_depth_file_whose_version_would_confuse_a_terminal(originals: Path, tmp_path: Path):
    path = tmp_path / "depth.h5"
    path.write_bytes((originals / "depth.h5").read_bytes())
    spoil(path, [("attribute", "format_version", "\x1b[2J")])
    with pytest.raises(RecordingError, match=r"has format_version \?\[2J; this sweepdepth reads 1"):
        read_depth_file(path)


def test_a_depth_file_of_another_size_than_its_camera(originals: Path, tmp_path: Path):
    path = tmp_path / "depth.h5"
    path.write_bytes((originals / "depth.h5").read_bytes())
    with h5py.File(path, "r+") as file:
        text = str(file.attrs["lens_toml"])
        file.attrs["lens_toml"] = text.replace("width = 24", "width = 25")
    with pytest.raises(RecordingError, match=r"its depth is \(16, 24\), its camera 16×25"):
        read_depth_file(path)


@pytest.mark.parametrize("at", [0, 200], ids=["archive", "compressed data"])
def test_saved_stacks_with_a_broken_archive(originals: Path, tmp_path: Path, at: int):
    content = bytearray((originals / "stack.npz").read_bytes())
    content[at : at + 8] = b"\xff" * 8
    (tmp_path / "stack.npz").write_bytes(content)
    with pytest.raises(RecordingError, match="is not a saved event focal stack"):
        EventFocalStack.load(tmp_path / "stack.npz")


def test_a_saved_stack_of_another_size_than_its_camera(originals: Path, tmp_path: Path):
    with np.load(originals / "stack.npz") as file:
        parts = {name: file[name] for name in file.files}
    np.savez(tmp_path / "stack.npz", **(parts | {"data": parts["data"][:, :-1]}))
    with pytest.raises(RecordingError, match="is not a saved event focal stack"):
        EventFocalStack.load(tmp_path / "stack.npz")


@pytest.mark.parametrize(
    "manifest",
    [
        "[" * 100_000,
        '{"format": "sweepdepth-dataset/1", "seed": "x", "configuration": {}, "versions": {}}',
        '{"format": "sweepdepth-dataset/1", "seed": 1, "configuration": {}, "versions": [1]}',
        '{"format": "sweepdepth-dataset/1", "seed": 1, "configuration": null, "versions": {}}',
    ],
    ids=["deep", "seed", "versions", "configuration"],
)
def test_manifests_of_another_kind(tmp_path: Path, manifest: str):
    (tmp_path / MANIFEST).write_text(manifest)
    with pytest.raises(RecordingError, match="is damaged"):
        open_dataset(tmp_path)
