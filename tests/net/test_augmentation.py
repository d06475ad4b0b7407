"""Augmentation of events changes what it is asked to change, and nothing else."""

import numpy as np
import pytest

from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.net.polarity import PolarityReversal
from sweepdepth.net.training.augmentation import NONE, Augmentation, augment


def strips(calibration, *positions):
    width = calibration.camera.width
    return np.repeat(positions, -(-width // len(positions)))[:width]


def diopters_of(calibration, position):
    return calibration.sweep.far_diopters + position * calibration.sweep.range_diopters


def test_no_augmentation_changes_nothing(sweep, textured_planes):
    position = np.broadcast_to(strips(sweep.calibration, 0.3, 0.6), (72, 96))
    events = textured_planes(sweep, diopters_of(sweep.calibration, position[0]))
    same, same_sweep, same_position = augment(events, sweep, position, NONE, np.random.default_rng(0))
    assert np.array_equal(same, events)
    assert same_sweep == sweep
    assert np.array_equal(same_position, position)


@pytest.mark.parametrize("seed", range(4))
def test_flipped_events_give_the_flipped_depth(sweep, textured_planes, seed):
    """Depth estimated from augmented events equals the augmented depth."""
    position = strips(sweep.calibration, 0.2, 0.7)
    events = textured_planes(sweep, diopters_of(sweep.calibration, position), threshold=0.1)
    whole = np.broadcast_to(position, (sweep.calibration.camera.height, len(position)))
    amount = Augmentation(True, 0, 0, 0, 0, 0, 0, 0)
    events, sweep, truth = augment(events, sweep, whole, amount, np.random.default_rng(seed))
    estimator = PolarityReversal()
    found = estimator(EventFocalStack.build(events, sweep, estimator.bins, estimator.polarity)).diopters
    error = found - diopters_of(sweep.calibration, truth)
    away = np.ones(truth.shape[1], bool)
    away[truth.shape[1] // 2 - 12 : truth.shape[1] // 2 + 12] = False  # both planes are in the blur there
    assert np.nanmedian(np.abs(error[:, away])) < 0.07 * sweep.calibration.sweep.range_diopters
    assert set(np.unique(truth)) == {0.2, 0.7}


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
