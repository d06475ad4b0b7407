"""Which channel the lens's trigger is on, and what its edges mean: levels, pulses at one end, pulses at both."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepdepth.capture.calibration import Calibration
from sweepdepth.capture.errors import CalibrationError, SyncError
from sweepdepth.capture.events import FALLING, RISING, TRIGGER_DTYPE, make_triggers
from sweepdepth.capture.sweeps import Direction
from sweepdepth.capture.tracking import Tracker, make_tracker

from .analytic import EPOCH_US, batches, calibration, random_events

SWEEP_US = 50_000  # of a lens of 10 Hz
PERIOD_US = 2 * SWEEP_US
LAST_US = 10 * SWEEP_US
TURNS = SWEEP_US * np.arange(11)
SWEEPS = [(i * SWEEP_US, (i + 1) * SWEEP_US, 1 if i % 2 == 0 else -1) for i in range(10)]


def lens(**trigger: Any) -> Calibration:
    return calibration(sync="trigger", **trigger)


def train(times_us: np.ndarray, kinds: int | np.ndarray, channel: int = 0) -> np.ndarray:
    """Edges at times after the epoch."""
    times = EPOCH_US + np.rint(np.asarray(times_us)).astype(np.int64)
    return make_triggers(times, np.broadcast_to(kinds, len(times)), channel)


def merged(*trains: np.ndarray) -> np.ndarray:
    both = np.concatenate(trains).astype(TRIGGER_DTYPE)
    return both[np.argsort(both["timestamp"], kind="stable")]


def wave(channel: int = 0, *, inverted: bool = False, late_us: int = 0) -> np.ndarray:
    """The lens's square wave: rising at the far end, falling at the near end."""
    first, second = (FALLING, RISING) if inverted else (RISING, FALLING)
    return train(TURNS + late_us, np.where(np.arange(len(TURNS)) % 2 == 0, first, second), channel)


def pulses(times_us: np.ndarray, width_us: int, channel: int = 0, *, low: bool = False) -> np.ndarray:
    """Pulses that begin at given times, both of their edges."""
    begin, end = (FALLING, RISING) if low else (RISING, FALLING)
    return merged(train(times_us, begin, channel), train(times_us + width_us, end, channel))


def square(frequency_hz: float, start_us: int, end_us: int, channel: int) -> np.ndarray:
    times = np.arange(start_us, end_us, 5e5 / frequency_hz)
    return train(times, np.where(np.arange(len(times)) % 2 == 0, RISING, FALLING), channel)


def sweeps_of(tracker: Tracker, triggers: np.ndarray, cuts_us: list[int] | None = None, start_us: int = 0) -> list:
    """(start, end, direction) of the closed sweeps, times after the epoch, with random events all the while."""
    last_us = max(LAST_US, int(triggers["timestamp"][-1]) - EPOCH_US) if len(triggers) else LAST_US
    events = random_events(np.random.default_rng(0), 4_000, EPOCH_US + start_us, EPOCH_US + last_us)
    cuts = list(range(EPOCH_US + start_us, EPOCH_US + last_us, 7_000)) if cuts_us is None else cuts_us
    spans = [span for batch in batches(events, triggers, cuts) for span in tracker.feed(batch)] + tracker.finish()
    found = [span.sweep for span in spans if span.closed]
    return [(s.start_us - EPOCH_US, s.end_us - EPOCH_US, int(s.direction)) for s in found]


# Channels


@pytest.mark.parametrize(
    "others",
    [
        train(np.array([-40_000]), RISING, 1),  # a stray edge, first
        train(np.array([12_000, 13_000, 290_000]), RISING, 1),
        square(1000, -30_000, LAST_US, 6),  # a loopback that begins first
        square(1000, 200_000, LAST_US, 6),  # and one that begins later
        square(30, -30_000, LAST_US, 3),  # another camera's frames
        merged(square(1000, -30_000, LAST_US, 6), square(60, 0, LAST_US, 1), train(np.array([-45_000]), FALLING, 2)),
    ],
    ids=["stray first", "few strays", "loopback first", "loopback later", "frames", "all of them"],
)
@pytest.mark.parametrize("channel", [0, 4])
def test_of_several_channels_the_one_with_the_lens_rhythm_is_used_and_reported(others: np.ndarray, channel: int):
    tracker = make_tracker(lens())
    assert sweeps_of(tracker, merged(wave(channel), others), start_us=-49_000)[-10:] == SWEEPS
    (note,) = tracker.notes
    assert f"channel {channel} has the lens's rhythm of 10 Hz and is used" in note
    assert f"channel {channel} (11 edges, 20 a second)" in note
    for other in np.unique(others["channel"]):
        n = np.count_nonzero(others["channel"] == other)
        assert f"channel {other} ({n:,} edge{'s' * (n > 1)}" in note
    assert "--trigger-channel" in note


def test_the_lens_channel_is_found_after_seconds_of_a_loopback_alone():
    tracker = make_tracker(lens())
    triggers = merged(wave(0), square(1000, -3_000_000, LAST_US, 6))
    assert sweeps_of(tracker, triggers, start_us=-3_000_000)[-10:] == SWEEPS


def test_a_single_channel_is_used_silently():
    tracker = make_tracker(lens())
    assert sweeps_of(tracker, wave(5)) == SWEEPS
    assert tracker.notes == ()


def test_a_given_channel_is_used_whatever_the_others_do():
    two = merged(wave(2), wave(3, late_us=20_000))
    for channel, late_us in ((2, 0), (3, 20_000)):
        tracker = make_tracker(lens(trigger_channel=channel))
        starts = [start - late_us for start, _, _ in sweeps_of(tracker, two)]
        assert [s for s in starts if s >= 0][:9] == [start for start, _, _ in SWEEPS][:9]
        assert tracker.notes == ()
    assert sweeps_of(make_tracker(lens().with_trigger_channel(2)), two) == SWEEPS


def test_two_channels_with_the_rhythm_are_an_error_with_counts_rates_and_the_way_out():
    tracker = make_tracker(lens())
    with pytest.raises(SyncError) as caught:
        sweeps_of(tracker, merged(wave(2), wave(3, late_us=20_000), train(np.array([5_000]), RISING, 7)))
    text = str(caught.value)
    assert "trigger channels 2 and 3 all have the lens's rhythm of 10 Hz" in text
    assert "channel 2 (11 edges, 20 a second), channel 3 (11 edges, 20 a second) and channel 7 (1 edge)" in text
    assert "sweep.trigger_channel" in text
    assert "--trigger-channel" in text
    assert tracker.why_not() == text


def test_no_channel_with_the_rhythm_is_an_error_with_counts_rates_and_the_way_out():
    triggers = merged(square(1000, 0, LAST_US, 6), square(47, 0, LAST_US, 1))
    with pytest.raises(SyncError) as caught:
        sweeps_of(make_tracker(lens()), triggers)
    text = str(caught.value)
    assert r"no trigger channel has the lens's rhythm of 10 Hz" in text
    assert "channel 1 (47 edges, 94 a second) and channel 6 (1,000 edges, 2000 a second)" in text
    assert "--trigger-channel" in text


def test_a_single_channel_that_is_too_fast_is_named_with_its_rate():
    with pytest.raises(SyncError, match=r"have no rhythm of .* channel 6 \(1,000 edges, 2000 a second\)"):
        sweeps_of(make_tracker(lens()), square(1000, 0, LAST_US, 6))
    with pytest.raises(SyncError, match=r"have no rhythm of .* channel 1 \(200 edges, "):
        sweeps_of(make_tracker(lens()), pulses(5_000 * np.arange(100), 300, 1))


def test_a_channel_without_triggers_is_an_error_that_names_those_with_some():
    with pytest.raises(SyncError, match=r"on the chosen channel 3, only on channel 0 \(11 edges, 20 a second\)"):
        sweeps_of(make_tracker(lens(trigger_channel=3)), wave(0))


def test_a_second_matching_channel_after_the_choice_is_reported():
    tracker = make_tracker(lens())
    assert sweeps_of(tracker, merged(wave(0), wave(1, late_us=250_000)))[:10] == SWEEPS
    assert any("trigger channel 1 has the lens's rhythm, too" in note for note in tracker.notes)


def test_a_trigger_channel_is_refused_where_no_trigger_is_used():
    with pytest.raises(CalibrationError, match=r'--trigger-channel \(1\): sweep.sync is "clock"'):
        calibration(sync="clock").with_trigger_channel(1)


# Meaning


def test_an_inverted_wave_is_read_with_trigger_inverted():
    assert sweeps_of(make_tracker(lens(trigger_inverted=True)), wave(inverted=True)) == SWEEPS
    assert [d for _, _, d in sweeps_of(make_tracker(lens()), wave(inverted=True))] == [-d for _, _, d in SWEEPS]


@pytest.mark.parametrize("kind,inverted,turns", [("rising", False, TURNS[::2]), ("falling", True, TURNS[::2])])
def test_one_kind_of_edge_is_enough(kind: str, inverted: bool, turns: np.ndarray):
    """The other kind may come at any time."""
    used, other = (RISING, FALLING) if kind == "rising" else (FALLING, RISING)
    triggers = merged(train(turns, used), train(turns + 17_000, other), train(turns + 31_000, other))
    tracker = make_tracker(lens(trigger_edges=kind, trigger_inverted=inverted))
    assert sweeps_of(tracker, triggers) == SWEEPS
    assert tracker.notes == ()
    assert tracker.counts.missed_edges == tracker.counts.stray_edges == tracker.counts.doubled_edges == 0


def test_falling_edges_alone_mark_the_near_end():
    tracker = make_tracker(lens(trigger_edges="falling"))
    assert sweeps_of(tracker, wave())[-9:] == SWEEPS[1:]


@pytest.mark.parametrize("width_us", [50, 1_000, 4_000, 7_000, 14_000])
@pytest.mark.parametrize("channel", [0, 1])
def test_pulses_once_a_period_are_recognised_and_taken_for_the_far_end(width_us: int, channel: int):
    tracker = make_tracker(lens())
    triggers = merged(pulses(TURNS[::2], width_us, channel), square(1000, -20_000, LAST_US, 6)[: 500 * channel])
    assert sweeps_of(tracker, triggers) == SWEEPS
    assert tracker.notes[-1].startswith("only rising edges mark turning points, one per period")
    assert 'sweep.trigger_pulses = "near"' in tracker.notes[-1]
    assert tracker.counts.missed_edges == tracker.counts.stray_edges == 0
    assert tracker.quality == 1


@pytest.mark.parametrize("low", [False, True])
@pytest.mark.parametrize("end", ["far", "near"])
@pytest.mark.parametrize("width_us", [200, 9_000, 25_000])
def test_pulses_mark_the_end_given_in_the_calibration(end: str, low: bool, width_us: int):
    tracker = make_tracker(lens(trigger_pulses=end))
    turns = TURNS[0 if end == "far" else 1 :: 2]
    assert sweeps_of(tracker, pulses(turns, width_us, low=low))[-9:] == SWEEPS[1:]
    assert tracker.notes == ()


def test_low_pulses_once_a_period_are_ambiguous():
    with pytest.raises(SyncError, match=r'goes low for a moment once a period \(2 ms\).*trigger_pulses = "far" or "n'):
        sweeps_of(make_tracker(lens()), pulses(TURNS[::2], 2_000, low=True))


@pytest.mark.parametrize("width_us", [0, 100, 3_000, 12_000])
@pytest.mark.parametrize("first", list(Direction))
def test_pulses_at_each_turning_point_take_the_direction_that_is_given(width_us: int, first: Direction):
    triggers = pulses(TURNS, width_us) if width_us else train(TURNS, RISING)
    tracker = make_tracker(lens(trigger_pulses="both"), first)
    assert sweeps_of(tracker, triggers) == [(start, end, int(first) * d) for start, end, d in SWEEPS]
    assert tracker.counts.missed_edges == tracker.counts.stray_edges == 0
    assert tracker.quality == 1


def test_a_wave_whose_rising_edges_come_at_each_turning_point():
    both = pulses(TURNS, SWEEP_US // 2)
    assert sweeps_of(make_tracker(lens(trigger_pulses="both"), Direction.FAR_TO_NEAR), both) == SWEEPS
    lagging = make_tracker(lens(trigger_pulses="both", trigger_edges="falling"), Direction.FAR_TO_NEAR)
    assert {start % SWEEP_US for start, _, _ in sweeps_of(lagging, both)} == {SWEEP_US // 2}


@pytest.mark.parametrize("far_us", [-PERIOD_US, 20_000, 6 * PERIOD_US - 20_000])
def test_pulses_at_each_turning_point_take_the_far_end_from_the_lens_driver(far_us: int):
    tracker = make_tracker(lens(trigger_pulses="both"), None, EPOCH_US + far_us)
    assert sweeps_of(tracker, pulses(TURNS, 500)) == SWEEPS


def test_pulses_at_each_turning_point_keep_their_direction_when_some_are_missed_or_all_pause():
    lost = np.delete(TURNS, [4, 5])
    tracker = make_tracker(lens(trigger_pulses="both"), Direction.FAR_TO_NEAR)
    assert sweeps_of(tracker, pulses(lost, 500)) == SWEEPS
    assert tracker.counts.missed_edges == 2
    for pause in (20, 21):
        tracker = make_tracker(lens(trigger_pulses="both"), Direction.FAR_TO_NEAR)
        after = SWEEP_US * (pause + np.arange(11))
        late = [s for s in sweeps_of(tracker, pulses(np.append(TURNS, after), 500)) if s[0] >= pause * SWEEP_US]
        assert late == [(start, start + SWEEP_US, 1 if start // SWEEP_US % 2 == 0 else -1) for start in after[:-1]]
        assert tracker.counts.lost == 1


def test_no_sweeps_after_a_pause_too_long_to_bridge():
    tracker = make_tracker(lens(trigger_pulses="both"), Direction.FAR_TO_NEAR)
    after = SWEEP_US * (150 + np.arange(11))
    assert max(start for start, _, _ in sweeps_of(tracker, pulses(np.append(TURNS, after), 500))) < 20 * SWEEP_US
    assert any("the far and the near end cannot be distinguished any more" in note for note in tracker.notes)


def test_pulses_at_each_turning_point_without_a_direction_are_refused():
    for width_us in (200, 3_000, 14_000):
        with pytest.raises(SyncError, match=r'20 times a second for a lens of 10 Hz.*trigger_pulses = "both".*--first'):
            sweeps_of(make_tracker(lens()), pulses(TURNS, width_us))
    with pytest.raises(SyncError, match=r'trigger_pulses is "both".*--first-direction'):
        make_tracker(lens(trigger_pulses="both"))


@pytest.mark.parametrize("pulse", [None, "far", "both"])
@pytest.mark.parametrize("factor", [0.3, 0.7, 2.5])
def test_a_pulse_train_that_contradicts_the_frequency_is_an_error(pulse: str | None, factor: float):
    times = factor * PERIOD_US * np.arange(12)
    first = Direction.FAR_TO_NEAR if pulse == "both" else None
    keys: dict[str, Any] = {} if pulse is None else {"trigger_pulses": pulse}
    with pytest.raises(SyncError, match=rf"pulses {10 / factor:.4g} times a second, but sweep.frequency_hz \(10\) exp"):
        sweeps_of(make_tracker(lens(**keys), first), pulses(times, 500))


@pytest.mark.parametrize("pulse,times", [("far", TURNS), ("both", TURNS[::2])])
def test_pulses_at_other_turning_points_than_configured_are_an_error(pulse: str, times: np.ndarray):
    first = Direction.FAR_TO_NEAR if pulse == "both" else None
    with pytest.raises(SyncError, match=r"expects (10, as trigger_pulses = \"far\"|20, a pulse at each)"):
        sweeps_of(make_tracker(lens(trigger_pulses=pulse), first), pulses(times, 500))


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.5, 2.0])
def test_a_wave_at_another_frequency_is_followed_and_reported(factor: float):
    tracker = make_tracker(lens())
    times = factor * TURNS
    sweeps = sweeps_of(tracker, train(times, np.where(np.arange(11) % 2 == 0, RISING, FALLING)))
    assert [start for start, _, _ in sweeps][:10] == list(np.rint(times[:10]))
    assert f"rhythm of {10 / factor:.4g} Hz, but sweep.frequency_hz is 10" in tracker.notes[0]


def test_a_pulse_train_slightly_off_the_frequency_is_followed_and_reported():
    tracker = make_tracker(lens())
    times = 1.25 * TURNS[::2]
    assert len(sweeps_of(tracker, pulses(times, 500))) == 10
    assert "rhythm of 8 Hz, but sweep.frequency_hz is 10" in tracker.notes[-1]


def test_very_different_halves_are_reported_and_can_be_confirmed():
    times = np.sort(np.concatenate([TURNS[::2], TURNS[:-1:2] + 0.25 * PERIOD_US]))
    triggers = train(times, np.where(np.arange(11) % 2 == 0, RISING, FALLING))
    tracker = make_tracker(lens())
    assert [start for start, _, _ in sweeps_of(tracker, triggers)] == list(times[:-1])
    assert "the near end comes 25 % of the period after the far end" in tracker.notes[0]


def test_short_halves_are_levels_with_trigger_pulses_none():
    times = np.sort(np.concatenate([TURNS[::2], TURNS[:-1:2] + 0.12 * PERIOD_US]))
    triggers = train(times, np.where(np.arange(11) % 2 == 0, RISING, FALLING))
    assert [s for s, _, _ in sweeps_of(make_tracker(lens(trigger_pulses="none")), triggers)] == list(times[:-1])
    assert [s for s, _, _ in sweeps_of(make_tracker(lens()), triggers)] == list(TURNS[:-1])


def test_few_edges_suffice_at_the_end_of_a_short_recording():
    assert sweeps_of(make_tracker(lens()), pulses(TURNS[:4:2], 500))[:4] == SWEEPS[:4]
    assert sweeps_of(make_tracker(lens()), merged(wave(1)[:2], train(np.array([30_000]), RISING, 0)))[:2] == SWEEPS[:2]


@pytest.mark.parametrize(
    "keys,expected",
    [
        ({"waveform": "sawtooth", "trigger_pulses": "near"}, r'must be "far" with a sawtooth'),
        ({"trigger_pulses": "none", "trigger_edges": "rising"}, r'trigger_pulses = "none" takes both kinds'),
        ({"trigger_channel": 256}, r"trigger_channel"),
    ],
)
def test_keys_that_contradict_each_other_are_refused(keys: dict[str, Any], expected: str):
    with pytest.raises(ValueError, match=expected):
        calibration(sync="trigger", **keys)


def test_a_sawtooth_uses_the_edges_given_in_the_calibration():
    period = PERIOD_US * np.arange(6)
    expected = [(i * PERIOD_US, (i + 1) * PERIOD_US, 1) for i in range(5)]
    cases: tuple[tuple[dict[str, Any], np.ndarray], ...] = (
        ({}, pulses(period, 13_000)),
        ({"trigger_inverted": True}, pulses(period, 13_000, low=True)),
        ({"trigger_edges": "falling"}, pulses(period, 13_000, low=True)),
        ({}, merged(pulses(period, 80_000, 1), square(1000, -20_000, LAST_US, 6))),
    )
    for keys, triggers in cases:
        assert sweeps_of(make_tracker(calibration(sync="trigger", waveform="sawtooth", **keys)), triggers) == expected


@settings(deadline=None, max_examples=60)
@given(
    cuts_us=st.lists(st.integers(-100_000, LAST_US + 1_000), max_size=30).map(sorted),
    kind=st.sampled_from(["wave", "far", "both", "strays"]),
    channel=st.sampled_from([0, 7]),
    offset_us=st.integers(0, 60_000),
    loopback_us=st.sampled_from([-90_000, 90_000]),
)
def test_however_the_stream_is_cut_the_choice_is_the_same(
    cuts_us: list[int], kind: str, channel: int, offset_us: int, loopback_us: int
):
    turns = TURNS[:-2] + offset_us
    mine = {
        "wave": train(turns, np.where(np.arange(len(turns)) % 2 == 0, RISING, FALLING), channel),
        "far": pulses(turns[::2], 5_000, channel),
        "both": pulses(turns, 5_000, channel),
        "strays": merged(train(turns, RISING, channel)[::2], train(turns[1:3] + 7_000, FALLING, channel)),
    }[kind]
    strays = train(np.array([-95_000, 33_000, 210_000]), RISING, 2)
    triggers = merged(mine, square(400, loopback_us, LAST_US, 6), strays)
    keys: dict[str, Any] = {"trigger_pulses": "both"} if kind == "both" else {}
    first = Direction.FAR_TO_NEAR if kind == "both" else None
    found = []
    for cuts in ([], [EPOCH_US + c for c in cuts_us]):
        tracker = make_tracker(lens(**keys), first)
        found.append((sweeps_of(tracker, triggers, cuts, -99_000), tracker.counts, tracker.notes))
    assert found[0] == found[1]
    assert len(found[0][0]) >= 7
