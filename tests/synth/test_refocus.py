"""Refocusing of light fields with known points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import KDTree

from sweepdepth import Calibration
from sweepdepth.synth.optics.lightfield import (
    LightField,
    aperture_offsets,
    greatest_blur_px,
    grid_jitter,
    margin_for,
    view_weights,
    views_for_blur,
)
from sweepdepth.synth.optics.refocus import refocus, refocus_sweep, shift_and_add, shift_and_add_numpy

FAR, NEAR = 0.5, 2.5


def lens(breathing: float = 0.0, width: int = 120, height: int = 90, fy: float = 400.0) -> Calibration:
    return Calibration.parse(f"""
        [camera]
        width = {width}
        height = {height}
        pixel_pitch_um = 20.0
        fx = 400.0
        fy = {fy}
        cx = {width / 2}
        cy = {height / 2}
        [lens]
        focal_length_mm = 12.0
        f_number = 1.2
        [sweep]
        waveform = "triangle"
        frequency_hz = 2.5
        far_diopters = {FAR}
        near_diopters = {NEAR}
        sync = "trigger"
        [breathing]
        scale_per_diopter = {breathing}
        center = [50.0, 40.0]
    """)


def points(calibration: Calibration, where: list[tuple[float, float, float]], n_views: int = 200) -> LightField:
    """The light field of small bright spots at (x, y, diopters) over black, each of a total of 1 in every view."""
    camera = calibration.camera
    margin = margin_for(calibration)
    offsets = aperture_offsets(n_views, calibration.lens.aperture_m)
    jitter = grid_jitter(n_views)
    reference = (FAR + NEAR) / 2
    rows, columns = np.mgrid[: camera.height + 2 * margin, : camera.width + 2 * margin]
    views = np.zeros((n_views, *rows.shape))
    for k in range(n_views):
        for x, y, diopters in where:
            px = x - camera.fx * offsets[k, 0] * (diopters - reference) - jitter[k, 0] + margin - 0.5
            py = y - camera.fy * offsets[k, 1] * (diopters - reference) - jitter[k, 1] + margin - 0.5
            views[k] += np.exp(-((columns - px) ** 2 + (rows - py) ** 2) / 2 / 0.7**2) / (2 * np.pi * 0.7**2)
    nothing = np.zeros((camera.height, camera.width), np.float32)
    return LightField(views.astype(np.float32), offsets, jitter, margin, reference, nothing, nothing)


def centroid(image: np.ndarray) -> tuple[float, float]:
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return float((image * x).sum() / image.sum()), float((image * y).sum() / image.sum())


def disc_diameter(image: np.ndarray) -> float:
    """The diameter of a uniform disc with the image's second moment."""
    cx, cy = centroid(image)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]] + 0.5
    return float(np.sqrt(8 * (image * ((x - cx) ** 2 + (y - cy) ** 2)).sum() / image.sum()))


@pytest.mark.parametrize("diopters", [0.5, 1.1, 2.5])
def test_a_point_is_sharpest_where_it_is_focused(diopters):
    field = points(lens(), [(60.2, 45.7, diopters)])
    foci = np.linspace(FAR, NEAR, 41)
    peaks = refocus_sweep(field, foci, lens()).max(axis=(1, 2))
    assert foci[np.argmax(peaks)] == pytest.approx(diopters, abs=0.051)


@pytest.mark.parametrize("focus", [0.5, 1.0, 1.9, 2.5])
@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_blur_grows_with_the_distance_in_diopters_and_the_aperture(focus, scale):
    field = points(lens(), [(60.0, 45.0, 1.0)])
    image = refocus(field, focus, lens(), aperture_scale=scale)
    in_focus = disc_diameter(refocus(field, 1.0, lens()))
    expected = 400 * scale * 0.010 * abs(focus - 1.0)  # fx · A · |φ − 1/z|
    # Second moments of blur and spot add.
    assert disc_diameter(image) == pytest.approx(np.hypot(expected, in_focus), rel=0.02)


def test_the_blur_is_an_even_disc():
    field = points(lens(), [(60.0, 45.0, 0.5)])
    image = refocus(field, 2.5, lens())
    y, x = np.mgrid[:90, :120] + 0.5
    radius = np.hypot(x - 60, y - 45)
    inside = image[radius < 2.0]
    assert inside.mean() == pytest.approx(1 / (np.pi * 4.0**2), rel=0.03)  # of diameter 8 px
    assert inside.std() < 0.05 * inside.mean()
    assert image[radius > 7.0].max() < 1e-3 * inside.mean()


def test_refocusing_conserves_light():
    field = points(lens(), [(60.0, 45.0, 0.5), (30.0, 50.0, 2.0)])
    for image in refocus_sweep(field, [0.5, 1.3, 2.5], lens()):
        assert image.sum() == pytest.approx(2.0, rel=1e-4)


@pytest.mark.parametrize("breathing", [0.02, -0.02])
def test_breathing_moves_a_point_away_from_its_centre_as_the_calibration_says(breathing):
    calibration = lens(breathing)
    field = points(calibration, [(100.0, 70.0, 1.4)])
    for focus in (0.5, 1.4, 2.5):
        m = 1 + breathing * (focus - FAR)
        expected = (50 + m * (100 - 50), 40 + m * (70 - 40))
        assert centroid(refocus(field, focus, calibration)) == pytest.approx(expected, abs=0.02)


def test_pixels_that_are_not_square_blur_by_their_own_focal_lengths():
    calibration = lens(fy=800.0)
    image = refocus(points(calibration, [(60.0, 45.0, 1.0)]), 2.5, calibration)
    y, x = np.mgrid[:90, :120] + 0.5
    ratio = (image * (y - 45) ** 2).sum() / (image * (x - 60) ** 2).sum()
    assert ratio == pytest.approx(4.0, rel=0.15)


def test_images_change_smoothly_with_the_focus():
    """No pixel jumps when views cross pixel borders, or flickers where all views coincide."""
    field = points(lens(), [(60.0, 45.0, 0.5)])
    foci = np.linspace(1.3, 1.7, 401)
    values = refocus_sweep(field, foci, lens())[:, 40:50, 55:65].astype(np.float64)
    second = np.abs(np.diff(values, n=2, axis=0)).max()
    first = np.abs(np.diff(values, axis=0)).max()
    assert second < 0.2 * first
    assert first < 0.01 * values.max()


def test_threads_change_nothing():
    field = points(lens(0.01), [(60.0, 45.0, 0.9)], n_views=40)
    foci = [0.5, 1.7]
    assert np.array_equal(
        refocus_sweep(field, foci, lens(0.01), threads=1), refocus_sweep(field, foci, lens(0.01), threads=3)
    )


def test_one_focus_alone_is_the_same_as_within_a_sweep():
    field = points(lens(), [(60.0, 45.0, 0.9)], n_views=40)
    assert np.array_equal(refocus_sweep(field, [0.5, 1.7, 2.0], lens())[1], refocus(field, 1.7, lens()))


def test_a_focus_beyond_the_rendered_range_is_an_error():
    field = points(lens(), [(60.0, 45.0, 0.9)], n_views=10)
    with pytest.raises(ValueError, match="beyond the light field's margin"):
        refocus(field, 6.0, lens())
    with pytest.raises(ValueError, match="aperture_scale"):
        refocus(field, 1.0, lens(), aperture_scale=1.5)
    with pytest.raises(ValueError, match="120×90"):
        refocus(field, 1.0, lens(width=100))


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n_views=st.integers(1, 7),
    magnification=st.sampled_from([1.0, 1.0, 0.97, 1.04]),
    n_images=st.integers(1, 3),
)
def test_the_kernel_agrees_with_its_reference(seed, n_views, magnification, n_images):
    rng = np.random.default_rng(seed)
    height, width, margin = 9, 13, 4
    views = rng.uniform(0, 5, (n_views, height + 2 * margin, width + 2 * margin)).astype(np.float32)
    shifts = rng.uniform(-2.5, 2.5, (2, n_images, n_views, 1))
    columns = ((np.arange(width) - 6) / magnification + 6 + margin + shifts[0]).astype(np.float32)
    rows = ((np.arange(height) - 4) / magnification + 4 + margin + shifts[1]).astype(np.float32)
    weights = rng.uniform(0, 1, n_views).astype(np.float32)
    out = np.empty((n_images, height, width), np.float32)
    shift_and_add(views, columns, rows, weights, 0, height, out)
    assert out == pytest.approx(shift_and_add_numpy(views, columns, rows, weights), rel=1e-4, abs=1e-4)


@pytest.mark.parametrize("blur_px", [3.0, 12.0, 30.0])
def test_view_spacing_limits_the_shift_between_views(blur_px):
    offsets = aperture_offsets(views_for_blur(blur_px, 1.5), aperture_m=blur_px)
    gaps = KDTree(offsets).query(offsets, k=2)[0][:, 1]
    assert gaps.max() <= 1.5
    assert gaps.min() > 0.7


def test_views_fill_the_aperture_like_a_disc_and_so_do_the_first_of_them():
    offsets = aperture_offsets(300, 2.0)
    radius = np.hypot(*offsets.T)
    assert np.all(np.diff(radius) > 0)
    assert radius.max() < 1
    assert np.mean(offsets[:, 0] ** 2) == pytest.approx(0.25, rel=0.02)
    assert np.mean(offsets[:75, 0] ** 2) == pytest.approx(0.25 * 0.25, rel=0.04)
    assert offsets.mean(axis=0) == pytest.approx(0, abs=0.01)


def test_weights_fall_smoothly_to_nothing_outside_a_smaller_aperture():
    assert view_weights(64, 1.0) == pytest.approx(1 / 64)
    half = view_weights(64, 0.5)
    assert np.count_nonzero(half) == 16
    assert half.sum() == pytest.approx(1.0)
    nearly = view_weights(64, 0.9999)
    assert 0 < nearly[-1] < nearly[0]


def test_grids_are_shifted_evenly_over_a_pixel():
    jitter = grid_jitter(256)
    assert np.abs(jitter).max() <= 0.5
    counts, _, _ = np.histogram2d(*jitter.T, bins=4, range=[[-0.5, 0.5]] * 2)
    assert np.abs(counts - 16).max() <= 4


def test_the_greatest_blur_is_that_of_the_scene_and_the_sweep_together():
    calibration = lens()
    flat = np.full((90, 120), 1.0, np.float32)
    assert greatest_blur_px(calibration, flat) == pytest.approx(400 * 0.01 * 2.0)
    near = flat.copy()
    near[0, 0] = 0.2
    assert greatest_blur_px(calibration, near) == pytest.approx(400 * 0.01 * 4.5)
    near[0, 0], near[0, 1] = np.inf, np.nan
    assert greatest_blur_px(calibration, near) == pytest.approx(400 * 0.01 * 2.5)
