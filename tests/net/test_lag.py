"""The latency of the pixels, from sweeps in both directions."""

from dataclasses import replace

import numpy as np
import pytest

from sweepdepth.capture.calibration import Breathing
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.evidence import BINS, CANDIDATES, make_evidence
from sweepdepth.net.lag import LAG_STEP, LARGEST_LAG, LagFollower
from sweepdepth.net.network import EventNetwork, load_network

DURATION = 200_000
SURE = np.full((60, 80), 0.02)


def sweeps(calibration, count):
    directions = Direction.FAR_TO_NEAR, Direction.NEAR_TO_FAR
    return [Sweep(k * DURATION, (k + 1) * DURATION, directions[k % 2], calibration) for k in range(count)]


def follow(follower, all_sweeps, lag, corrected=True, deviation=SURE):
    """Estimates of a scene in the middle of the range whose pixels respond `lag` late."""
    truth = np.random.default_rng(0).uniform(0.2, 0.8, SURE.shape)
    used = []
    for sweep in all_sweeps:
        known = follower.lag(sweep)
        used.append(known)
        follower.compare(sweep, truth + int(sweep.direction) * (lag - known * corrected), deviation, known)
    return used


@pytest.mark.parametrize("lag", [0.0, 0.015, 0.06, -0.02])
def test_the_lag_is_half_the_difference_of_the_directions(calibration, lag):
    used = follow(LagFollower(), sweeps(calibration, 6), lag)
    assert used[:2] == [0, 0]
    assert used[2:] == pytest.approx([lag] * 4, abs=LAG_STEP)


def test_no_lag_without_sure_pixels_or_consecutive_sweeps(calibration):
    assert not any(follow(LagFollower(), sweeps(calibration, 6), 0.05, deviation=SURE + 0.2))
    apart = [replace(s, start_us=3 * s.start_us, end_us=3 * s.start_us + DURATION) for s in sweeps(calibration, 6)]
    assert not any(follow(LagFollower(), apart, 0.05))
    alike = [replace(s, direction=Direction.FAR_TO_NEAR) for s in sweeps(calibration, 6)]
    assert not any(follow(LagFollower(), alike, 0.05))


def test_the_surest_pixels_determine_the_lag(calibration):
    """Others, pulled towards the nearer end of the sweep by little evidence, differ by direction for another reason."""
    deviation = np.where(np.random.default_rng(1).random(SURE.shape) < 0.3, 0.02, 0.1)
    truth = np.random.default_rng(0).uniform(0.2, 0.8, SURE.shape)
    follower = LagFollower()
    for sweep in sweeps(calibration, 6):
        position = truth + int(sweep.direction) * np.where(deviation > 0.05, 0.08, 0.02)
        follower.compare(sweep, position, deviation, 0.0)
    assert follower.lag(sweeps(calibration, 7)[6]) == pytest.approx(0.02, abs=LAG_STEP)


def test_another_camera_or_lens_resets_the_lag(calibration):
    follower = LagFollower()
    follow(follower, sweeps(calibration, 4), 0.05)
    assert follower.lag(sweeps(calibration, 5)[4]) == pytest.approx(0.05, abs=LAG_STEP)
    other = calibration.model_copy(update={"breathing": Breathing(scale_per_diopter=0.01, center=(5.0, 5.0))})
    assert follower.lag(sweeps(other, 5)[4]) == 0


def test_the_lag_is_bounded(calibration):
    """Motion or a wrong estimate shifts no sweep by more than a quarter."""
    used = follow(LagFollower(), sweeps(calibration, 30), 0.12, corrected=False)
    assert max(used) == pytest.approx(LARGEST_LAG, abs=LAG_STEP)


@pytest.mark.parametrize("direction", list(Direction))
def test_compensated_late_events_give_the_same_evidence(calibration, textured_planes, direction):
    lag = 0.0625  # as far as candidates are apart
    sweep = Sweep(0, DURATION, direction, calibration)
    events = textured_planes(sweep, np.full(96, 1.5))
    late = events.copy()
    late["timestamp"] += round(lag * DURATION)
    late = late[late["timestamp"] < DURATION]

    def best(events, lag):
        found = make_evidence(EventFocalStack.build(events, sweep, BINS, "interpolated"), lag)
        energy = found.in_range_order.half[7]
        return CANDIDATES[np.argmax(np.median(energy, axis=(1, 2)))]

    punctual = best(events, 0.0)
    assert best(late, 0.0) == pytest.approx(punctual + int(direction) * lag, abs=0.01)
    assert best(late, lag) == pytest.approx(punctual, abs=0.01)


def test_the_network_estimates_the_lag_from_its_sweeps(calibration, textured_planes):
    """The shipped network, on a surface whose events are all delayed by 10 ms."""
    network = load_network()
    assert isinstance(network, EventNetwork)
    lag, answers = 0.05, []
    for sweep in sweeps(calibration, 4):
        events = textured_planes(sweep, np.full(96, 1.2))
        events["timestamp"] += round(lag * DURATION)
        events = events[events["timestamp"] < sweep.end_us]
        estimate = network(EventFocalStack.build(events, sweep, network.bins, network.polarity))
        answers.append(float(np.median(estimate.diopters)))
    range_ = calibration.sweep.range_diopters
    assert abs(answers[0] - answers[1]) / range_ > 1.2 * lag
    assert abs(answers[2] - answers[3]) / range_ < 0.5 * lag
