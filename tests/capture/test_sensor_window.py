"""The window of a sensor: only its events, and the calibration of a camera of that size."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepdepth import Calibration, CalibrationError
from sweepdepth.capture.events import TRIGGER_DTYPE, Batch, make_events
from sweepdepth.capture.optics import blur_diameter_px, undistorted
from sweepdepth.capture.sensor_window import SensorWindow, keep_window, keep_window_plainly

WIDTH, HEIGHT = 96, 72


def with_camera(lens: str, **keys: object) -> Calibration:
    text = "".join(f"{key} = {value}\n" for key, value in keys.items())
    return Calibration.parse(lens.replace("[lens]", text + "[lens]"))


def batch_of(x: np.ndarray, y: np.ndarray) -> Batch:
    n = len(x)
    return Batch(make_events(np.arange(n), x, y, np.arange(n) % 2), np.zeros(1, TRIGGER_DTYPE), n)


def every_pixel() -> Batch:
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    return batch_of(x.ravel(), y.ravel())


@settings(deadline=None)  # the kernel is compiled by the first
@given(
    roi=st.one_of(
        st.none(),
        st.tuples(st.integers(0, 40), st.integers(0, 30), st.integers(16, 56), st.integers(16, 42)),
    ),
    downsample=st.integers(1, 5),
    n_hot=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_events_keep_their_place_in_the_scene(lens, roi, downsample, n_hot, seed):
    random = np.random.default_rng(seed)
    hot = [[int(random.integers(WIDTH)), int(random.integers(HEIGHT))] for _ in range(n_hot)]
    calibration = with_camera(lens, hot_pixels=hot, **({} if roi is None else {"roi": list(roi)}))
    window = SensorWindow(calibration, downsample)
    before = batch_of(random.integers(0, WIDTH, 500), random.integers(0, HEIGHT, 500))
    sent = before.events.copy()
    after = window.apply(before)
    if roi is None and downsample == 1:
        assert after is before
        assert window.calibration is calibration
        return
    x, y, width, height = roi or (0, 0, WIDTH, HEIGHT)
    u, v = (sent["x"] - x) // downsample, (sent["y"] - y) // downsample
    inside = (u >= 0) & (u < width // downsample) & (v >= 0) & (v < height // downsample)
    is_hot = np.array([[px, py] in hot for px, py in zip(sent["x"], sent["y"], strict=True)], bool)
    kept = inside & ~is_hot
    assert window.n_left_out == np.count_nonzero(~inside)
    np.testing.assert_array_equal(after.events["x"], u[kept])
    np.testing.assert_array_equal(after.events["y"], v[kept])
    for name in ("timestamp", "polarity"):
        np.testing.assert_array_equal(after.events[name], sent[name][kept])
    np.testing.assert_array_equal(after.triggers, before.triggers)
    assert after.end_us == before.end_us

    plain, outside = keep_window_plainly(sent, window._columns, window._rows, window._hot)
    np.testing.assert_array_equal(after.events, plain)
    assert window.n_left_out == outside


def test_the_window_keeps_rays_and_angular_blur(lens):
    text = lens + "[breathing]\nscale_per_diopter = 0.01\ncenter = [50.0, 30.0]\n"
    whole = with_camera(text, roi=[11, 7, 61, 50], distortion=[0.1, -0.02, 0.001, 0.002, 0.0], hot_pixels=[[12, 8]])
    n = 3
    part = SensorWindow(whole, n).calibration
    a, b = whole.camera, part.camera
    assert (b.width, b.height, b.roi, b.hot_pixels) == (20, 16, None, ())
    # The middle of the window's pixel (4, 5) is the middle of nine of the sensor's.
    u, v = 11 + 3 * 4 + 1.5, 7 + 3 * 5 + 1.5
    expected = undistorted(np.array((u - a.cx) / a.fx), np.array((v - a.cy) / a.fy), a.distortion)
    found = undistorted(np.array((4.5 - b.cx) / b.fx), np.array((5.5 - b.cy) / b.fy), b.distortion)
    np.testing.assert_allclose(found, expected)
    blurs = [blur_diameter_px(2.5, 0.5, c.camera.fx, c.lens.aperture_m) for c in (whole, part)]
    assert blurs[1] == pytest.approx(blurs[0] / n)
    assert b.fx * b.pixel_pitch_um == pytest.approx(a.fx * a.pixel_pitch_um)
    assert part.breathing is not None
    assert part.breathing.center == pytest.approx(((50 - 11) / n, (30 - 7) / n))
    assert Calibration.parse(part.to_toml()) == part
    assert Calibration.parse(whole.to_toml()) == whole


def test_binning_leaves_out_only_the_hot_pixel_itself(lens):
    window = SensorWindow(with_camera(lens, hot_pixels=[[4, 6]]), 2)
    events = window.apply(every_pixel()).events
    counts = np.zeros((HEIGHT // 2, WIDTH // 2), int)
    np.add.at(counts, (events["y"], events["x"]), 1)
    assert counts[3, 2] == 3
    assert np.count_nonzero(counts != 4) == 1
    assert window.n_left_out == 0


@pytest.mark.parametrize(
    "roi", [[0, 0, 97, 72], [90, 0, 10, 10], [-1, 0, 10, 10], [0, 70, 10, 3], [0, 0, 0, 10], [5, 5, 10, -2]]
)
def test_a_roi_that_is_no_part_of_the_sensor_is_named(lens, roi):
    with pytest.raises(CalibrationError, match=r"camera: roi: \[.*\] \(x, y, width, height\) is no part of the 96×72"):
        with_camera(lens, roi=roi)


def test_a_window_with_too_little_blur_is_refused(lens):
    for downsample in (0, 17, -2):
        with pytest.raises(CalibrationError, match=rf"--downsample {downsample}: expected a whole number from 1 to 16"):
            SensorWindow(with_camera(lens), downsample)
    with pytest.raises(CalibrationError, match=r"--downsample 4: leaves no pixel of 3×72; give a smaller number"):
        SensorWindow(with_camera(lens, roi=[0, 0, 3, 72]), 4)
    blurless = lens.replace("f_number = 1.4", "f_number = 6.0")
    with pytest.raises(
        CalibrationError, match=r"--downsample 16: from one end .* a point is blurred over 0\.1[0-9]* px"
    ):
        SensorWindow(Calibration.parse(blurless), 16)


def test_the_kernel_writes_to_the_memory_that_it_reads():
    batch = every_pixel()
    columns = np.where(np.arange(WIDTH) % 2, np.arange(WIDTH) // 2, -1).astype(np.int16)
    rows = np.arange(HEIGHT, dtype=np.int16)
    n, outside = keep_window(batch.events, columns, rows, np.zeros((0, 0), bool))
    assert (n, outside) == (WIDTH * HEIGHT // 2, WIDTH * HEIGHT // 2)
    np.testing.assert_array_equal(
        batch.events["x"][:n].reshape(HEIGHT, -1), np.arange(WIDTH // 2)[None].repeat(HEIGHT, 0)
    )
