"""Export of depth and events, read again with other programs' libraries."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sweepdepth import RecordingError
from sweepdepth.capture.files.conversion import convert_depth, convert_events, convert_recording
from sweepdepth.capture.files.depth_file import DepthFile
from sweepdepth.capture.files.export import to_millimetres
from sweepdepth.capture.files.films import EVENT_FRAMES
from sweepdepth.capture.formats.kinds import kind_of
from sweepdepth.stream.demo import recording_path

HEIGHT, WIDTH = 72, 96


class Frame:
    """A depth map whose left half is unknown."""

    def __init__(self, metres: float, number: int) -> None:
        self.depth = np.full((HEIGHT, WIDTH), metres, np.float32)
        self.depth[:, : WIDTH // 2] = np.nan
        self.std = 0.1 * self.depth
        self.t_start_us, self.t_end_us = 200_000 * number, 200_000 * (number + 1)
        self.direction, self.quality = 1, 1.0


@pytest.fixture
def depth_file(tmp_path, calibration) -> Path:
    path = tmp_path / "depth.h5"
    with DepthFile(path, calibration, "polarity") as file:
        for number, metres in enumerate((0.5, 1.2345, 2.0)):
            file.append(Frame(metres, number))
    return path


def test_numbers_survive_as_tiff_and_as_millimetres(depth_file, tmp_path):
    convert_depth(depth_file, tmp_path / "a.tif", 1)
    with Image.open(tmp_path / "a.tif") as image:
        depth = np.asarray(image)
    assert depth.dtype == np.float32
    assert np.isnan(depth[:, : WIDTH // 2]).all()
    np.testing.assert_array_equal(depth[:, WIDTH // 2 :], np.float32(1.2345))
    convert_depth(depth_file, tmp_path / "mm.png", 1, millimetres=True)
    with Image.open(tmp_path / "mm.png") as image:
        millimetres = np.asarray(image)
    assert set(np.unique(millimetres)) == {0, 1235}
    assert to_millimetres(np.array([np.nan, 100.0, 65.5351, 0.0004])).tolist() == [0, 65_535, 65_535, 0]
    with pytest.raises(RecordingError, match=r"millimetres are for \.png"):
        convert_depth(depth_file, tmp_path / "mm.tif", millimetres=True)


@pytest.mark.skipif(find_spec("OpenEXR") is None, reason="OpenEXR is not installed")
def test_numbers_survive_as_exr(depth_file, tmp_path):
    import OpenEXR

    convert_depth(depth_file, tmp_path / "a.exr", -1)
    with OpenEXR.File(str(tmp_path / "a.exr")) as file:
        depth = file.channels()["Z"].pixels
    assert depth.dtype == np.float32
    assert np.isnan(depth[:, : WIDTH // 2]).all()
    np.testing.assert_array_equal(depth[:, WIDTH // 2 :], np.float32(2.0))


def test_an_archive_has_every_frame_with_its_metadata(depth_file, tmp_path, calibration):
    convert_depth(depth_file, tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as arrays:
        assert arrays["depth"].shape == arrays["std"].shape == (3, HEIGHT, WIDTH)
        assert arrays["t_start_us"].tolist() == [0, 200_000, 400_000]
        assert str(arrays["lens_toml"]) == calibration.to_toml()
    convert_depth(depth_file, tmp_path / "one.npz", -1)
    with np.load(tmp_path / "one.npz") as arrays:
        assert np.nanmax(arrays["depth"]) == 2.0
        assert arrays["depth"].shape == (1, HEIGHT, WIDTH)


def test_all_frames_become_numbered_files_and_none_is_replaced(depth_file, tmp_path):
    names = [path.name for path in convert_depth(depth_file, tmp_path / "d.npy", every=True)]
    assert names == ["d_0000.npy", "d_0001.npy", "d_0002.npy"]
    assert [float(np.nanmax(np.load(tmp_path / name))) for name in names] == [0.5, np.float32(1.2345), 2.0]
    (tmp_path / "d_0000.npy").unlink()
    with pytest.raises(RecordingError, match=r"d_0001\.npy: exists"):
        convert_depth(depth_file, tmp_path / "d.npy", every=True)
    assert not (tmp_path / "d_0000.npy").exists()


def test_a_gif_shows_every_frame_in_colour_above_its_scale_at_its_pace(depth_file, tmp_path):
    convert_depth(depth_file, tmp_path / "d.gif")
    with Image.open(tmp_path / "d.gif") as film:
        assert film.n_frames == 3  # pyright: ignore[reportAttributeAccessIssue]
        assert film.info["duration"] == 200
        shown = []
        for k in range(3):
            film.seek(k)
            picture = np.asarray(film.convert("RGB")).astype(int)
            times = picture.shape[1] // WIDTH
            shown.append(picture[10, (WIDTH - 4) * times])
            assert np.abs(picture[10, 4] - 217).max() < 6  # unknown
            assert len(np.unique(picture[HEIGHT * times + 8], axis=0)) > 16  # the scale
    assert np.abs(np.diff(shown, axis=0)).max(axis=1).min() > 40
    with pytest.raises(RecordingError, match=r"d\.gif: exists"):
        convert_depth(depth_file, tmp_path / "d.gif")


@pytest.mark.skipif(find_spec("imageio_ffmpeg") is None, reason="imageio-ffmpeg is not installed")
def test_an_mp4_has_every_frame(depth_file, tmp_path):
    import imageio_ffmpeg

    convert_depth(depth_file, tmp_path / "d.mp4", fps=10)
    frames, seconds = imageio_ffmpeg.count_frames_and_secs(str(tmp_path / "d.mp4"))
    assert frames == 3
    assert seconds == pytest.approx(0.3, abs=0.05)
    assert kind_of(tmp_path / "d.mp4") == "film"
    assert [p.name for p in tmp_path.glob(".*")] == []


def test_events_become_a_film_that_marks_the_focus(tmp_path):
    """The mark on the scale runs from the far end to the near end and back."""
    count = convert_events(recording_path(), tmp_path / "events.gif")
    assert count >= 4 * EVENT_FRAMES
    marks = []
    with Image.open(tmp_path / "events.gif") as film:
        for k in range(2 * EVENT_FRAMES):
            film.seek(k)
            picture = np.asarray(film.convert("L")).astype(int)
            row = picture[picture.shape[0] - 44 + 12]
            marks.append(float(np.mean(np.flatnonzero(row < 80))))
    first, second = np.diff(marks[:EVENT_FRAMES]), np.diff(marks[EVENT_FRAMES:])
    assert (first > 0).all() or (first < 0).all()
    assert np.sign(first[0]) == -np.sign(second[0])


def test_errors_name_the_possible_formats(depth_file, tmp_path):
    with pytest.raises(
        RecordingError, match=r"x\.jpg: .* is a depth file, which can become \.png, .*\.mp4, \.gif, not"
    ):
        convert_depth(depth_file, tmp_path / "x.jpg")
    with pytest.raises(RecordingError, match=r"is a recording, which can become .*\.aedat4.*\.mp4, \.gif, not \.jpg"):
        convert_recording(recording_path(), tmp_path / "x.jpg")
    with pytest.raises(RecordingError, match="has 3 frames, so none of number 3"):
        convert_depth(depth_file, tmp_path / "x.png", 3)
