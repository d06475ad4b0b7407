"""Depth files: frames are read as written, one at a time; a file appears complete or not at all."""

import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from sweepdepth import RecordingError
from sweepdepth.capture.files.depth_file import DepthFile, open_depth_file, read_depth_file

WIDTH, HEIGHT = 96, 72
START_US = 1_763_000_511_821_624


@dataclass(frozen=True)
class Frame:
    depth: np.ndarray
    std: np.ndarray
    t_start_us: int
    t_end_us: int
    direction: int
    quality: float = math.nan


def frame(index: int) -> Frame:
    rng = np.random.default_rng(index)
    depth = rng.uniform(0.4, 2.0, (HEIGHT, WIDTH)).astype(np.float32)
    depth[rng.random(depth.shape) < 0.5] = np.nan
    start_us = START_US + index * 200_000
    return Frame(depth, depth / 10, start_us, start_us + 200_000, 1 - 2 * (index % 2), index / 10)


@pytest.fixture
def written(tmp_path, calibration) -> Path:
    path = tmp_path / "depth.h5"
    with DepthFile(path, calibration, "polarity") as file:
        for index in range(3):
            file.append(frame(index))
        assert file.n_frames == 3
        assert not path.exists()
    return path


def test_frames_are_read_as_written(written, calibration):
    frames = read_depth_file(written)
    assert len(frames) == 3
    assert frames.calibration == calibration
    assert frames.estimator == "polarity"
    for index in range(3):
        expected = frame(index)
        np.testing.assert_array_equal(frames.depth[index], expected.depth)
        np.testing.assert_array_equal(frames.std[index], expected.std)
        assert frames.t_start_us[index] == expected.t_start_us
        assert frames.t_end_us[index] == expected.t_end_us
        assert frames.direction[index] == expected.direction
        assert frames.quality[index] == np.float32(expected.quality)
    assert os.listdir(written.parent) == ["depth.h5"]


def test_anyone_with_hdf5_can_read_it(written):
    with h5py.File(written) as file:
        types = {name: (dataset.shape, dataset.dtype.str) for name, dataset in file.items()}
        assert types == {
            "depth": ((3, HEIGHT, WIDTH), "<f4"),
            "std": ((3, HEIGHT, WIDTH), "<f4"),
            "t_start_us": ((3,), "<i8"),
            "t_end_us": ((3,), "<i8"),
            "direction": ((3,), "|i1"),
            "quality": ((3,), "<f4"),
        }
        depth = file["depth"]
        assert isinstance(depth, h5py.Dataset)
        assert depth.chunks == (1, HEIGHT, WIDTH)
        assert set(file.attrs) == {"format_version", "estimator", "lens_toml"}


def test_single_frames_are_read_when_asked_for(written):
    with open_depth_file(written) as frames:
        assert len(frames) == 3
        assert isinstance(frames.depth, h5py.Dataset)
        np.testing.assert_array_equal(frames.depth[1], frame(1).depth)


def test_an_unknown_quality_is_nan(tmp_path, calibration):
    with DepthFile(tmp_path / "a.h5", calibration, "net") as file:
        file.append(Frame(frame(0).depth, frame(0).std, 0, 1, 1))
    assert np.isnan(read_depth_file(tmp_path / "a.h5").quality[0])


def test_without_a_frame_there_is_no_file(tmp_path, calibration):
    with DepthFile(tmp_path / "a.h5", calibration, "polarity") as file:
        pass
    assert file.n_frames == 0
    assert os.listdir(tmp_path) == []


def test_an_exception_discards_the_file(tmp_path, calibration):
    (tmp_path / "a.h5").write_text("precious")

    def break_off():
        with DepthFile(tmp_path / "a.h5", calibration, "polarity", force=True) as file:
            file.append(frame(0))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        break_off()
    assert os.listdir(tmp_path) == ["a.h5"]
    assert (tmp_path / "a.h5").read_text() == "precious"


def test_an_existing_file_is_refused_before_any_work_and_replaced_by_force(written, calibration):
    with pytest.raises(RecordingError, match=r"depth\.h5: exists; give --force to replace it"):
        DepthFile(written, calibration, "polarity")
    assert len(read_depth_file(written)) == 3
    with DepthFile(written, calibration, "polarity", force=True) as file:
        file.append(frame(7))
    assert len(read_depth_file(written)) == 1


def test_an_unwritable_folder_is_reported_at_once(tmp_path, calibration):
    (tmp_path / "file").touch()
    with pytest.raises(RecordingError, match="file: the folder cannot be made: "):
        DepthFile(tmp_path / "file" / "a.h5", calibration, "polarity")


def test_frames_of_another_size_are_refused(tmp_path, calibration):
    with DepthFile(tmp_path / "a.h5", calibration, "polarity") as file:
        odd = Frame(np.zeros((HEIGHT, WIDTH + 1)), np.zeros((HEIGHT, WIDTH)), 0, 1, 1)
        with pytest.raises(RecordingError, match=r"depth has the shape \(72, 97\); the camera's is \(72, 96\)"):
            file.append(odd)
        file.append(frame(0))
    assert len(read_depth_file(tmp_path / "a.h5")) == 1
    with pytest.raises(RecordingError, match="is closed"):
        file.append(frame(1))


def test_a_full_disk_is_a_one_line_error_without_a_crash_at_exit(tmp_path, lens):
    """In a separate process, since HDF5 would crash at its exit."""
    mount = ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can make a small disk")
    script = (
        "import sys, types\n"
        "import numpy as np\n"
        "from sweepdepth import Calibration, RecordingError\n"
        "from sweepdepth.capture.files.depth_file import DepthFile\n"
        "noise = np.random.default_rng(0).random((72, 96))\n"
        "frame = types.SimpleNamespace(depth=noise, std=noise, t_start_us=0, t_end_us=1, direction=1, quality=0.5)\n"
        "try:\n"
        "    with DepthFile(sys.argv[1], Calibration.parse(sys.argv[2]), 'polarity') as file:\n"
        "        for _ in range(100): file.append(frame)\n"
        "except RecordingError as error: print(error)\n"
    )
    try:
        command = [sys.executable, "-c", script, str(tmp_path / "a.h5"), lens]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.stdout == f"{tmp_path / 'a.h5'}: cannot be written: No space left on device\n"
        assert (result.returncode, result.stderr) == (0, "")
        assert os.listdir(tmp_path) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_temporary_files_of_a_killed_run_are_removed_by_the_next(tmp_path, calibration, lens):
    script = (
        "import sys, time\n"
        "from sweepdepth import Calibration\n"
        "from sweepdepth.capture.files.depth_file import DepthFile\n"
        "file = DepthFile(sys.argv[1], Calibration.parse(sys.argv[2]), 'polarity')\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)\n"
    )
    path = tmp_path / "a.h5"
    other = subprocess.Popen([sys.executable, "-c", script, str(path), lens], stdout=subprocess.PIPE, text=True)
    assert other.stdout is not None
    with other, other.stdout:
        assert other.stdout.readline() == "ready\n"
        (left_behind,) = os.listdir(tmp_path)
        other.send_signal(signal.SIGKILL)
    assert ".partial" in left_behind
    with DepthFile(path, calibration, "polarity") as file:
        file.append(frame(0))
    assert os.listdir(tmp_path) == ["a.h5"]


def spoil_by(change):
    def spoil(path: Path) -> None:
        with h5py.File(path, "a") as file:
            change(file)

    return spoil


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    "spoil, message",
    [
        (Path.unlink, "cannot be read: No such file or directory"),
        (cut, "it is damaged, or no HDF5 file"),
        (lambda path: path.write_text("hello"), "it is damaged, or no HDF5 file"),
        (spoil_by(lambda file: file.__delitem__("std")), "is no depth file: it has no dataset std of type f4"),
        (spoil_by(lambda file: file["t_end_us"].resize(2, axis=0)), "its datasets differ in length"),
        (spoil_by(lambda file: file.attrs.__setitem__("format_version", 9)), "has format_version 9; .* reads 1"),
        (spoil_by(lambda file: file.attrs.__delitem__("lens_toml")), "has no text lens_toml"),
    ],
)
def test_other_and_damaged_files_are_refused(written, spoil, message):
    spoil(written)
    with pytest.raises(RecordingError, match=message):
        read_depth_file(written)


def test_a_frame_that_cannot_be_decompressed_is_an_error(tmp_path, calibration):
    with DepthFile(tmp_path / "a.h5", calibration, "polarity") as file:
        for index in range(20):
            file.append(frame(index))
    content = bytearray((tmp_path / "a.h5").read_bytes())
    with h5py.File(tmp_path / "a.h5") as file:
        info = file["depth"].id.get_chunk_info(10)
    content[info.byte_offset : info.byte_offset + info.size] = np.random.default_rng(0).bytes(info.size)
    (tmp_path / "a.h5").write_bytes(content)
    with pytest.raises(RecordingError, match="is damaged: its frames cannot be decompressed"):
        read_depth_file(tmp_path / "a.h5")
    with open_depth_file(tmp_path / "a.h5") as frames:
        np.testing.assert_array_equal(frames.depth[9], frame(9).depth)


def test_memory_does_not_grow_with_the_file(tmp_path, calibration):
    shape = (HEIGHT, WIDTH)
    noise = Frame(np.random.default_rng(0).random(shape, np.float32), np.zeros(shape, np.float32), 0, 1, 1)
    with DepthFile(tmp_path / "a.h5", calibration, "polarity") as file:
        for _ in range(50):
            file.append(noise)
        before = psutil.Process().memory_info().rss
        for _ in range(400):
            file.append(noise)
        assert psutil.Process().memory_info().rss - before < 4 << 20  # 11 MB went into the file


def test_a_depth_file_opens_without_any_plugin(tmp_path, calibration):
    """MATLAB, HDFView and plain h5py can read it: shuffle and gzip are part of HDF5."""
    with DepthFile(tmp_path / "depth.h5", calibration, "polarity") as file:
        file.append(frame(0))
    script = (
        "import sys, h5py\n"
        "with h5py.File(sys.argv[1]) as file:\n"
        "    print(file['depth'].compression, file['depth'].shuffle, (file['depth'][0] > 0).sum())\n"
        "assert 'hdf5plugin' not in sys.modules\n"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "depth.h5")]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert answer[:2] == ["gzip", "True"]
    assert int(answer[2]) == np.count_nonzero(frame(0).depth > 0)
