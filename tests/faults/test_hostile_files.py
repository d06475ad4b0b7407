"""Files that try to execute code or to make a reader open other files; none succeeds."""

import os
import pickle
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from sweepdepth.capture.errors import RecordingError, SweepdepthError
from sweepdepth.capture.files.dataset import read_scene, read_truth
from sweepdepth.capture.files.depth_file import read_depth_file
from sweepdepth.capture.files.description import describe
from sweepdepth.capture.recordings import open_recording
from sweepdepth.capture.stack import EventFocalStack

from .table import saw

CODE = "a file contains code to run"
ELSEWHERE = "an HDF5 file leads to other files"


class Bomb:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self._mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self._mark),)


def refused(fault: str, what: str, read: Callable[[], object], mark: Path | None = None, match: str = ".") -> None:
    done = {
        CODE: "pickles as weights, checkpoint and saved stack; text blocks and drivers in a `.blend`",
        ELSEWHERE: "links, raw content and virtual datasets that lie in another file, read as every kind of file",
    }[fault]
    with pytest.raises(SweepdepthError, match=match) as caught:
        read()
    assert str(caught.value).isprintable()
    assert mark is None or not mark.exists(), f"{what} ran its code"
    saw(fault, done, "a one-line error, nothing run" if fault == CODE else "a one-line error, nothing read")


def test_the_test_pickle_does_execute_code(tmp_path: Path):
    """Otherwise the tests below would prove nothing."""
    pickle.loads(pickle.dumps(Bomb(tmp_path / "mark")))
    assert (tmp_path / "mark").exists()


def test_saved_stacks_that_are_pickles(tmp_path: Path):
    mark, path = tmp_path / "mark", tmp_path / "stack.npz"
    np.savez(path, data=np.array([Bomb(mark)], dtype=object))
    refused(CODE, "a stack", lambda: EventFocalStack.load(path), mark)
    path.write_bytes(pickle.dumps(Bomb(mark)))
    refused(CODE, "a stack", lambda: EventFocalStack.load(path), mark)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_weights_and_checkpoints_that_are_pickles(tmp_path: Path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("lightning")
    from sweepdepth.net.training.checkpoints import WholeCheckpoints
    from sweepdepth.net.weights import open_weights

    mark, path = tmp_path / "mark", tmp_path / "last.ckpt"
    for write in (
        lambda: torch.save({"state_dict": Bomb(mark)}, path),
        lambda: torch.save({"state_dict": Bomb(mark)}, path, _use_new_zipfile_serialization=False),
        lambda: path.write_bytes(pickle.dumps(Bomb(mark))),
    ):
        write()
        refused(CODE, "a checkpoint", lambda: WholeCheckpoints().load_checkpoint(path), mark, "none of it was executed")
        refused(CODE, "weights", lambda: open_weights(path), mark, "is damaged, or no weights file")
        refused(CODE, "weights", lambda: describe(path), mark)


def test_damaged_checkpoints_are_refused(tmp_path: Path):
    torch = pytest.importorskip("torch")
    pytest.importorskip("lightning")
    from sweepdepth.net.training.checkpoints import CheckpointError, WholeCheckpoints

    path = tmp_path / "last.ckpt"
    with pytest.raises(CheckpointError, match=r"last\.ckpt: cannot be read: No such file"):
        WholeCheckpoints().load_checkpoint(path)
    WholeCheckpoints().save_checkpoint({"state_dict": {"a": torch.zeros(1000)}}, path)
    whole = path.read_bytes()
    with pytest.raises(CheckpointError, match="is not a checkpoint of a training run; start again with --force"):
        WholeCheckpoints().load_checkpoint(path)
    for spoiled in (whole[:1000], b"", whole[: len(whole) // 2] + bytes(len(whole) // 2)):
        path.write_bytes(spoiled)
        with pytest.raises(CheckpointError, match=r"last\.ckpt: is damaged"):
            WholeCheckpoints().load_checkpoint(path)


@pytest.mark.blender
def test_blender_files_with_scripts_and_drivers(tmp_path: Path):
    """A text block that registers itself on opening, and a driver whose expression is Python."""
    blender = pytest.importorskip("sweepdepth.synth.blender.session")
    if not blender.is_installed():
        pytest.skip("Blender (bpy) is not installed")
    marks = [tmp_path / "script", tmp_path / "driver"]
    bpy = blender.empty_file()
    text = bpy.data.texts.new("startup.py")
    text.write(f"import os; os.mkdir({str(marks[0])!r})")
    text.use_module = True
    bpy.ops.mesh.primitive_cube_add()
    driver = bpy.context.object.driver_add("location", 0).driver
    driver.type = "SCRIPTED"
    driver.expression = f"__import__('os').mkdir({str(marks[1])!r}) or 1.0"
    path = tmp_path / "room.blend"
    with blender.quiet():
        bpy.ops.wm.save_as_mainfile(filepath=str(path))
    for mark in marks:  # the driver may have run while this test made the file
        if mark.exists():
            mark.rmdir()
    opened = blender.open_file(path)
    with blender.quiet():
        opened.context.view_layer.update()
        opened.context.scene.frame_set(2)
    assert not any(mark.exists() for mark in marks)
    saw(CODE, "", "opened, nothing run")


# HDF5


def secret(folder: Path) -> Path:
    """A private file of numbers that a reader must not open."""
    path = folder / "secret.h5"
    with h5py.File(path, "w") as file:
        file["numbers"] = np.arange(300)
    return path


def lead_elsewhere(path: Path, name: str, how: str, other: Path) -> None:
    """Replace one dataset of a file by one of the same shape and type that lies in another file."""
    with h5py.File(path, "r+") as file:
        old = file[name]
        assert isinstance(old, h5py.Dataset)
        shape, dtype = old.shape, old.dtype
        del file[name]
        if how == "link":
            file[name] = h5py.ExternalLink(str(other), "/numbers")
        elif how == "raw content":
            file.create_dataset(name, shape, dtype, external=[(str(other), 0, h5py.h5f.UNLIMITED)])
        else:
            layout = h5py.VirtualLayout(shape, dtype)
            layout[...] = h5py.VirtualSource(str(other), "numbers", shape)
            file.create_virtual_dataset(name, layout)


READERS: dict[str, tuple[str, list[Callable[[Path], object]]]] = {
    "recording": ("events/t", [lambda path: open_recording(path).read(), describe]),
    "scene": ("depth", [read_scene, read_truth, describe]),
    "depth": ("std", [read_depth_file, describe]),
}


@pytest.mark.parametrize("how", ["link", "raw content", "virtual"])
@pytest.mark.parametrize("kind", READERS)
def test_hdf5_files_with_external_links(tmp_path: Path, calibration, kind: str, how: str):
    from ..fuzz.originals import write_originals

    write_originals(tmp_path)
    path, (name, readers) = tmp_path / f"{kind}.h5", READERS[kind]
    for read in readers:
        read(path)
    lead_elsewhere(path, name, how, secret(tmp_path))
    for read in readers:
        refused(ELSEWHERE, how, lambda read=read: read(path), match=rf"{kind}\.h5: its {name} is in another file")


def test_a_link_to_a_pipe_is_not_waited_for(tmp_path: Path):
    """Opening it would block forever."""
    from ..fuzz.originals import write_originals

    write_originals(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    for kind, (name, readers) in READERS.items():
        lead_elsewhere(tmp_path / f"{kind}.h5", name, "link", tmp_path / "pipe")
        for read in readers:
            refused(ELSEWHERE, "a pipe", lambda read=read, kind=kind: read(tmp_path / f"{kind}.h5"))


def test_files_with_more_objects_than_can_be_looked_at(tmp_path: Path):
    path = tmp_path / "depth.h5"
    with h5py.File(path, "w") as file:
        for k in range(10_001):
            file[f"{k}"] = h5py.SoftLink("/nowhere")
    with pytest.raises(RecordingError, match="more than 10,000 objects"):
        read_depth_file(path)
