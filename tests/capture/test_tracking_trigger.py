"""Sweeps from trigger edges that are missed, doubled, late, early or stray."""

import numpy as np
import pytest

from sweepdepth.capture.errors import SyncError
from sweepdepth.capture.events import FALLING, RISING, TRIGGER_DTYPE, Batch, join, make_triggers
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.capture.tracking import Span, Tracker, find_sweeps, make_tracker

from .analytic import EPOCH_US, batches, calibration, random_events

LENS = calibration(sync="trigger")  # 10 Hz: sweeps of 50 ms
SWEEP_US = 50_000


def edges(*times_us: float, first: int = RISING) -> np.ndarray:
    """(M,) TRIGGER_DTYPE: alternating edges at times after the epoch."""
    kinds = [first if i % 2 == 0 else RISING + FALLING - first for i in range(len(times_us))]
    return make_triggers(EPOCH_US + np.rint(np.array(times_us)).astype(np.int64), np.array(kinds))


def regular(count: int, sweep_us: float = SWEEP_US, first: int = RISING) -> np.ndarray:
    return edges(*(sweep_us * np.arange(count)), first=first)


def with_more(triggers: np.ndarray, time_us: int, edge: int) -> np.ndarray:
    extra = make_triggers(np.array([EPOCH_US + time_us]), np.array([edge]))
    both = np.concatenate([triggers, extra]).astype(TRIGGER_DTYPE)
    return both[np.argsort(both["timestamp"], kind="stable")]


def run(tracker: Tracker, triggers: np.ndarray, start_us: int, end_us: int, step_us: int = 7_000) -> list[Span]:
    """Feed random events of a time range, 1000 of them a sweep, in small batches."""
    events = random_events(np.random.default_rng(0), (end_us - start_us) // 50, EPOCH_US + start_us, EPOCH_US + end_us)
    cuts = range(EPOCH_US + start_us, EPOCH_US + end_us, step_us)
    spans = [span for batch in batches(events, triggers, list(cuts)) for span in tracker.feed(batch)]
    return spans + tracker.finish()


def closed(spans: list[Span]) -> list[tuple[int, int, int]]:
    """(start, end, direction) of the closed sweeps, times after the epoch."""
    return [as_tuple(span.sweep) for span in spans if span.closed]


def as_tuple(sweep: Sweep) -> tuple[int, int, int]:
    return sweep.start_us - EPOCH_US, sweep.end_us - EPOCH_US, int(sweep.direction)


def test_sweeps_run_from_edge_to_edge_and_rising_is_far():
    tracker = make_tracker(LENS)
    spans = run(tracker, regular(7), 0, 6 * SWEEP_US)
    assert closed(spans) == [(i * SWEEP_US, (i + 1) * SWEEP_US, 1 if i % 2 == 0 else -1) for i in range(6)]
    assert tracker.quality == 1
    counts = tracker.counts
    assert counts.sweeps == 6
    assert counts.partial_sweeps == counts.events_outside == counts.missed_edges == counts.stray_edges == 0


def test_find_sweeps_gives_the_closed_sweeps_of_a_recording():
    events = random_events(np.random.default_rng(0), 5000, EPOCH_US, EPOCH_US + 4 * SWEEP_US)
    sweeps = find_sweeps(batches(events, regular(5)), LENS)
    assert [as_tuple(s)[:2] for s in sweeps] == [(i * SWEEP_US, (i + 1) * SWEEP_US) for i in range(4)]


def test_an_open_sweep_ends_where_the_next_edge_is_predicted():
    spans = run(make_tracker(LENS), regular(7), 0, 6 * SWEEP_US)
    assert {span.sweep.end_us - span.sweep.start_us for span in spans if not span.closed} == {SWEEP_US}


@pytest.mark.parametrize("delay_us", [-30_000, -9_000, 9_000, 30_000, 70_000])
def test_the_lens_turns_delay_us_after_its_edge_and_every_event_lands_in_its_sweep(delay_us: int):
    tracker = make_tracker(calibration(sync="trigger", delay_us=delay_us))
    spans = run(tracker, regular(9), 0, 8 * SWEEP_US)
    sweeps = closed(spans)
    assert {(start - delay_us) % SWEEP_US for start, _, _ in sweeps} == {0}
    assert {end - start for start, end, _ in sweeps} == {SWEEP_US}
    assert len(sweeps) >= 6
    for span in spans:
        times = span.events["timestamp"]
        assert np.all((times >= span.sweep.start_us) & (times < span.sweep.end_us))


@pytest.mark.parametrize("missing", [3, 4])
def test_a_missed_edge_is_bridged_by_the_prediction(missing: int):
    tracker = make_tracker(LENS)
    spans = run(tracker, np.delete(regular(9), missing), 0, 8 * SWEEP_US)
    assert closed(spans) == [(i * SWEEP_US, (i + 1) * SWEEP_US, 1 if i % 2 == 0 else -1) for i in range(8)]
    assert tracker.counts.missed_edges == 1
    assert 0.8 < tracker.quality < 1


def test_contact_bounce_is_ignored():
    triggers = regular(7)
    for bounce in (150_200, 150_400, 200_300):
        triggers = with_more(with_more(triggers, bounce, RISING), bounce + 50, FALLING)
    tracker = make_tracker(LENS)
    assert closed(run(tracker, triggers, 0, 6 * SWEEP_US)) == closed(
        run(make_tracker(LENS), regular(7), 0, 6 * SWEEP_US)
    )
    assert tracker.counts.doubled_edges == 6
    assert tracker.counts.stray_edges == 0


def test_late_and_early_edges_are_used_and_counted():
    times = SWEEP_US * np.arange(9.0)
    times[3] += 4_000
    times[6] -= 4_000
    tracker = make_tracker(LENS)
    sweeps = closed(run(tracker, edges(*times), 0, 8 * SWEEP_US))
    assert [start for start, _, _ in sweeps] == list(times[:-1])
    assert [end for _, end, _ in sweeps] == list(times[1:])
    # The edge after a late one looks early, and the other way round.
    assert tracker.counts.late_edges == tracker.counts.early_edges == 2
    assert tracker.counts.missed_edges == 0
    assert tracker.quality < 0.9


@pytest.mark.parametrize("delay_us", [-20_000, 0, 20_000])
@pytest.mark.parametrize("off_us", [-9_000, 9_000])
def test_events_wait_until_an_edge_off_its_time_is_known(off_us: int, delay_us: int):
    times = SWEEP_US * np.arange(9.0)
    times[5] += off_us
    tracker = make_tracker(calibration(sync="trigger", delay_us=delay_us))
    spans = run(tracker, edges(*times), 0, 8 * SWEEP_US, step_us=1_000)
    exact = {span.sweep.start_us: span.sweep.end_us for span in spans if span.closed}
    assert EPOCH_US + times[5] + delay_us in exact
    for span in spans:
        until = exact.get(span.sweep.start_us, span.sweep.end_us)
        assert np.all((span.events["timestamp"] >= span.sweep.start_us) & (span.events["timestamp"] < until))


@pytest.mark.parametrize("edge", [RISING, FALLING])
@pytest.mark.parametrize("at", [0.3, 0.5, 0.7, 1.5])
def test_an_extra_edge_is_ignored(at: float, edge: int):
    tracker = make_tracker(LENS)
    triggers = with_more(regular(9), round((4 + at) * SWEEP_US), edge)
    sweeps = closed(run(tracker, triggers, 0, 8 * SWEEP_US))
    assert sweeps == closed(run(make_tracker(LENS), regular(9), 0, 8 * SWEEP_US))
    assert tracker.counts.stray_edges == 1


@pytest.mark.parametrize("at", [0.4, 0.5, 1.6])
def test_an_extra_edge_at_the_start_is_ignored(at: float):
    sweeps = closed(run(make_tracker(LENS), with_more(regular(9), round(at * SWEEP_US), RISING), 0, 8 * SWEEP_US))
    assert sweeps == closed(run(make_tracker(LENS), regular(9), 0, 8 * SWEEP_US))


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.5, 2.0])
def test_a_nominal_frequency_wrong_by_a_factor_of_two_is_survived(factor: float):
    tracker = make_tracker(LENS)
    sweep_us = round(SWEEP_US * factor)
    sweeps = closed(run(tracker, regular(9, sweep_us), 0, 8 * sweep_us))
    assert [start for start, _, _ in sweeps] == [i * sweep_us for i in range(8)]
    assert tracker.quality == 1


@pytest.mark.parametrize("share", [0.2, 0.35, 0.8])
def test_the_two_halves_of_a_period_may_differ(share: float):
    times = [2 * SWEEP_US * (i // 2 + (share if i % 2 else 0)) for i in range(11)]
    tracker = make_tracker(LENS)
    spans = run(tracker, edges(*times), 0, 10 * SWEEP_US)
    assert [start for start, _, _ in closed(spans)] == [round(t) for t in times[:-1]]
    assert tracker.counts.late_edges == tracker.counts.early_edges == 0
    assert tracker.quality > 0.99


def test_rising_edges_alone_put_the_near_end_half_way():
    triggers = regular(11)[::2]
    tracker = make_tracker(LENS)
    sweeps = closed(run(tracker, triggers, 0, 10 * SWEEP_US))
    assert sweeps == [(i * SWEEP_US, (i + 1) * SWEEP_US, 1 if i % 2 == 0 else -1) for i in range(10)]
    assert tracker.counts.missed_edges == 0
    assert tracker.quality == 1
    assert "taken as the far end" in tracker.notes[0]


def test_a_slowly_changing_frequency_is_followed():
    times = np.cumsum(SWEEP_US * 1.01 ** np.arange(30))
    tracker = make_tracker(LENS)
    sweeps = closed(run(tracker, edges(*times), round(times[0]), round(times[-1])))
    assert len(sweeps) == 29
    assert tracker.counts.missed_edges == tracker.counts.stray_edges == 0


def test_a_slowly_changing_frequency_is_followed_by_rising_edges_alone():
    times = np.cumsum(SWEEP_US * 1.01 ** np.arange(41))[::2]
    triggers = edges(*times)
    triggers["edge"] = RISING
    tracker = make_tracker(LENS)
    sweeps = closed(run(tracker, triggers, round(times[0]), round(times[-1])))
    assert len(sweeps) == 40
    assert {start for start, _, direction in sweeps if direction == 1} == set(np.rint(times[:-1]))
    assert tracker.counts.stray_edges == tracker.counts.lost == 0


def test_a_sawtooth_only_sweeps_from_far_to_near():
    period_us = 100_000
    lens = calibration(sync="trigger", waveform="sawtooth")
    triggers = regular(7, period_us)
    triggers["edge"] = RISING
    for i in range(6):
        triggers = with_more(triggers, i * period_us + 13_000, FALLING)
    tracker = make_tracker(lens)
    assert closed(run(tracker, triggers, 0, 6 * period_us)) == [
        (i * period_us, (i + 1) * period_us, 1) for i in range(6)
    ]
    assert tracker.counts.stray_edges == tracker.counts.missed_edges == 0


def test_a_sweep_at_either_end_counts_when_nine_tenths_of_it_were_recorded():
    inner = [(i * SWEEP_US, (i + 1) * SWEEP_US, 1 if i % 2 == 0 else -1) for i in range(4)]
    tracker = make_tracker(LENS)
    assert closed(run(tracker, regular(5), -46_000, 246_000)) == [
        (-SWEEP_US, 0, -1),
        *inner,
        (4 * SWEEP_US, 5 * SWEEP_US, 1),
    ]
    assert tracker.counts.partial_sweeps == 0
    tracker = make_tracker(LENS)
    assert closed(run(tracker, regular(5), -44_000, 244_000)) == inner
    assert tracker.counts.partial_sweeps == 2
    assert tracker.counts.events_outside == pytest.approx(880, abs=40)  # the head; the tail's spans were handed out


@pytest.mark.parametrize("count", [1, 2])
def test_few_edges_suffice_at_the_nominal_frequency(count: int):
    tracker = make_tracker(LENS)
    sweeps = closed(run(tracker, regular(count), 0, 2 * SWEEP_US))
    assert sweeps == [(0, SWEEP_US, 1), (SWEEP_US, 2 * SWEEP_US, -1)]


def test_the_timing_is_lost_when_edges_stop_and_found_when_they_return():
    slower_us = 60_000
    restart = 1_000_000
    triggers = np.concatenate([regular(7), edges(*(restart + slower_us * np.arange(9)))]).astype(TRIGGER_DTYPE)
    tracker = make_tracker(LENS)
    spans = run(tracker, triggers, 0, restart + 8 * slower_us)
    sweeps = closed(spans)
    before = [s for s in sweeps if s[1] < restart]
    assert len(before) == 6 + 5  # four bridged turning points, then a last predicted end
    assert [s[0] for s in sweeps if s[0] >= restart] == [restart + i * slower_us for i in range(8)]
    assert tracker.counts.lost == 1
    assert tracker.counts.events_outside > 0
    assert tracker.quality == 1


def test_edges_that_contradict_the_timing_replace_it():
    # The driver restarts at once, with another frequency and phase.
    triggers = np.concatenate([regular(8), edges(*(370_000 + 33_000 * np.arange(12)))]).astype(TRIGGER_DTYPE)
    tracker = make_tracker(LENS)
    spans = run(tracker, triggers, 0, 370_000 + 11 * 33_000)
    late = [s for s in closed(spans) if s[0] >= 500_000]
    assert {(s - 370_000) % 33_000 for s, _, _ in late} == {0}
    assert {e - s for s, e, _ in late} == {33_000}
    assert all(d == (1 if (s - 370_000) // 33_000 % 2 == 0 else -1) for s, _, d in late)
    assert tracker.counts.lost == 1
    assert tracker.counts.broken_sweeps == 1


def test_without_any_edge_an_error_names_the_way_out():
    with pytest.raises(SyncError, match=r'no trigger edge came.*"events".*"clock"'):
        run(make_tracker(LENS), regular(0), 0, 20 * SWEEP_US)


def test_edges_without_a_rhythm_are_an_error():
    times = 3_000 * np.arange(300)
    with pytest.raises(SyncError, match=r"no rhythm of 4.55 to 22.2 Hz around sweep.frequency_hz \(10\)"):
        run(make_tracker(LENS), edges(*times), 0, 900_000)


@pytest.mark.parametrize(("edges_seen", "sweeps_held"), [(0, 2), (1, 12)])
def test_searching_holds_a_bounded_number_of_events(edges_seen: int, sweeps_held: int):
    tracker = make_tracker(LENS)
    events = random_events(np.random.default_rng(0), 100_000, EPOCH_US, EPOCH_US + 100 * SWEEP_US)
    most = fed = 0
    for batch in batches(events, regular(edges_seen), [EPOCH_US + i * 10_000 for i in range(500)]):
        assert tracker.feed(batch) == []
        fed += len(batch.events)
        most = max(most, fed - tracker.counts.events_outside)
    assert most <= 1.1 * sweeps_held * len(events) / 100
    assert tracker.quality == 0


def test_the_memory_of_a_batch_may_be_reused_after_its_spans_are_done_with():
    events = random_events(np.random.default_rng(0), 20_000, EPOCH_US, EPOCH_US + 8 * SWEEP_US)
    tracker = make_tracker(LENS)
    memory = np.zeros(len(events), events.dtype)
    got: list[np.ndarray] = []
    for batch in batches(events, regular(9), [EPOCH_US + i * 9_100 for i in range(40)]):
        view = memory[: len(batch.events)]
        view[:] = batch.events
        got += [span.events.copy() for span in tracker.feed(Batch(view, batch.triggers, batch.end_us))]
        memory["timestamp"] = -1
    got += [span.events.copy() for span in tracker.finish()]
    assert np.array_equal(join(got), events)


def test_a_direction_given_on_top_of_edges_is_an_error():
    with pytest.raises(SyncError, match=r'sweep.sync is "trigger", which determines the direction'):
        make_tracker(LENS, Direction.FAR_TO_NEAR)
