"""Metric depth from photographs through two apertures and a relative depth map. Loads torch."""

from dataclasses import replace
from importlib.util import find_spec

import numpy as np
import pytest

from sweepdepth.capture.errors import SweepdepthError
from sweepdepth.net.cases import NotApplicable
from sweepdepth.net.evaluation.baselines import Constant
from sweepdepth.net.evaluation.baselines.apertures import TwoApertures, metric_depth
from sweepdepth.net.evaluation.baselines.relative import FromMethod, open_relative

from .known_sweeps import Texture, plane_case, strips


def aperture_images(calibration, position):
    """Images through both apertures of strips at positions of the sweep range, exact, and the strips' inverse depth."""
    diopters = strips(calibration, *position)
    return Texture(calibration).photographs("two_apertures", diopters), diopters


def relative_error(estimate, diopters, calibration):
    return (estimate.diopters - diopters) / calibration.sweep.range_diopters


@pytest.mark.parametrize("of_depth", [False, True])
def test_two_apertures_determine_scale_and_shift_of_relative_depth(calibration, of_depth):
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


def test_relative_depth_comes_from_a_method_or_from_checked_files(calibration, tmp_path):
    case = plane_case(calibration)
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
