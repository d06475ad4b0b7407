"""Thin-lens optics in diopters."""

import numpy as np
import pytest

from sweepdepth.capture import optics
from sweepdepth.capture.optics import distorted, undistorted


def test_metres_and_diopters_are_inverse_to_each_other():
    depth = np.array([0.1, 1.0, 50.0, np.nan], np.float32)
    np.testing.assert_allclose(optics.to_metres(optics.to_diopters(depth)), depth, rtol=1e-6)
    assert optics.to_diopters(np.float32(np.inf)) == 0
    assert optics.to_metres(0.0) == np.inf
    assert optics.to_metres(np.array([-1.0, 4.0])).tolist() == [np.inf, 0.25]


def test_the_blur_disc_is_that_of_the_thin_lens_equation():
    """Against the image-side construction: 1/f = 1/z + 1/v, disc = aperture · |v − v_sensor| / v."""
    focal, f_number, pitch = 0.012, 1.4, 18.5e-6
    focus_m, surface_m = 0.8, 1.7
    v_sensor = 1 / (1 / focal - 1 / focus_m)
    v = 1 / (1 / focal - 1 / surface_m)
    aperture = optics.aperture_m(12.0, 1.4)
    expected_px = aperture * abs(v - v_sensor) / v / pitch
    fx = v_sensor / pitch
    assert aperture == pytest.approx(focal / f_number)
    assert optics.blur_diameter_px(1 / focus_m, 1 / surface_m, fx, aperture) == pytest.approx(expected_px, rel=1e-6)


def test_blur_is_symmetric_about_focus_and_nothing_in_focus():
    blur = optics.blur_diameter_px(np.array([1.0, 1.5, 2.0]), 1.5, fx=600, aperture=0.01)
    assert blur == pytest.approx([3, 0, 3])


def test_breathing_magnifies_linearly_in_diopters_and_not_at_the_far_end():
    assert optics.breathing_magnification(np.array([0.5, 2.5]), 0.5, 0.015) == pytest.approx([1.0, 1.03])


@pytest.mark.parametrize("distortion", [(-0.2, 0.05, 0.001, -0.002, 0.01), (0.15, -0.02, 0.0, 0.0, 0.0), (0.0,) * 5])
def test_undoing_distortion_gives_back_the_ray(distortion):
    x, y = np.meshgrid(np.linspace(-0.6, 0.6, 13), np.linspace(-0.5, 0.5, 11))
    back = undistorted(*distorted(x, y, distortion), distortion)
    np.testing.assert_allclose(back, (x, y), atol=1e-6)


def test_barrel_distortion_moves_the_edge_inward():
    x, _ = distorted(np.array([0.5]), np.array([0.0]), (-0.2, 0.0, 0.0, 0.0, 0.0))
    assert x[0] == pytest.approx(0.5 * (1 - 0.2 * 0.25))
