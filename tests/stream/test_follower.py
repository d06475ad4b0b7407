"""Sweeps of a live source: their timing is lost in a gap or when the lens stops."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from sweepdepth import SyncError
from sweepdepth.capture.cameras import Gap
from sweepdepth.capture.events import FALLING, RISING, Batch, make_triggers
from sweepdepth.capture.lenses import LensStatus
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.stream.follower import PATIENCE_SWEEPS, Follower

from ..capture import analytic

SWEEP_US = 50_000
EMPTY = analytic.random_events(np.random.default_rng(0), 0, 0, 1)


def edges(start_us: int, count: int, first: int = RISING) -> list[Batch]:
    """One batch per edge, ending just after it."""
    kinds = [first, FALLING + RISING - first]
    times = [start_us + k * SWEEP_US for k in range(count)]
    return [Batch(EMPTY, make_triggers(np.array([t]), np.array([kinds[k % 2]])), t + 1) for k, t in enumerate(times)]


def feed(follower: Follower, batches: list[Batch]) -> list[Sweep]:
    """The sweeps closed by each batch."""
    return [span.sweep for batch in batches for span in follower.feed(batch) if span.closed]


def gap(last_us: int, next_us: int, *, new_clock: bool = False) -> Gap:
    return Gap(last_us, next_us, 1e-6 * (next_us - last_us), "unplugged", 5 if new_clock else 0)


@dataclass
class Wire:
    """A lens whose state can be changed."""

    status: LensStatus

    def __call__(self) -> LensStatus:
        return self.status


def test_no_sweep_spans_a_gap():
    """The lens moved meanwhile; later sweeps are timed independently."""
    follower = Follower(analytic.calibration(sync="trigger"))
    before = feed(follower, edges(0, 6))
    follower.cross(gap(250_001, 931_000))
    after = feed(follower, edges(931_000, 6, FALLING))
    assert [(s.start_us, s.direction) for s in before] == [(k * SWEEP_US, 1 - 2 * (k % 2)) for k in range(5)]
    assert [(s.start_us, s.direction) for s in after] == [(931_000 + k * SWEEP_US, 2 * (k % 2) - 1) for k in range(5)]
    assert all(s.end_us - s.start_us == SWEEP_US for s in before + after)
    assert follower.counts.sweeps == 10
    assert follower.quality == 1.0
    assert follower.why_not() == ""


def test_a_resting_lens_makes_no_sweeps_despite_edges():
    lens = Wire(LensStatus(connected=True, moving=True))
    follower = Follower(analytic.calibration(sync="trigger"), lens=lens)
    assert len(feed(follower, edges(0, 6))) == 5
    lens.status = replace(lens.status, connected=False, moving=False)
    assert feed(follower, edges(300_000, 6)) == []
    assert follower.quality == 0.0
    lens.status = LensStatus(connected=True, moving=True, reconnects=1)
    assert [s.start_us for s in feed(follower, edges(620_000, 6))] == [620_000 + k * SWEEP_US for k in range(5)]


def test_a_short_loss_of_the_lens_is_detected_by_its_reconnection():
    lens = Wire(LensStatus(connected=True, moving=True))
    follower = Follower(analytic.calibration(sync="trigger"), lens=lens)
    feed(follower, edges(0, 6))
    lens.status = replace(lens.status, reconnects=1)
    after = feed(follower, edges(277_000, 6, RISING))
    assert [s.start_us for s in after] == [277_000 + k * SWEEP_US for k in range(5)]


def test_a_new_clock_ends_clock_synchronisation_with_a_reason():
    follower = Follower(analytic.calibration(sync="clock"))
    silent = [Batch(EMPTY, b.triggers, b.end_us) for b in edges(0, 6)]
    assert len(feed(follower, silent)) == 5
    follower.cross(gap(250_001, 500_000))
    assert len(feed(follower, edges(500_000, 6))) == 5
    follower.cross(gap(750_001, 900_000, new_clock=True))
    assert feed(follower, edges(900_000, 6)) == []
    assert follower.why_not().startswith("the camera's clock was reset")


def test_the_reason_for_missing_sweeps_is_reported_after_a_while():
    follower = Follower(analytic.calibration(sync="trigger"))
    silence = [Batch(EMPTY, make_triggers(np.array([]), np.array([])), k * SWEEP_US) for k in range(1, 30)]
    feed(follower, silence[:PATIENCE_SWEEPS])
    assert follower.why_not() == ""
    feed(follower, silence[PATIENCE_SWEEPS:])
    assert "no trigger edge came" in follower.why_not()


def test_impossible_synchronisation_is_reported_at_the_start():
    with pytest.raises(SyncError, match="do not distinguish far→near from near→far"):
        Follower(analytic.calibration(sync="events"))
    with pytest.raises(SyncError, match="leave out --first-direction"):
        Follower(analytic.calibration(sync="trigger"), Direction.FAR_TO_NEAR, Wire(LensStatus(True, True)))


@pytest.fixture(scope="module")
def period() -> np.ndarray:
    """Events of one whole period, which can be repeated."""
    lens = analytic.calibration(sync="events")
    return analytic.record(analytic.Scene(), lens, np.array([0, SWEEP_US, 2 * SWEEP_US]), steps=100)


def repeated(period: np.ndarray, start_us: int, periods: int, period_us: int) -> list[Batch]:
    """The period repeated, stretched to another length."""
    batches = []
    for k in range(periods):
        events = period[period["timestamp"] < 2 * SWEEP_US].copy()
        at_us = start_us + k * period_us
        events["timestamp"] = at_us + events["timestamp"] * period_us // (2 * SWEEP_US)
        batches.append(Batch(events, make_triggers(np.array([]), np.array([])), at_us + period_us))
    return batches


@pytest.mark.parametrize("drift_us", [0, 1000, -1000])
def test_the_driver_determines_the_direction_despite_clock_drift(period, drift_us):
    """By one percent, so that it is soon off by more than the quarter period that determines the direction."""
    period_us = 2 * SWEEP_US + drift_us
    calibration = analytic.calibration(sync="events")
    lens = Wire(LensStatus(connected=True, moving=True))
    follower = Follower(calibration, lens=lens, sensor_us=lambda ns: ns // 1000)

    def run(batches: list[Batch]) -> list[Sweep]:
        found = []
        for batch in batches:
            # The driver counts periods of the commanded length.
            lens.status = replace(lens.status, far_end_ns=batch.end_us // (2 * SWEEP_US) * 2 * SWEEP_US * 1000)
            found += feed(follower, [batch])
        return found

    before = run(repeated(period, 0, 40, period_us))
    after_us = 41 * period_us
    follower.cross(gap(40 * period_us, after_us))
    after = run(repeated(period, after_us, 12, period_us))
    assert len(before) > 50
    assert len(after) > 10
    for start_us, sweeps in ((0, before), (after_us, after)):
        for sweep in sweeps:
            k = round((sweep.start_us - start_us) / (period_us / 2))
            assert sweep.direction == (Direction.FAR_TO_NEAR if k % 2 == 0 else Direction.NEAR_TO_FAR)


def test_without_a_driver_the_direction_lasts_through_a_short_gap(period):
    follower = Follower(analytic.calibration(sync="events"), Direction.NEAR_TO_FAR)
    # The first closed sweep is the first one recorded, with the direction near→far.
    before = feed(follower, repeated(period, 0, 12, 2 * SWEEP_US))
    follower.cross(gap(24 * SWEEP_US, 27 * SWEEP_US))
    after = feed(follower, repeated(period, 27 * SWEEP_US, 12, 2 * SWEEP_US))
    assert before
    assert after
    for sweep in before + after:
        k = round(sweep.start_us / SWEEP_US)
        # The recording continues with its first half after an odd number of sweeps, so the scene there is mirrored.
        assert sweep.direction == (Direction.NEAR_TO_FAR if k % 2 == 0 else Direction.FAR_TO_NEAR)
