"""From spans to stacks: each sweep gets its events and its true end."""

from dataclasses import replace

import numpy as np
import pytest

from sweepdepth.capture.events import make_events
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.capture.tracking import Span
from sweepdepth.stream.binner import Binner, RollingBinner


def some_events(calibration, start, end, seed=0):
    rng = np.random.default_rng(seed)
    camera = calibration.camera
    return make_events(
        np.sort(rng.integers(start, end, 500)),
        rng.integers(0, camera.width, 500),
        rng.integers(0, camera.height, 500),
        rng.integers(0, 2, 500),
    )


def test_spans_of_a_sweep_make_the_stack_of_its_events(calibration):
    sweep = Sweep(0, 200_000, Direction.FAR_TO_NEAR, calibration)
    events = some_events(calibration, 0, 200_000)
    binner = Binner(10, "split")
    assert binner.feed(Span(sweep, events[:200], closed=False)) is None
    stack = binner.feed(Span(sweep, events[200:], closed=True))
    assert stack is not None
    np.testing.assert_array_equal(stack.data, EventFocalStack.build(events, sweep, 10, "split").data)
    assert binner.rebinned == 0


def test_a_wrong_prediction_is_corrected_when_the_sweep_closes(calibration):
    predicted = Sweep(0, 190_000, Direction.FAR_TO_NEAR, calibration)
    actual = replace(predicted, end_us=200_000)
    events = some_events(calibration, 0, 200_000)
    binner = Binner(10, "signed")
    binner.feed(Span(predicted, events[:300], closed=False))
    stack = binner.feed(Span(actual, events[300:], closed=True))
    assert stack is not None
    np.testing.assert_array_equal(stack.data, EventFocalStack.build(events, actual, 10).data)
    assert stack.sweep == actual
    assert binner.rebinned == 1


def test_a_discarded_sweep_leaves_nothing_in_the_next(calibration):
    first = Sweep(0, 200_000, Direction.FAR_TO_NEAR, calibration)
    second = Sweep(500_000, 700_000, Direction.NEAR_TO_FAR, calibration)
    binner = Binner(10, "signed")
    binner.feed(Span(first, some_events(calibration, 0, 200_000), closed=False))
    events = some_events(calibration, 500_000, 700_000, seed=1)
    stack = binner.feed(Span(second, events, closed=True))
    assert stack is not None
    np.testing.assert_array_equal(stack.data, EventFocalStack.build(events, second, 10).data)
    assert stack.n_events == 500


def rolled(calibration, kind, cut):
    """The stacks of a rolling binner over three sweeps in batches of `cut` events, and the events."""
    sweeps = [
        Sweep(
            200_000 * k, 200_000 * (k + 1), Direction.FAR_TO_NEAR if k % 2 == 0 else Direction.NEAR_TO_FAR, calibration
        )
        for k in range(3)
    ]
    events = [some_events(calibration, s.start_us, s.end_us, seed=k) for k, s in enumerate(sweeps)]
    binner, views = RollingBinner(9, kind), []
    for sweep, part in zip(sweeps, events, strict=True):
        for start in range(0, 500, cut):
            span = Span(sweep, part[start : start + cut], closed=start + cut >= 500)
            views += [binner.view() for _ in binner.feed(span)]
    return sweeps, events, views


@pytest.mark.parametrize("kind", ["signed", "split", "interpolated"])
def test_a_rolling_binner_shows_a_whole_stack_at_each_bin_however_events_are_cut(calibration, kind):
    sweeps, events, views = rolled(calibration, kind, 500)
    late = kind == "interpolated"
    assert [v.renewed for v in views if v is not None] == [9, *([*range(1, 8 - late), 9] * 2)]
    complete = [v for v in views if v is not None and v.renewed == 9]
    for sweep, part, view in zip(sweeps, events, complete, strict=True):
        np.testing.assert_array_equal(view.stack.data, EventFocalStack.build(part, sweep, 9, kind).data)
    _, _, others = rolled(calibration, kind, 37)
    for one, other in zip(views, others, strict=True):
        assert (one is None) == (other is None)
        if one is not None and other is not None:
            np.testing.assert_array_equal(one.stack.data, other.stack.data)
            np.testing.assert_array_equal(one.spans_us, other.spans_us)


def test_a_rolling_stack_is_corrected_when_its_sweep_ends_unexpectedly(calibration):
    predicted = Sweep(0, 190_000, Direction.FAR_TO_NEAR, calibration)
    actual = replace(predicted, end_us=200_000)
    events = some_events(calibration, 0, 200_000)
    binner = RollingBinner(9, "signed")
    list(binner.feed(Span(predicted, events[:300], closed=False)))
    list(binner.feed(Span(actual, events[300:], closed=True)))
    view = binner.view()
    assert view is not None
    np.testing.assert_array_equal(view.stack.data, EventFocalStack.build(events, actual, 9).data)
    assert view.end_us == 200_000
