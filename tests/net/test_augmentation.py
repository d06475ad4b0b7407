"""Augmentation in event space keeps what it must and changes what it says."""

import numpy as np
import pytest

from sweepdepth.capture.calibration import Breathing
from sweepdepth.capture.events import EVENT_DTYPE
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.augmentation import NONE, Augmentation, augment
from sweepdepth.net.polarity import PolarityReversal


def strips(calibration, *positions):
    width = calibration.camera.width
    return np.repeat(positions, -(-width // len(positions)))[:width]


def diopters_of(calibration, position):
    return calibration.sweep.far_diopters + position * calibration.sweep.range_diopters


def test_nothing_is_changed_when_nothing_is_asked_for(sweep, textured_planes):
    position = np.broadcast_to(strips(sweep.calibration, 0.3, 0.6), (72, 96))
    events = textured_planes(sweep, diopters_of(sweep.calibration, position[0]))
    same, same_sweep, same_position = augment(events, sweep, position, NONE, np.random.default_rng(0))
    assert np.array_equal(same, events)
    assert same_sweep == sweep
    assert np.array_equal(same_position, position)


@pytest.mark.parametrize("seed", range(4))
def test_flips_and_reversal_are_scenes_that_the_classical_estimator_understands(sweep, textured_planes, seed):
    """Depth from augmented events is the augmented depth: physics, not bookkeeping, is what is kept."""
    position = strips(sweep.calibration, 0.2, 0.7)
    events = textured_planes(sweep, diopters_of(sweep.calibration, position), threshold=0.1)
    whole = np.broadcast_to(position, (sweep.calibration.camera.height, len(position)))
    amount = Augmentation(True, 1.0, 0, 0, 0, 0, 0, 0, 0)
    events, sweep, truth = augment(events, sweep, whole, amount, np.random.default_rng(seed))
    estimator = PolarityReversal()
    found = estimator(EventFocalStack.build(events, sweep, estimator.bins, estimator.polarity)).diopters
    error = found - diopters_of(sweep.calibration, truth)
    away = np.ones(truth.shape[1], bool)
    away[truth.shape[1] // 2 - 12 : truth.shape[1] // 2 + 12] = False  # both planes are in the blur there
    assert np.nanmedian(np.abs(error[:, away])) < 0.07 * sweep.calibration.sweep.range_diopters
    assert set(np.unique(truth)) == {np.float64(1 - 0.2), np.float64(1 - 0.7)}


def test_a_reversed_sweep_breathes_the_other_way_from_its_own_far_end(calibration):
    """A point that both lenses see undone lands at the same place: m(φ)/m(near) is the reversed magnification."""
    breathing = Breathing(scale_per_diopter=0.02, center=(30.0, 20.0))
    calibration = calibration.model_copy(update={"breathing": breathing})
    sweep = Sweep(0, 200_000, Direction.FAR_TO_NEAR, calibration)
    amount = Augmentation(False, 1.0, 0, 0, 0, 0, 0, 0, 0)
    truth = np.zeros((72, 96))
    _, turned, _ = augment(np.empty(0, EVENT_DTYPE), sweep, truth, amount, np.random.default_rng(0))
    assert turned.calibration.breathing is not None
    span, scale = calibration.sweep.range_diopters, turned.calibration.breathing.scale_per_diopter
    for share in (0.0, 0.3, 1.0):
        expected = (1 + 0.02 * span * (1 - share)) / (1 + 0.02 * span)
        assert 1 + scale * span * share == pytest.approx(expected)


def test_noise_and_loss_change_the_number_of_events_and_keep_their_order(sweep, textured_planes):
    events = textured_planes(sweep, diopters_of(sweep.calibration, strips(sweep.calibration, 0.5)))
    counts = set()
    for seed in range(12):
        changed, _, _ = augment(events, sweep, np.zeros((72, 96)), Augmentation(), np.random.default_rng(seed))
        assert (np.diff(changed["timestamp"]) >= 0).all()
        assert changed["x"].min() >= 0
        assert changed["x"].max() < 96
        assert changed["y"].min() >= 0
        assert changed["y"].max() < 72
        counts.add(len(changed))
    assert min(counts) < 0.9 * len(events)
    assert max(counts) > 1.01 * len(events)
