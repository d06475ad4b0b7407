"""The baselines on images whose blur is exact."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from sweepdepth.capture.calibration import Breathing
from sweepdepth.capture.errors import SweepdepthError
from sweepdepth.capture.files.photographs import PLANS, Photographs
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.cases import Case, NotApplicable
from sweepdepth.net.evaluation.baselines import Constant, CoupledDifferentiation, DepthFromFocus, fit_constant
from sweepdepth.net.evaluation.baselines.apertures import TwoApertures, metric_depth
from sweepdepth.net.evaluation.baselines.coupled import depth_from_coupled
from sweepdepth.net.evaluation.baselines.focus import depth_from_focus
from sweepdepth.net.evaluation.baselines.relative import FromMethod, open_relative

from .known_sweeps import Texture, strips


def position_error(estimate, diopters, calibration):
    """Error of the answers, of the sweep range."""
    known = np.isfinite(estimate.diopters)
    return ((estimate.diopters - diopters) / calibration.sweep.range_diopters)[known]


@pytest.fixture
def breathing_lens(calibration):
    return calibration.model_copy(update={"breathing": Breathing(scale_per_diopter=0.02, center=(48.0, 36.0))})


@pytest.fixture
def case(calibration):
    """A plane at 1.1 diopters, with all that a baseline may need but no event."""
    from sweepdepth.capture.events import EVENT_DTYPE

    texture, diopters = Texture(calibration), strips(calibration, 0.3)
    frames, focus = texture.stack(diopters, 24)
    return Case(
        "plane",
        0,
        np.empty(0, EVENT_DTYPE),
        Sweep(0, 200_000, Direction.FAR_TO_NEAR, calibration),
        np.broadcast_to(1 / diopters, frames.shape[1:]).astype(np.float32),
        frames,
        focus,
        texture.aperture_pair(diopters),
        {name: texture.photographs(name, diopters) for name in PLANS},
    )


@pytest.mark.parametrize("frames", [6, 24])
@pytest.mark.parametrize("position", [0.1, 0.37, 0.5, 0.9])
def test_the_sharpest_frame_tells_the_depth_more_finely_than_frames_are_apart(calibration, position, frames):
    diopters = strips(calibration, position)
    estimate = depth_from_focus(*Texture(calibration).stack(diopters, frames), calibration)
    error = position_error(estimate, diopters, calibration)
    assert len(error) > 0.9 * estimate.diopters.size
    assert np.median(np.abs(error)) < 0.1 / frames
    assert np.abs(error).mean() < 0.3 / frames


def test_two_surfaces_are_told_apart(calibration):
    diopters = strips(calibration, 0.2, 0.7)
    estimate = depth_from_focus(*Texture(calibration).stack(diopters, 24), calibration)
    assert np.nanmedian(estimate.diopters[:, :40]) == pytest.approx(diopters[0], abs=0.03)
    assert np.nanmedian(estimate.diopters[:, 56:]) == pytest.approx(diopters[-1], abs=0.03)


def test_where_nothing_is_sharp_nothing_is_known(calibration):
    grey = np.full((24, 72, 96), 0.5, np.float32)
    grey += np.random.default_rng(0).normal(0, 0.01, grey.shape).astype(np.float32)
    estimate = depth_from_focus(grey, np.linspace(0.5, 2.5, 24), calibration)
    assert np.isfinite(estimate.diopters).mean() < 0.25
    black = depth_from_focus(np.zeros_like(grey), np.linspace(0.5, 2.5, 24), calibration)
    assert np.isnan(black.diopters).all()


def test_breathing_does_not_displace_what_was_sharp(breathing_lens):
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
    """Full wells hold more light of the smaller aperture, which would look like a change of the image."""
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


def test_the_constant_is_the_middle_and_as_sure_as_a_uniform_guess(case):
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


def aperture_images(calibration, position):
    """Images through both apertures of strips at positions of the sweep range, exact, and the strips' inverse depth."""
    diopters = strips(calibration, *position)
    return Texture(calibration).photographs("two_apertures", diopters), diopters


def relative_error(estimate, diopters, calibration):
    return (estimate.diopters - diopters) / calibration.sweep.range_diopters


@pytest.mark.parametrize("of_depth", [False, True])
def test_two_apertures_say_where_relative_depth_begins_and_ends(calibration, of_depth):
    pair, diopters = aperture_images(calibration, (0.2, 0.4, 0.7))
    shape = pair.images.shape[1:]
    nearness = np.broadcast_to(5 - 3 / diopters if of_depth else 0.1 * diopters - 7, shape)
    estimate = metric_depth(pair, nearness, calibration, of_depth, whole=False)
    error = relative_error(estimate, diopters, calibration)
    assert np.abs(error).mean() < 0.05
    assert (np.abs(error) < 2 * estimate.std / calibration.sweep.range_diopters).mean() > 0.7


def test_two_apertures_correct_a_map_that_is_wrong_in_more_than_scale_and_shift(calibration):
    """The relative depth says that the middle strip lies with the first; it lies with the last."""
    pair, diopters = aperture_images(calibration, (0.2, 0.7, 0.7))
    nearness = np.broadcast_to(strips(calibration, 0.2, 0.2, 0.7), pair.images.shape[1:])
    scaled, corrected = (metric_depth(pair, nearness, calibration, whole=whole) for whole in (False, True))
    before, after = (np.abs(relative_error(e, diopters, calibration)).mean() for e in (scaled, corrected))
    assert after < 0.7 * before


def test_relative_depth_comes_from_a_method_or_from_files_and_what_is_wrong_with_it_is_said(case, tmp_path):
    seen = []

    class Seeing:
        name = "seeing"

        def __call__(self, case):
            seen.append(case.photographs["sharp"].images)
            return Constant()(case)

    assert (FromMethod(Seeing())(case) == FromMethod(Constant())(case)).all()
    assert np.array_equal(seen[0], case.photographs["two_apertures"].images[:1])
    with pytest.raises(SweepdepthError, match=r"neither NAME_relative\.npy nor the model_index"):
        open_relative(tmp_path)
    np.save(tmp_path / f"{case.recording}_relative.npy", np.ones((5, 5)))
    relative = open_relative(tmp_path)
    with pytest.raises(SweepdepthError, match=r"\(5, 5\) is not that of images"):
        TwoApertures(relative)(case)
    with pytest.raises(SweepdepthError, match=r"other_relative\.npy: cannot be read"):
        relative(replace(case, recording="other"))
    with pytest.raises(NotApplicable, match="holds no photographs 'two_apertures'"):
        TwoApertures(relative)(replace(case, photographs={}))
    (tmp_path / "model_index.json").write_text("{}")
    if find_spec("diffusers") is None:
        with pytest.raises(SweepdepthError, match="pip install diffusers"):
            open_relative(tmp_path)(case)
