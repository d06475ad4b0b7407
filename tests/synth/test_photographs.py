"""Focal stacks of photographs become recordings of the sweep through them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from sweepdepth.capture.calibration import Calibration
from sweepdepth.capture.errors import RecordingError
from sweepdepth.synth.photographs import (
    find_photographs,
    interpolate_planes,
    plane_diopters,
    read_photograph,
    simulate_photographs,
)
from sweepdepth.synth.sensor.presets import PRESETS

BOARD = Path(__file__).parents[2].parent / "shared" / "data" / "focal_stacks" / "circuit_board"


@pytest.fixture
def folder(tmp_path):
    """Five photographs, 192×144, of a texture sharpest in the third."""
    random = np.random.default_rng(0)
    texture = random.random((144, 192))
    for i in range(5):
        image = gaussian_filter(texture, 0.8 + 1.5 * abs(i - 2), mode="wrap")
        image = 0.5 + (image - 0.5) * 3
        encoded = np.clip(image, 0, 1) ** (1 / 2.2) * 255
        Image.fromarray(encoded.astype(np.uint8)).save(tmp_path / f"plane_{8 + i}.png")
    return tmp_path


def test_photographs_are_taken_in_the_order_of_the_numbers_in_their_names(folder):
    assert [path.name for path in find_photographs(folder)] == [f"plane_{i}.png" for i in (8, 9, 10, 11, 12)]


def test_planes_are_evenly_spaced_unless_a_file_gives_them(folder, calibration):
    photographs = find_photographs(folder)
    np.testing.assert_allclose(plane_diopters(photographs, calibration), [0.5, 1.0, 1.5, 2.0, 2.5])
    (folder / "focus.toml").write_text('[diopters]\n"plane_12.png" = 0.4\n"plane_9.png" = 1.2\n"plane_8.png" = 2.5\n')
    photographs = find_photographs(folder)
    assert [path.name for path in photographs] == ["plane_12.png", "plane_9.png", "plane_8.png"]
    assert plane_diopters(photographs, calibration).tolist() == [0.4, 1.2, 2.5]


@pytest.mark.parametrize(
    "text, message",
    [
        ('[diopters]\n"plane_8.png" = 0.6\n"plane_9.png" = 2.5\n', "the planes go from 0.6 to 2.5 1/m, the sweep from"),
        ('[diopters]\n"plane_8.png" = "near"\n', r"expected a table \[diopters\]"),
        ("diopters = 3\n", r"expected a table \[diopters\]"),
    ],
)
def test_a_wrong_focus_file_is_named(folder, calibration, text, message):
    (folder / "focus.toml").write_text(text)
    with pytest.raises(RecordingError, match=rf"focus\.toml: .*{message}"):
        plane_diopters(find_photographs(folder), calibration)


def test_srgb_is_decoded_to_linear_light_and_averaged_there(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, ::2] = 255
    Image.fromarray(pixels).save(tmp_path / "stripes.png")
    np.testing.assert_allclose(read_photograph(tmp_path / "stripes.png", 8, 4), 0.5, atol=1e-6)
    pixels[:] = (0, 188, 0)
    Image.fromarray(pixels).save(tmp_path / "green.png")
    np.testing.assert_allclose(read_photograph(tmp_path / "green.png", 16, 8), 0.7152 * 0.5029, atol=1e-3)
    Image.fromarray(np.full((8, 16), 13107, np.uint16)).save(tmp_path / "linear.png")
    np.testing.assert_allclose(read_photograph(tmp_path / "linear.png", 16, 8), 0.2, atol=1e-5)


def test_photographs_are_cropped_about_the_middle_to_the_sensor(tmp_path):
    wide = np.zeros((20, 100), np.uint8)
    wide[:, 40:60] = 255
    Image.fromarray(wide).save(tmp_path / "wide.png")
    np.testing.assert_allclose(read_photograph(tmp_path / "wide.png", 10, 10), 1.0, atol=1e-6)


def test_planes_are_met_and_nothing_overshoots_between_them():
    planes = np.random.default_rng(1).uniform(0.05, 1, (5, 40, 7)).astype(np.float32)
    focus = np.linspace(0.5, 2.5, 81)
    stack = interpolate_planes(planes, np.linspace(0.5, 2.5, 5), focus)
    np.testing.assert_allclose(stack[::20], planes, rtol=1e-5)
    for i in range(4):
        low, high = np.minimum(planes[i], planes[i + 1]), np.maximum(planes[i], planes[i + 1])
        between = stack[20 * i : 20 * i + 21]
        assert np.all(between >= low - 1e-6)
        assert np.all(between <= high + 1e-6)


def test_a_stack_becomes_events_without_bursts_at_its_planes(folder, calibration):
    recording = simulate_photographs(find_photographs(folder), calibration, PRESETS["clean"], sweeps=2)
    assert len(recording.triggers) == 3
    time = recording.events["timestamp"]
    assert len(time) > 20_000
    for spacing_us in (50_000, 200_000 / 64):  # of the photographs, and of the images between them
        phase = np.histogram(time % spacing_us, bins=50, range=(0, spacing_us))[0]
        at_planes, elsewhere = phase[[0, -1]], phase[1:-1]
        assert at_planes.max() < 1.1 * elsewhere.max()
    near_focus = (np.abs(time - 100_000) < 10_000).sum() / 20_000
    beside = (np.abs(time - 70_000) < 10_000).sum() / 20_000
    assert near_focus < 0.6 * beside  # the valley of the event rate in focus


def test_a_tilted_board_turns_polarity_row_by_row(calibration):
    """From top to bottom its bands are sharpest in planes 1 1 2 2 3 3 4 5; the outermost turn at the sweep's ends."""
    if not BOARD.is_dir():
        pytest.skip("the development data is not here")
    values = calibration.model_dump(exclude_none=True)
    values["camera"] |= {"width": 320, "height": 180, "cx": 160.0, "cy": 90.0}
    board = Calibration.model_validate(values)
    events = simulate_photographs(find_photographs(BOARD), board, PRESETS["clean"], sweeps=2, seed=1).events
    planes = []
    for band in range(1, 7):
        found = []
        for sweep in (0, 1):
            here = events[(events["y"] * 8 // 180 == band) & (events["timestamp"] // 200_000 == sweep)]
            order = np.lexsort((here["timestamp"], here["x"], here["y"]))
            pixel = (here["y"].astype(int) * 320 + here["x"])[order]
            time, polarity = here["timestamp"][order], here["polarity"][order]
            turn = (np.diff(pixel) == 0) & (np.diff(polarity) != 0)
            phase = np.median((time[1:][turn] + time[:-1][turn]) / 2) / 200_000 - sweep
            found.append(5 * (phase if sweep == 0 else 1 - phase))
        planes.append(np.mean(found))
    assert np.all(np.diff(planes) > 0.1)
    assert np.abs(np.array(planes) - [1, 2, 2, 3, 3, 4]).max() < 0.7


def test_unusable_photographs_are_named(tmp_path, folder, calibration):
    with pytest.raises(RecordingError, match="cannot be read as a folder"):
        find_photographs(tmp_path / "nowhere")
    (empty := tmp_path / "empty").mkdir()
    with pytest.raises(RecordingError, match="holds 0 images; a focal stack needs at least 2"):
        find_photographs(empty)
    (folder / "plane_9.png").write_text("no image")
    with pytest.raises(RecordingError, match=r"plane_9\.png: is not an image"):
        simulate_photographs(find_photographs(folder), calibration, PRESETS["clean"])
    with pytest.raises(RecordingError, match=r"plane_8\.png: has 192×144 pixels, fewer than the sensor's 640×480"):
        read_photograph(folder / "plane_8.png", 640, 480)
