"""Errors of the pixels with the smallest predicted deviations."""

import numpy as np
import pytest

from sweepdepth.net.evaluation.risk import PARTS, mean_risk, risk_of


def test_perfect_deviations_have_zero_ause():
    error = np.linspace(0, 1, 1000).reshape(20, 50)
    risk = risk_of(error, 3 * error)
    assert risk.curve == risk.oracle
    assert risk.ause == 0
    assert risk.surest(0.25) == pytest.approx(0.125, abs=0.002)
    assert risk.surest(1) == pytest.approx(0.5)


def test_an_order_that_is_wrong_costs_and_signs_do_not_matter():
    error = np.linspace(-1, 1, 1001)[None]
    unknowing, wrong = risk_of(error, np.ones_like(error)), risk_of(error, 1 - np.abs(error))
    assert wrong.ause > 0.7
    assert 0.4 < unknowing.ause < wrong.ause
    assert wrong.surest(0.05) > 0.9


def test_pixels_without_truth_do_not_count_and_empty_frames_are_left_out_of_the_mean():
    error, std = np.array([[0.1, np.nan, 0.3]]), np.array([[1.0, 0.1, 2.0]])
    risk = risk_of(error, std)
    assert risk.curve[-1] == pytest.approx(0.2)
    empty = risk_of(np.full((2, 2), np.nan), np.ones((2, 2)))
    assert np.isnan(empty.curve).all()
    assert mean_risk([risk, empty]).curve == pytest.approx(risk.curve)
    assert len(mean_risk([empty]).curve) == PARTS
