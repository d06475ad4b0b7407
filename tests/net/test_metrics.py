"""Metrics on depth maps, compared with values computed by hand."""

import numpy as np
import pytest

from sweepdepth.net import metrics


@pytest.fixture
def truth(calibration):
    """Three pixels inside the sweep range (0.4–2 m), one behind it, one unknown."""
    return np.array([[0.5, 1.0, 2.0, 4.0, np.nan]], np.float32)


def test_a_perfect_map_has_no_error_and_full_coverage(calibration, truth):
    result = metrics.score(truth, truth, calibration)
    assert (result.coverage, result.abs_rel, result.rmse, result.mae, result.delta) == (1, 0, 0, 0, (1, 1, 1))
    assert result.n_truth == 3


def test_errors_are_those_computed_by_hand(calibration, truth):
    depth = np.array([[0.5, 1.1, np.nan, 2.0, 1.0]], np.float32)
    std = np.full_like(depth, 0.1)
    result = metrics.score(depth, truth, calibration, std)
    assert result.coverage == pytest.approx(2 / 3)
    assert result.abs_rel == pytest.approx(0.05)
    assert result.mae_m == pytest.approx(0.05)
    assert result.mae == pytest.approx((1 - 1 / 1.1) / 2)
    assert result.rmse == pytest.approx((1 - 1 / 1.1) / 2**0.5)
    assert result.rmse_range == pytest.approx(result.rmse / 2)
    assert result.delta == (0.5, 1, 1)
    assert result.bias == pytest.approx((1 / 1.1 - 1) / 2)


def test_pixels_outside_the_sweep_range_are_scored_apart_against_its_end(calibration, truth):
    depth = np.array([[np.nan, np.nan, np.nan, 2.0, 1.0]], np.float32)
    result = metrics.score(depth, truth, calibration)
    assert result.n_outside == 1
    assert result.outside_mae == pytest.approx(0)
    assert result.coverage == 0
    assert np.isnan(result.abs_rel)


def test_the_deviation_ratio_is_one_for_normal_errors_of_the_stated_size(calibration):
    rng = np.random.default_rng(0)
    true = np.full((200, 200), 1.0)
    std = rng.uniform(0.01, 0.05, true.shape)
    depth = 1 / (1 + rng.normal(0, std))
    assert metrics.score(depth, true, calibration, std).std_ratio == pytest.approx(1, abs=0.03)


def test_maps_of_different_shape_are_refused(calibration, truth):
    with pytest.raises(ValueError, match=r"\(1, 5\).*\(1, 4\)"):
        metrics.score(truth, truth[:, :4], calibration)


def test_means_leave_out_frames_without_a_score_and_add_counts(calibration, truth):
    nothing = metrics.score(np.full_like(truth, np.nan), truth, calibration)
    half = metrics.score(truth * 1.1, truth, calibration)
    both = metrics.mean([nothing, half])
    assert both.abs_rel == half.abs_rel
    assert both.coverage == half.coverage / 2
    assert both.n_truth == 6
