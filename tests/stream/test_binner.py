"""From spans to stacks: each sweep's own events, and the true end of each sweep."""

from dataclasses import replace

import numpy as np

from sweepdepth.capture.events import make_events
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.capture.tracking import Span
from sweepdepth.stream.binner import Binner


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


def test_a_wrong_prediction_is_mended_when_the_sweep_closes(calibration):
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


def test_a_sweep_that_was_given_up_leaves_nothing_in_the_next(calibration):
    first = Sweep(0, 200_000, Direction.FAR_TO_NEAR, calibration)
    second = Sweep(500_000, 700_000, Direction.NEAR_TO_FAR, calibration)
    binner = Binner(10, "signed")
    binner.feed(Span(first, some_events(calibration, 0, 200_000), closed=False))
    events = some_events(calibration, 500_000, 700_000, seed=1)
    stack = binner.feed(Span(second, events, closed=True))
    assert stack is not None
    np.testing.assert_array_equal(stack.data, EventFocalStack.build(events, second, 10).data)
    assert stack.n_events == 500
