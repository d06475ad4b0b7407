"""Properties of all trackers, for any stream cut into any batches."""

from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from sweepdepth.capture.calibration import Calibration
from sweepdepth.capture.errors import SyncError
from sweepdepth.capture.events import FALLING, RISING, join, make_triggers
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.capture.tracking import Counts, find_sweeps, make_tracker

from .analytic import EPOCH_US, Scene, batches, calibration, random_events, record

SWEEP_US = 50_000
LENGTH_US = 12 * SWEEP_US

cuts = st.lists(st.integers(-1_000, LENGTH_US + 1_000), max_size=30).map(sorted)


@st.composite
def trigger_trains(draw: st.DrawFn) -> np.ndarray:
    """(M,) TRIGGER_DTYPE: a train of edges with all kinds of faults, not necessarily at the nominal frequency."""
    sweep_us = SWEEP_US * draw(st.sampled_from([0.5, 0.8, 1.0, 1.0, 1.0, 1.6]))
    share = draw(st.sampled_from([0.3, 0.5, 0.5, 0.6]))
    start = draw(st.integers(-60_000, 200_000))
    times = [start + 2 * sweep_us * (i // 2 + (share if i % 2 else 0)) for i in range(24)]
    faults = draw(
        st.lists(st.tuples(st.integers(0, 23), st.sampled_from(["miss", "off", "double", "stray"])), max_size=8)
    )
    jitter = draw(st.integers(-5_000, 5_000))
    train: list[tuple[float, int]] = []
    missed = {i for i, fault in faults if fault == "miss"}
    for i, time in enumerate(times):
        off = jitter if (i, "off") in faults else 0
        kind = RISING if i % 2 == 0 else FALLING
        train += [(time + off, kind)] if i not in missed else []
        train += [(time + off + 100, kind)] if (i, "double") in faults else []
        train += [(time + 0.4 * sweep_us, kind)] if (i, "stray") in faults else []
    stop = draw(st.integers(200_000, LENGTH_US))
    train = sorted((t, kind) for t, kind in train if 0 <= t < stop)
    return make_triggers(
        EPOCH_US + np.array([t for t, _ in train], np.float64).astype(np.int64), np.array([k for _, k in train])
    )


@cache
def noise() -> np.ndarray:
    return random_events(np.random.default_rng(3), 3_000, EPOCH_US, EPOCH_US + LENGTH_US)


@cache
def scene() -> np.ndarray:
    """Sweeps, a long pause, and sweeps again: the timing is found, lost and found again."""
    lens = calibration()
    first = record(Scene(noise_hz=2), lens, EPOCH_US + SWEEP_US * np.arange(7), steps=60)
    again = first.copy()
    again["timestamp"] += 16 * SWEEP_US + 7_000
    return join([first, again])


def track(
    lens: Calibration, events: np.ndarray, triggers: np.ndarray | None, cuts_us: list[int], first: Direction | None
) -> tuple[list[tuple[Sweep, np.ndarray]], Counts]:
    """The closed sweeps with their events, and the counts; checks the guarantees of all spans."""
    tracker = make_tracker(lens, first)
    spans = [span for batch in batches(events, triggers, cuts_us) for span in tracker.feed(batch)]
    try:
        spans += tracker.finish()
    except SyncError:
        assert not spans
        return [], tracker.counts

    given_out = sum(len(span.events) for span in spans)
    assert given_out + tracker.counts.events_outside == len(events)
    times = np.concatenate([span.events["timestamp"] for span in spans]) if spans else np.empty(0, np.int64)
    assert np.all(np.diff(times) >= 0)
    assert sum(span.closed for span in spans) == tracker.counts.sweeps

    whole: list[tuple[Sweep, np.ndarray]] = []
    parts: list[np.ndarray] = []
    open_since = None
    last_end = None
    exact = {span.sweep.start_us: span.sweep.end_us for span in spans if span.closed}
    for span in spans:
        sweep = span.sweep
        assert sweep.end_us > sweep.start_us
        until = min(sweep.end_us, exact.get(sweep.start_us, sweep.end_us))
        assert np.all((span.events["timestamp"] >= sweep.start_us) & (span.events["timestamp"] < until))
        if sweep.start_us != open_since:
            parts, open_since = [], sweep.start_us
        parts.append(span.events)
        if span.closed:
            assert last_end is None or sweep.start_us >= last_end
            last_end = sweep.end_us
            whole.append((sweep, join(parts)))
    return whole, tracker.counts


def assert_same(
    one: tuple[list[tuple[Sweep, np.ndarray]], Counts], other: tuple[list[tuple[Sweep, np.ndarray]], Counts]
) -> None:
    assert [sweep for sweep, _ in one[0]] == [sweep for sweep, _ in other[0]]
    for (_, a), (_, b) in zip(one[0], other[0], strict=True):
        assert np.array_equal(a, b)
    assert one[1] == other[1]


@settings(deadline=None, max_examples=150)
@given(
    triggers=trigger_trains(),
    cuts_us=cuts,
    delay_us=st.sampled_from([0, 0, -9_000, 9_000, -80_000, 80_000]),
    waveform=st.sampled_from(["triangle", "sawtooth"]),
)
def test_trigger_tracker_with_faulty_edges_in_any_batches(
    triggers: np.ndarray, cuts_us: list[int], delay_us: int, waveform: str
):
    frequency_hz = 10.0 if waveform == "triangle" else 20.0
    lens = calibration(sync="trigger", delay_us=delay_us, waveform=waveform, frequency_hz=frequency_hz)
    cuts_us = [EPOCH_US + c for c in cuts_us]
    assert_same(track(lens, noise(), triggers, cuts_us, None), track(lens, noise(), triggers, [], None))


@settings(deadline=None, max_examples=60)
@given(
    cuts_us=cuts,
    start_us=st.integers(0, 2 * LENGTH_US),
    frequency_hz=st.floats(3, 200),
    gap_us=st.integers(0, 400_000),
)
@example(cuts_us=[], start_us=0, frequency_hz=200, gap_us=400_000)
def test_clock_tracker_in_any_batches(cuts_us: list[int], start_us: int, frequency_hz: float, gap_us: int):
    lens = calibration(sync="clock", start_us=start_us, frequency_hz=frequency_hz)
    times = noise()["timestamp"] - EPOCH_US
    events = noise()[(times < 100_000) | (times >= 100_000 + gap_us)]
    cuts_us = [EPOCH_US + c for c in cuts_us]
    assert_same(track(lens, events, None, cuts_us, None), track(lens, events, None, [], None))


@settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.too_slow])
@given(cuts_us=st.lists(st.integers(0, 23 * SWEEP_US), max_size=30).map(sorted), first=st.sampled_from(Direction))
def test_event_tracker_in_any_batches(cuts_us: list[int], first: Direction):
    lens = calibration()
    cuts_us = [EPOCH_US + c for c in cuts_us]
    whole = track(lens, scene(), None, [], first)
    assert_same(track(lens, scene(), None, cuts_us, first), whole)
    assert len(whole[0]) >= 11


@pytest.mark.parametrize("sync", ["clock", "trigger"])
def test_an_empty_recording_has_no_sweeps(sync: str):
    nothing = noise()[:0]
    if sync == "clock":
        assert find_sweeps(batches(nothing), calibration(sync=sync)) == []
    else:
        with pytest.raises(SyncError):
            find_sweeps(batches(nothing), calibration(sync=sync))
