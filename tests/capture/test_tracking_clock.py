"""Sweeps from the clock alone."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepdepth.capture.errors import SyncError
from sweepdepth.capture.events import EVENT_DTYPE
from sweepdepth.capture.sweeps import Direction
from sweepdepth.capture.tracking import find_sweeps, make_tracker
from sweepdepth.capture.tracking.clock import MAX_SILENT_SWEEPS, ClockTracker

from .analytic import EPOCH_US, batches, calibration, random_events


def events_at(*times_us: int) -> np.ndarray:
    events = np.zeros(len(times_us), EVENT_DTYPE)
    events["timestamp"] = times_us
    return events


def test_the_lens_is_at_the_far_end_at_start_us_and_every_period_before_and_after():
    lens = calibration(sync="clock", frequency_hz=2.5, start_us=EPOCH_US + 1_000_000)
    events = random_events(np.random.default_rng(0), 1000, EPOCH_US, EPOCH_US + 2_000_000)
    sweeps = find_sweeps(batches(events), lens)
    assert [s.start_us - EPOCH_US for s in sweeps] == [i * 200_000 for i in range(10)]
    assert [s.direction for s in sweeps] == [Direction.NEAR_TO_FAR, Direction.FAR_TO_NEAR] * 5
    assert sweeps[5].start_us == EPOCH_US + 1_000_000


@given(
    frequency=st.floats(0.01, 200, allow_subnormal=False),
    number=st.integers(-(10**12), 10**12),
    start_us=st.integers(0, 2 * EPOCH_US),
)
def test_boundaries_never_drift(frequency: float, number: int, start_us: int):
    tracker = ClockTracker(calibration(sync="clock", frequency_hz=frequency, start_us=start_us))
    exact = start_us + number * 500_000 / Fraction(repr(frequency))
    assert abs(tracker.boundary_us(number) - exact) <= Fraction(1, 2)


def test_fractions_of_microseconds_do_not_accumulate():
    lens = calibration(sync="clock", frequency_hz=7.5)  # 66,666.67 µs a sweep
    year_us = 365 * 86_400_000_000
    events = random_events(np.random.default_rng(0), 1000, year_us, year_us + 1_000_000)
    sweeps = find_sweeps(batches(events), lens)
    assert sweeps[0].start_us == year_us
    assert [s.end_us - year_us for s in sweeps[:3]] == [66_667, 133_333, 200_000]


def test_a_sawtooth_begins_at_every_period():
    lens = calibration(sync="clock", waveform="sawtooth", frequency_hz=10)
    sweeps = find_sweeps(batches(random_events(np.random.default_rng(0), 1000, 0, 500_000)), lens)
    assert [(s.start_us, int(s.direction)) for s in sweeps] == [(i * 100_000, 1) for i in range(5)]


@pytest.mark.parametrize(("seen", "expected"), [(46_000, 5), (44_000, 3)])
def test_sweeps_at_the_ends_count_when_nine_tenths_of_them_were_recorded(seen: int, expected: int):
    lens = calibration(sync="clock")
    events = random_events(np.random.default_rng(0), 5000, 50_000 - seen, 200_000 + seen)
    tracker = make_tracker(lens)
    spans = [span for batch in batches(events) for span in tracker.feed(batch)] + tracker.finish()
    assert sum(span.closed for span in spans) == expected
    assert tracker.counts.partial_sweeps == 5 - expected
    assert tracker.quality == 1


def test_sweeps_without_events_are_closed_too():
    events = np.concatenate([events_at(0, 10, 20), events_at(290_000)]).astype(EVENT_DTYPE)
    tracker = make_tracker(calibration(sync="clock"))
    spans = [span for batch in batches(events) for span in tracker.feed(batch)]
    assert [len(span.events) for span in spans if span.closed] == [3, 0, 0, 0, 0]


def test_a_jump_of_the_clock_by_half_a_century_does_not_make_billions_of_sweeps():
    events = events_at(0, 10, EPOCH_US + 10, EPOCH_US + 60_000, EPOCH_US + 110_000)
    tracker = make_tracker(calibration(sync="clock"))
    spans = [span for batch in batches(events) for span in tracker.feed(batch)]
    closed = [span.sweep for span in spans if span.closed]
    assert len(closed) == MAX_SILENT_SWEEPS + 1 + 2
    assert closed[-2].start_us == EPOCH_US
    assert tracker.counts.silent_sweeps == EPOCH_US // 50_000 - MAX_SILENT_SWEEPS - 1
    assert tracker.counts.events_outside == 0


def test_a_direction_given_on_top_of_the_clock_is_an_error():
    with pytest.raises(SyncError, match=r'sweep.sync is "clock", which determines the direction'):
        make_tracker(calibration(sync="clock"), far_end_hint_us=0)
