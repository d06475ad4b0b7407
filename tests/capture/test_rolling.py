"""The rolling stack: always complete, each bin from the latest pass that finished it, exact at the end of every
sweep."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepdepth import Calibration
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.stack.rolling import RollingStack, bin_spans, count_renewed, renewal_times
from sweepdepth.capture.sweeps import Direction, Sweep

from ..conftest import random_events

START = 1_763_000_000_000_000
KINDS = ["signed", "split", "interpolated"]


def passes(calibration: Calibration, lengths: list[int], first: Direction = Direction.FAR_TO_NEAR) -> list[Sweep]:
    """Sweeps that follow each other, back and forth."""
    sweeps, start, direction = [], START, first
    for length in lengths:
        sweeps.append(Sweep(start, start + length, direction, calibration))
        start, direction = start + length, direction.reversed
    return sweeps


@given(
    lengths=st.lists(st.integers(2_000, 300_000), min_size=2, max_size=4),
    first=st.sampled_from(Direction),
    kind=st.sampled_from(KINDS),
    bins=st.integers(3, 11),
    waveform=st.sampled_from(["triangle", "sine"]),
    breathing=st.sampled_from([0.0, 0.02]),
    parts=st.integers(1, 7),
    seed=st.integers(0, 1000),
)
@settings(max_examples=40, deadline=None)
def test_at_the_end_of_a_sweep_it_equals_that_sweeps_stack_bit_by_bit(
    lens, lengths, first, kind, bins, waveform, breathing, parts, seed
):
    text = lens.replace('"triangle"', f'"{waveform}"')
    text += f"\n[breathing]\nscale_per_diopter = {breathing}\ncenter = [50.0, 30.0]\n"
    rolling = RollingStack()
    for i, sweep in enumerate(passes(Calibration.parse(text), lengths, first)):
        events = random_events(sweep, 300, seed + i)
        growing = EventFocalStack.empty(sweep, bins, kind)
        rolling.follow(growing)
        for part in np.array_split(events, parts):
            growing.add(part)
            rolling.view(int(part["timestamp"][-1]) + 1)
        rolling.close(growing)
        view = rolling.view(sweep.end_us)
        assert view is not None
        assert view.renewed == bins
        np.testing.assert_array_equal(view.stack.data, EventFocalStack.build(events, sweep, bins, kind).data)
        np.testing.assert_array_equal(view.spans_us, bin_spans(view.stack))


@given(
    duration=st.integers(1_000, 300_000),
    direction=st.sampled_from(Direction),
    kind=st.sampled_from(["signed", "split"]),
    bins=st.integers(3, 11),
    at=st.floats(0, 1),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_a_finished_bin_never_changes(calibration, duration, direction, kind, bins, at, seed):
    sweep = Sweep(START, START + duration, direction, calibration)
    events = random_events(sweep, 400, seed)
    at_us = START + int(at * duration)
    early = EventFocalStack.build(events[events["timestamp"] < at_us], sweep, bins, kind)
    whole = EventFocalStack.build(events, sweep, bins, kind)
    n = count_renewed(early, at_us)
    settled = slice(0, n) if direction == Direction.FAR_TO_NEAR else slice(bins - n, bins)
    # A crossing in the middle of a µs may leave a bin a millionth of an event.
    np.testing.assert_allclose(early.data[..., settled, :, :], whole.data[..., settled, :, :], atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first", Direction)
def test_in_mid_sweep_each_half_is_from_the_pass_that_crossed_it_last(calibration, kind, first):
    one, two = passes(calibration, [100_000, 100_000], first)
    rolling = RollingStack()
    old = EventFocalStack.build(random_events(one, 3000, 1), one, 9, kind)
    rolling.follow(old)
    rolling.close(old)
    growing = EventFocalStack.empty(two, 9, kind)
    rolling.follow(growing)
    events = random_events(two, 3000, 2)
    middle_us = two.start_us + 50_001  # the lens has just passed bin 4
    growing.add(events[events["timestamp"] < middle_us])
    view = rolling.view(middle_us)
    assert view is not None
    assert view.renewed == (3 if kind == "interpolated" else 4)
    new = slice(0, view.renewed) if two.direction == Direction.FAR_TO_NEAR else slice(9 - view.renewed, 9)
    rest = np.setdiff1d(np.arange(9), np.arange(9)[new])
    np.testing.assert_array_equal(view.stack.data[..., new, :, :], growing.data[..., new, :, :])
    np.testing.assert_array_equal(view.stack.data[..., rest, :, :], old.data[..., rest, :, :])
    assert np.all(view.spans_us[new][:, 0] >= two.start_us)
    assert np.all(view.spans_us[rest][:, 1] <= one.end_us)
    assert view.start_us >= one.start_us
    assert view.end_us <= middle_us


def test_spans_are_the_times_when_the_lens_was_near_each_bin(calibration):
    far_to_near, near_to_far = passes(calibration, [80_000, 80_000])
    forward = bin_spans(EventFocalStack.empty(far_to_near, 5)) - START
    assert forward.tolist() == [[0, 20_000], [0, 40_000], [20_000, 60_000], [40_000, 80_000], [60_000, 80_000]]
    backward = bin_spans(EventFocalStack.empty(near_to_far, 5)) - near_to_far.start_us
    assert backward.tolist() == forward[::-1].tolist()
    assert (renewal_times(EventFocalStack.empty(near_to_far, 5)) - near_to_far.start_us).tolist() == [
        20_000,
        40_000,
        60_000,
    ]


def test_there_is_no_stack_before_the_first_whole_sweep(calibration):
    (sweep,) = passes(calibration, [100_000])
    rolling = RollingStack()
    assert rolling.view(START) is None
    growing = EventFocalStack.empty(sweep, 5)
    rolling.follow(growing)
    assert rolling.view(sweep.end_us - 1) is None


def test_an_aborted_pass_keeps_the_previous_stack(calibration):
    one, lost, three = passes(calibration, [100_000, 100_000, 100_000])
    rolling = RollingStack()
    whole = EventFocalStack.build(random_events(one, 500, 1), one, 5)
    rolling.follow(whole)
    rolling.close(whole)
    rolling.follow(EventFocalStack.build(random_events(lost, 500, 2), lost, 5))
    growing = EventFocalStack.empty(three, 5)
    rolling.follow(growing)
    view = rolling.view(three.start_us)
    assert view is not None
    np.testing.assert_array_equal(view.stack.data, whole.data)


def test_a_view_is_a_copy(calibration):
    """The publisher makes sent arrays read-only, while the stack is still being filled."""
    (sweep,) = passes(calibration, [100_000])
    rolling = RollingStack()
    growing = EventFocalStack.empty(sweep, 5)
    rolling.follow(growing)
    rolling.close(growing)
    view = rolling.view(sweep.end_us)
    assert view is not None
    view.stack.data.setflags(write=False)
    growing.add(random_events(sweep, 10, 1))
