"""Outputs never replace an input or a file of another kind, and their folders are created."""

import os
from pathlib import Path

import numpy as np
import pytest

from sweepdepth import Calibration, RecordingError
from sweepdepth.capture.atomic import refuse_inputs
from sweepdepth.capture.events import Batch, make_events
from sweepdepth.capture.files.conversion import convert_depth, convert_recording
from sweepdepth.capture.files.depth_file import DepthFile, read_depth_file
from sweepdepth.capture.formats.kinds import kind_of
from sweepdepth.capture.recordings import LiveRecorder, open_recording, write_recording
from sweepdepth.capture.reporting.figures import save_figure
from sweepdepth.capture.sources.chunks import NO_TRIGGERS


class Frame:
    """Depth of one metre."""

    def __init__(self, calibration: Calibration) -> None:
        self.depth = self.std = np.ones((calibration.camera.height, calibration.camera.width), np.float32)
        self.t_start_us, self.t_end_us, self.direction, self.quality = 0, 1, 1, 1.0


def write_depth(path: Path, calibration: Calibration, force: bool = False) -> None:
    with DepthFile(path, calibration, "polarity", force=force) as file:
        file.append(Frame(calibration))


def write_events(path: Path, calibration: Calibration, force: bool = False) -> None:
    batch = Batch(make_events(np.arange(9), np.arange(9), np.arange(9), np.arange(9) % 2), NO_TRIGGERS, 10)
    write_recording(path, [batch], calibration.camera.width, calibration.camera.height, calibration, force=force)


@pytest.fixture
def folder(tmp_path, calibration, lens) -> Path:
    """One file of each kind."""
    write_depth(tmp_path / "depth.h5", calibration)
    write_events(tmp_path / "sweep.h5", calibration)
    (tmp_path / "lens.toml").write_text(lens)
    np.save(tmp_path / "depth.npy", np.ones(3))
    convert_depth(tmp_path / "depth.h5", tmp_path / "depth.png")
    convert_depth(tmp_path / "depth.h5", tmp_path / "depth.ply")
    return tmp_path


def test_kinds_are_known_by_content(folder):
    kinds = {path.name: kind_of(path) for path in folder.iterdir()}
    assert kinds == {
        "depth.h5": "depth file",
        "sweep.h5": "recording",
        "lens.toml": "calibration",
        "depth.npy": "array",
        "depth.png": "picture",
        "depth.ply": "point cloud",
    }
    (folder / "empty.h5").touch()
    (folder / "cut.h5").write_bytes((folder / "depth.h5").read_bytes()[:100])
    assert kind_of(folder / "empty.h5") is kind_of(folder / "cut.h5") is kind_of(folder / "none") is None


def test_a_file_of_another_kind_is_kept_even_when_forced(folder, calibration):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    recording, depth = folder / "sweep.h5", folder / "depth.h5"
    with pytest.raises(RecordingError, match=r"sweep\.h5: holds a recording, and would be replaced by a depth file"):
        write_depth(recording, calibration, force=True)
    with pytest.raises(RecordingError, match=r"depth\.h5: holds a depth file, and would be replaced by a recording"):
        write_events(depth, calibration, force=True)
    with pytest.raises(RecordingError, match=r"depth\.h5: holds a depth file"):
        LiveRecorder(depth, calibration.camera.width, calibration.camera.height, force=True)
    os.rename(recording, folder / "sweep.png")
    with pytest.raises(RecordingError, match=r"sweep\.png: holds a recording, and would be replaced by a picture"):
        convert_depth(depth, folder / "sweep.png", force=True)
    os.rename(folder / "sweep.png", recording)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    write_depth(depth, calibration, force=True)
    assert len(read_depth_file(depth)) == 1


def test_inputs_are_never_overwritten_under_any_name(folder):
    recording = folder / "sweep.h5"
    (folder / "link.h5").symlink_to(recording)
    os.link(recording, folder / "hard.h5")
    (folder / "sub").mkdir()
    before = recording.read_bytes()
    for name in ("sweep.h5", "link.h5", "hard.h5", "sub/../sweep.h5"):
        with pytest.raises(RecordingError, match=r"is read by this command"):
            convert_recording(recording, folder / name, force=True)
    assert recording.read_bytes() == before
    refuse_inputs(folder / "other.h5", recording, None, folder / "missing.h5")


def test_folders_of_outputs_are_created(folder, calibration, tmp_path):
    write_depth(tmp_path / "a" / "b" / "depth.h5", calibration)
    convert_recording(folder / "sweep.h5", tmp_path / "c" / "d" / "sweep.csv")
    convert_depth(folder / "depth.h5", tmp_path / "e" / "depth.npy")
    LiveRecorder(tmp_path / "f" / "live.h5", 8, 6).close()
    assert len(read_depth_file(tmp_path / "a" / "b" / "depth.h5")) == 1
    with open_recording(tmp_path / "c" / "d" / "sweep.csv", calibration) as copy:
        assert len(copy.read()[0]) == 9
    assert np.load(tmp_path / "e" / "depth.npy").shape == (72, 96)


@pytest.mark.parametrize("name", ["a.npy", "a.png", "a", "a.aedat4"])
def test_a_depth_file_with_another_suffix_is_refused_with_the_valid_ones(tmp_path, calibration, name):
    with pytest.raises(RecordingError, match=r"depth is written as \.h5 or \.hdf5, not as .*`sweepdepth convert`"):
        DepthFile(tmp_path / name, calibration, "polarity")
    assert not list(tmp_path.iterdir())


def test_a_figure_is_complete_or_absent(tmp_path):
    from matplotlib.figure import Figure

    with pytest.raises(RecordingError, match=r"x\.word: cannot be written: pictures are \.png, \.pdf, \.svg"):
        save_figure(Figure(), tmp_path / "x.word")
    save_figure(Figure(), tmp_path / "new" / "x.png")
    assert kind_of(tmp_path / "new" / "x.png") == "picture"
