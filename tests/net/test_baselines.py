"""The baselines on images whose blur is exact."""

from dataclasses import replace

import numpy as np
import pytest

from sweepdepth.capture.calibration import Breathing
from sweepdepth.capture.files.photographs import Photographs
from sweepdepth.net.cases import NotApplicable
from sweepdepth.net.evaluation.baselines import Constant, CoupledDifferentiation, DepthFromFocus, fit_constant
from sweepdepth.net.evaluation.baselines.coupled import depth_from_coupled
from sweepdepth.net.evaluation.baselines.focus import depth_from_focus

from .known_sweeps import Texture, plane_case, strips


def position_error(estimate, diopters, calibration):
    """Error of the known pixels, as a fraction of the sweep range."""
    known = np.isfinite(estimate.diopters)
    return ((estimate.diopters - diopters) / calibration.sweep.range_diopters)[known]


@pytest.fixture
def breathing_lens(calibration):
    return calibration.model_copy(update={"breathing": Breathing(scale_per_diopter=0.02, center=(48.0, 36.0))})


@pytest.fixture
def case(calibration):
    return plane_case(calibration)


@pytest.mark.parametrize("frames", [6, 24])
@pytest.mark.parametrize("position", [0.1, 0.37, 0.5, 0.9])
def test_depth_from_focus_is_finer_than_the_frame_spacing(calibration, position, frames):
    diopters = strips(calibration, position)
    estimate = depth_from_focus(*Texture(calibration).stack(diopters, frames), calibration)
    error = position_error(estimate, diopters, calibration)
    assert len(error) > 0.9 * estimate.diopters.size
    assert np.median(np.abs(error)) < 0.1 / frames
    assert np.abs(error).mean() < 0.3 / frames


def test_depth_from_focus_separates_two_surfaces(calibration):
    diopters = strips(calibration, 0.2, 0.7)
    estimate = depth_from_focus(*Texture(calibration).stack(diopters, 24), calibration)
    assert np.nanmedian(estimate.diopters[:, :40]) == pytest.approx(diopters[0], abs=0.03)
    assert np.nanmedian(estimate.diopters[:, 56:]) == pytest.approx(diopters[-1], abs=0.03)


def test_depth_from_focus_needs_a_sharp_frame(calibration):
    grey = np.full((24, 72, 96), 0.5, np.float32)
    grey += np.random.default_rng(0).normal(0, 0.01, grey.shape).astype(np.float32)
    estimate = depth_from_focus(grey, np.linspace(0.5, 2.5, 24), calibration)
    assert np.isfinite(estimate.diopters).mean() < 0.25
    black = depth_from_focus(np.zeros_like(grey), np.linspace(0.5, 2.5, 24), calibration)
    assert np.isnan(black.diopters).all()


def test_depth_from_focus_undoes_breathing(breathing_lens):
    diopters = strips(breathing_lens, 0.3, 0.9)  # the near half is magnified by 3.6 % when it is sharp
    frames, focus = Texture(breathing_lens).stack(diopters, 24)
    with_it = depth_from_focus(frames, focus, breathing_lens)
    assert np.median(np.abs(position_error(with_it, diopters, breathing_lens))) < 0.01


def test_focus_uses_as_many_frames_as_its_camera_takes(case):
    few, many = DepthFromFocus(), DepthFromFocus(24)
    assert (few.name, many.name) == ("focus, 30 fps", "focus, 24 frames")
    errors = [np.abs(position_error(method(case), 1.1, case.calibration)).mean() for method in (few, many)]
    assert errors[1] < errors[0] < 0.05
    with pytest.raises(NotApplicable, match=r"plane.*frames"):
        few(replace(case, frames=None))


@pytest.mark.parametrize("position", [0.0, 0.15, 0.35, 0.7, 1.0])
def test_two_derivatives_give_the_depth_in_closed_form(calibration, position):
    diopters = strips(calibration, position)
    estimate = depth_from_coupled(Texture(calibration).aperture_pair(diopters), calibration)
    error = position_error(estimate, diopters, calibration)
    assert len(error) > 0.9 * estimate.diopters.size
    assert np.abs(error).mean() < 0.01


def test_closed_form_in_noise_is_unbiased_and_knows_its_errors(calibration):
    random = np.random.default_rng(1)
    diopters = strips(calibration, 0.7)
    pair = Texture(calibration).aperture_pair(diopters)
    noise = random.normal(0, 0.003, pair.images.shape) / pair.aperture_scale[:, None, None]
    estimate = depth_from_coupled(replace(pair, images=(pair.images + noise).astype(np.float32)), calibration)
    error = position_error(estimate, diopters, calibration)
    std = estimate.std[np.isfinite(estimate.diopters)] / calibration.sweep.range_diopters
    assert len(error) > 0.8 * estimate.diopters.size
    assert abs(np.median(error)) < 0.02
    assert 0.2 < np.median(np.abs(error) / std) / 0.6745 < 1.2


def test_closed_form_has_no_answer_where_the_surface_is_in_focus(calibration):
    random = np.random.default_rng(0)
    pair = Texture(calibration).aperture_pair(strips(calibration, 0.5))
    noisy = (pair.images + random.normal(0, 0.002, pair.images.shape)).astype(np.float32)
    estimate = depth_from_coupled(replace(pair, images=noisy), calibration)
    assert np.isfinite(estimate.diopters).mean() < 0.1


def test_overflowing_pixels_are_left_out_of_the_closed_form(calibration):
    """Saturated pixels collect relatively more light through the smaller aperture, like a change of the image."""
    diopters = strips(calibration, 0.2)
    pair = Texture(calibration).aperture_pair(diopters)
    full = 0.6 / pair.aperture_scale[:, None, None] ** 2
    clipped = Photographs(np.minimum(pair.images, full).astype(np.float32), pair.diopters, pair.aperture_scale)
    assert (clipped.images < pair.images).any(axis=0).mean() > 0.2
    error = position_error(depth_from_coupled(clipped, calibration), diopters, calibration)
    assert len(error) > 1000
    assert np.median(np.abs(error)) < 0.02


def test_closed_form_undoes_breathing(breathing_lens):
    diopters = strips(breathing_lens, 0.2)
    estimate = depth_from_coupled(Texture(breathing_lens).aperture_pair(diopters), breathing_lens)
    assert np.median(np.abs(position_error(estimate, diopters, breathing_lens))) < 0.02


def test_closed_form_needs_its_four_images(case):
    assert np.nanmedian(CoupledDifferentiation()(case).diopters) == pytest.approx(1.1, abs=0.03)
    with pytest.raises(NotApplicable, match=r"plane.*aperture_pair"):
        CoupledDifferentiation()(replace(case, aperture_pair=None))


def test_the_constant_is_the_middle_with_a_uniform_deviation(case):
    estimate = Constant()(case)
    assert (estimate.diopters == 1.5).all()
    np.testing.assert_allclose(estimate.std, 2.0 / 12**0.5)


def test_a_constant_can_be_fitted_to_known_depth(case):
    half = np.where(np.arange(96) < 48, 1 / 1.0, 1 / 2.0)
    known = replace(case, truth=np.broadcast_to(half, (72, 96)).astype(np.float32))
    outside = replace(case, truth=np.full((72, 96), 10.0, np.float32))
    fitted = fit_constant([known, outside])
    assert fitted.position == pytest.approx(0.5)
    assert fitted.spread == pytest.approx(0.25)
    with pytest.raises(ValueError, match="no case has a surface"):
        fit_constant([outside])
