"""The sanitizer: what it drops, what it lets pass, and when it gives up."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepdepth import RecordingError
from sweepdepth.capture.events import EVENT_DTYPE, FALLING, RISING, make_events, make_triggers
from sweepdepth.capture.sources.chunks import NO_EVENTS, NO_TRIGGERS, Chunk
from sweepdepth.capture.sources.sanitizer import (
    CLOCK_DTYPE,
    JUMP_US,
    WINDOW_US,
    Repairs,
    Sanitizer,
    admit_events,
    admit_events_plainly,
)

WIDTH, HEIGHT = 20, 10
START_US = 1_763_000_511_821_624
DAY_US = 86_400_000_000


def events_at(times, x=3, y=4) -> np.ndarray:
    times = np.asarray(times, np.int64)
    return make_events(times, np.full(len(times), x), np.full(len(times), y), np.arange(len(times)) % 2)


def steady(n: int, start_us: int = START_US, step_us: int = 100) -> np.ndarray:
    return events_at(start_us + np.arange(n) * step_us)


def pass_through(*chunks: Chunk, earliest_us: int = 0) -> tuple[list[int], list[int], Repairs]:
    """Times of the events and triggers that come out, and what was repaired."""
    sanitizer = Sanitizer("a.raw", WIDTH, HEIGHT, earliest_us=earliest_us)
    batches = [batch for chunk in chunks for batch in sanitizer.admit(chunk)] + sanitizer.finish()
    end_us = earliest_us
    for batch in batches:
        for array in (batch.events, batch.triggers):
            assert np.all(np.diff(array["timestamp"]) >= 0)
            assert np.all((array["timestamp"] >= end_us) & (array["timestamp"] < batch.end_us))
        end_us = batch.end_us
    times = [[t for b in batches for t in getattr(b, name)["timestamp"].tolist()] for name in ("events", "triggers")]
    return times[0], times[1], sanitizer.repairs


def passed(events: np.ndarray) -> tuple[list[int], Repairs]:
    times, _, repairs = pass_through(Chunk(events, NO_TRIGGERS))
    return times, repairs


def test_a_sound_recording_passes_untouched():
    times, repairs = passed(steady(1000))
    assert times == steady(1000)["timestamp"].tolist()
    assert not repairs
    assert str(repairs) == "nothing repaired"


@pytest.mark.parametrize("x, y", [(-1, 4), (WIDTH, 4), (3, -1), (3, HEIGHT), (-32768, 32767)])
def test_events_off_the_sensor_are_dropped_and_counted(x, y):
    events = steady(100)
    events["x"][40], events["y"][40] = x, y
    times, repairs = passed(events)
    assert len(times) == 99
    assert repairs == Repairs(off_sensor=1)
    assert str(repairs) == "dropped 1 event off the sensor"


def test_any_positive_polarity_means_on():
    events = steady(4)
    events["polarity"] = [0, 1, -1, 7]
    sanitizer = Sanitizer("a.raw", WIDTH, HEIGHT)
    sanitizer.admit(Chunk(events, NO_TRIGGERS))
    (batch,) = sanitizer.finish()
    assert batch.events["polarity"].tolist() == [0, 1, 0, 1]


def test_events_that_come_a_little_late_are_put_in_order_and_counted():
    """As in the packets of many drivers: 300 of 3000 events are up to 20 ms late."""
    rng = np.random.default_rng(1)
    events = steady(3000)
    late = np.sort(rng.choice(np.arange(500, 3000), 300, replace=False))
    events["timestamp"][late] -= rng.integers(101, WINDOW_US - 100, 300)
    sound = np.sort(events["timestamp"])
    for length in (3000, 700, 1):
        chunks = [Chunk(events[i : i + length], NO_TRIGGERS) for i in range(0, 3000, length)]
        times, _, repairs = pass_through(*chunks)
        assert times == sound.tolist()
        assert repairs == Repairs(reordered=300)
        assert 19_000 < repairs.latest_us <= WINDOW_US
    assert "put in order 300 events that were up to" in str(repairs)


def test_events_of_one_time_keep_their_order():
    events = events_at(START_US + np.repeat([0, 200, 100, 300], 5))
    events["x"] = np.arange(20)
    sanitizer = Sanitizer("a.raw", WIDTH, HEIGHT)
    (batch,) = [*sanitizer.admit(Chunk(events, NO_TRIGGERS)), *sanitizer.finish()]
    assert batch.events["x"].tolist() == [*range(5), *range(10, 15), *range(5, 10), *range(15, 20)]


def test_an_event_that_comes_later_than_the_window_is_dropped():
    events = steady(400)
    events["timestamp"][350] -= WINDOW_US + 101
    events["timestamp"][360] = np.iinfo(np.int64).min
    times, repairs = passed(events)
    assert len(times) == 398
    assert repairs == Repairs(backwards=2)
    assert str(repairs) == "dropped 2 events that came too late"


def test_more_than_one_lost_event_in_a_hundred_is_a_warning():
    events = steady(1000)
    events["timestamp"][500:511] -= 2 * WINDOW_US
    assert "warning: 1.1% of the events are lost" in str(passed(events)[1])
    events["timestamp"][500] += 2 * WINDOW_US
    events["timestamp"][501] += 2 * WINDOW_US
    assert "warning" not in str(passed(events)[1])


def test_late_events_of_a_live_source_are_not_held_back():
    sanitizer = Sanitizer("camera", WIDTH, HEIGHT, live=True)
    (batch,) = sanitizer.admit(Chunk(events_at(START_US + np.array([*range(100), 50, 200])), NO_TRIGGERS))
    assert batch.events["timestamp"].tolist() == [START_US + t for t in (*range(50), 50, 50, *range(51, 100))]
    assert batch.end_us == START_US + 200


def test_negative_times_pass_if_the_source_allows_them():
    events = steady(1000, start_us=-50_000)
    times, repairs = passed(events)
    assert len(times) == 500
    assert repairs.backwards == 500
    edges = make_triggers(np.array([-40_000, 0]), np.array([RISING, FALLING]))
    times, triggers, repairs = pass_through(Chunk(events, edges), earliest_us=-1_050_000)
    assert times == events["timestamp"].tolist()
    assert triggers == [-40_000, 0]
    assert not repairs


@pytest.mark.parametrize("step_us", [1000, 10_000, 33_333])
def test_coarse_timestamps_are_reported(step_us):
    events = events_at(START_US + np.arange(3000) // 30 * step_us)
    times, repairs = passed(events)
    assert len(times) == 3000
    assert repairs == Repairs(coarse_us=step_us)
    assert f"advance in steps of {step_us / 1000:.3g} ms" in str(repairs)


@pytest.mark.parametrize("rate_hz", [10, 1000, 100_000])
def test_few_events_are_not_taken_for_a_coarse_clock(rate_hz):
    gaps = np.random.default_rng(0).exponential(1e6 / rate_hz, 2000)
    assert not passed(events_at(START_US + np.cumsum(gaps).astype(int)))[1]


@pytest.mark.parametrize("where", [0, 1, 50, 150, 199])
@pytest.mark.parametrize("ahead_us", [JUMP_US + 1000, 10 * DAY_US, 2**62])
def test_an_isolated_wrong_timestamp_loses_only_its_event(where, ahead_us):
    events = steady(200)
    events["timestamp"][where] += ahead_us
    times, repairs = passed(events)
    if where == 199 and ahead_us < DAY_US:
        assert len(times) == 200  # nothing comes after it that could tell a pause from damage
    else:
        assert times == np.delete(steady(200)["timestamp"], where).tolist()
        assert repairs == Repairs(wild=1)


def test_a_damaged_packet_loses_few_other_events():
    """64-bit noise in ten thousand events, as a decompressor leaves it behind."""
    rng = np.random.default_rng(0)
    events = steady(60_000, step_us=1)
    sound = events["timestamp"].copy()
    events["timestamp"][20_000:30_000] = rng.integers(-(2**63), 2**63 - 1, 10_000)
    events["timestamp"][25_000:30_000] = 2**61  # copies of one wild time look like a clock that stands still
    times, _, repairs = pass_through(*(Chunk(events[i : i + 7_000], NO_TRIGGERS) for i in range(0, 60_000, 7_000)))
    assert times == np.delete(sound, np.s_[20_000:30_000]).tolist()
    assert repairs.events == 10_000


@pytest.mark.parametrize(
    "pause_us, n", [(JUMP_US + 1, 300), (10_000_000, 300), (DAY_US // 2, 300), (30 * DAY_US, 50_000)]
)
def test_a_pause_does_not_count_as_damage(pause_us, n):
    """However long, if enough events tell of it."""
    events = steady(n)
    events["timestamp"][150:] += pause_us
    times, repairs = passed(events)
    assert times == events["timestamp"].tolist()
    assert not repairs


def test_sparse_events_do_not_count_as_damage():
    times, repairs = passed(steady(500, start_us=0, step_us=3_600_000_000))
    assert len(times) == 500
    assert not repairs


@pytest.mark.parametrize("back_us", [2_000_000, 3_600_000_000, START_US])
def test_a_clock_set_back_permanently_is_an_error_with_time_and_amount(back_us):
    events = steady(300_000, step_us=1)
    events["timestamp"][150_000:] -= back_us
    last = START_US + 149_999
    with pytest.raises(
        RecordingError, match=rf"a\.raw: its clock falls back from {last} to {last + 1 - back_us} µs, by"
    ):
        passed(events)


def test_a_clock_set_back_near_the_end_is_found_too():
    events = steady(20_000)
    events["timestamp"][15_000:] -= 60_000_000
    with pytest.raises(RecordingError, match="clock falls back"):
        passed(events)


def test_a_tenth_of_the_events_off_the_sensor_means_a_wrong_size():
    events = steady(100)
    events["x"][:11] = 300
    with pytest.raises(RecordingError, match=r"11 of its 100 events lie off the sensor of 20×10 pixels; is this its"):
        passed(events)
    events["x"][0] = 3
    assert passed(events)[1] == Repairs(off_sensor=10)


def test_exchanged_coordinates_are_reported():
    rng = np.random.default_rng(0)
    events = steady(1000)
    events["x"], events["y"] = rng.integers(0, HEIGHT, 1000), rng.integers(0, WIDTH, 1000)
    with pytest.raises(RecordingError, match=r"x and y seem to be exchanged: .*--columns"):
        passed(events)


def test_a_wrong_size_is_found_long_before_the_end():
    events = steady(100_000, step_us=1)
    events["y"] = HEIGHT
    sanitizer = Sanitizer("a.raw", WIDTH, HEIGHT)
    with pytest.raises(RecordingError, match="lie off the sensor"):
        sanitizer.admit(Chunk(events, NO_TRIGGERS))


def test_more_events_at_one_instant_than_pixels_can_fire_are_an_error():
    chunk = Chunk(events_at(np.full(1 << 20, START_US)), NO_TRIGGERS)
    with pytest.raises(RecordingError, match="can fire at one instant"):
        pass_through(*[chunk] * 6)


def test_triggers_may_come_in_any_order_ahead_of_their_events():
    edges = make_triggers(START_US + np.array([70_000, 10_000, 40_000]), np.array([RISING, RISING, FALLING]))
    _, times, repairs = pass_through(Chunk(NO_EVENTS, edges), Chunk(steady(1000), NO_TRIGGERS))
    assert times == (START_US + np.array([10_000, 40_000, 70_000])).tolist()
    assert not repairs


def test_triggers_that_come_too_late_or_make_no_sense_are_dropped():
    late = make_triggers(np.array([START_US + 1000]), np.array([RISING]))
    unknown = make_triggers(np.array([START_US + 90_000]), np.array([7]))
    wild = make_triggers(np.array([5, START_US + 2**60]), np.array([RISING, RISING]))
    _, times, repairs = pass_through(
        Chunk(steady(500), wild), Chunk(steady(500, START_US + 50_000), late), Chunk(NO_EVENTS, unknown)
    )
    assert times == []
    assert repairs == Repairs(triggers=4)
    assert "4 triggers out of time" in str(repairs)


def test_triggers_pass_without_any_events():
    edges = make_triggers(START_US + np.arange(5) * 200_000, np.array([1, 2, 1, 2, 1]))
    events, times, repairs = pass_through(Chunk(NO_EVENTS, edges))
    assert events == []
    assert times == edges["timestamp"].tolist()
    assert not repairs


def test_a_live_source_can_declare_a_time_complete():
    sanitizer = Sanitizer("camera", WIDTH, HEIGHT)
    sanitizer.admit(Chunk(steady(100), NO_TRIGGERS))
    edge = make_triggers(np.array([START_US + 30_000]), np.array([RISING]))
    *_, batch = sanitizer.admit(Chunk(NO_EVENTS, edge, complete_us=START_US + 40_000))
    assert batch.triggers.tolist() == edge.tolist()
    assert batch.end_us == START_US + 40_000
    (empty,) = sanitizer.admit(Chunk(NO_EVENTS, NO_TRIGGERS, complete_us=START_US + 50_000))
    assert (len(empty.events), len(empty.triggers), empty.end_us) == (0, 0, START_US + 50_000)


def test_sparse_events_after_a_pause_pass_if_the_live_source_confirms_the_time():
    """In the dark a camera sends an event now and then; they must not wait for more to confirm them."""
    sanitizer = Sanitizer("camera", WIDTH, HEIGHT)
    sanitizer.admit(Chunk(steady(100), NO_TRIGGERS))
    late = events_at([START_US + 5_000_000, START_US + 6_000_000])
    assert sum(len(batch.events) for batch in sanitizer.admit(Chunk(late, NO_TRIGGERS))) == 0
    batches = sanitizer.admit(Chunk(NO_EVENTS, NO_TRIGGERS, complete_us=START_US + 7_000_000))
    assert [t for batch in batches for t in batch.events["timestamp"]][-2:] == late["timestamp"].tolist()
    assert batches[-1].end_us == START_US + 7_000_000
    assert not sanitizer.repairs


# Times cluster around a few places far apart, so that jumps, falls, pauses and ties all happen.
raw_times = st.builds(
    lambda place, offset: place + offset,
    st.sampled_from(
        [0, 0, 0, START_US, START_US + JUMP_US, START_US + 10 * DAY_US, 2**62, -(2**63) + 10, 2**63 - 2_000_000]
    ),
    st.integers(0, 3) | st.integers(0, 2 * WINDOW_US) | st.integers(0, 1_100_000),
)
raw_events = st.lists(
    st.tuples(raw_times, st.integers(-1, WIDTH), st.integers(-1, HEIGHT), st.integers(-1, 2)), min_size=10, max_size=60
)
runs = st.lists(
    st.tuples(raw_times, st.integers(1, 80), st.sampled_from([0, 1, 1000, JUMP_US, JUMP_US + 1])), max_size=8
)


@given(
    runs.map(lambda r: [(t + i * step, 1, 1, 1) for t, n, step in r for i in range(n) if t + i * step < 2**63])
    | raw_events,
    st.integers(1, 50),
)
@settings(deadline=None, max_examples=300)
def test_the_kernel_and_its_readable_reference_agree(rows, chunk_length):
    events = np.array(rows, EVENT_DTYPE)
    fast, plain = np.zeros(1, CLOCK_DTYPE), np.zeros(1, CLOCK_DTYPE)
    out = np.empty(len(events), EVENT_DTYPE)
    n = held = 0
    admitted: list[np.void] = []
    waiting: list[np.void] = []
    for at in range(0, len(events), chunk_length):
        chunk = events[at : at + chunk_length]
        n, held = admit_events(chunk, out[: n + held + len(chunk)], n, held, fast, WIDTH, HEIGHT, WINDOW_US)
        admit_events_plainly(chunk.copy(), admitted, waiting, plain, WIDTH, HEIGHT, WINDOW_US)
    assert out[:n].tolist() == [event.item() for event in admitted]
    assert out[n : n + held].tolist() == [event.item() for event in waiting]
    np.testing.assert_array_equal(fast, plain)


@given(raw_events, st.lists(st.tuples(raw_times, st.integers(0, 3)), max_size=10), st.integers(1, 30))
@settings(deadline=None)
def test_output_keeps_its_guarantees_for_any_input(rows, edges, chunk_length):
    """`pass_through` checks the promise; what did not come out was counted."""
    events = np.array(rows, EVENT_DTYPE)
    triggers = make_triggers(np.array([t for t, _ in edges], np.int64), np.array([e for _, e in edges], np.uint8))
    chunks = [Chunk(events[at : at + chunk_length], NO_TRIGGERS) for at in range(0, len(events), chunk_length)]
    try:
        event_times, trigger_times, repairs = pass_through(Chunk(NO_EVENTS, triggers), *chunks)
    except RecordingError:  # most of them made no sense
        return
    assert len(event_times) + repairs.events == len(events)
    assert len(trigger_times) + repairs.triggers == len(triggers)
