"""The rolling stack: renewed bin by bin as the lens passes, so depth can come at the bin rate.

Bins that the lens has already passed are taken from the current pass, the others from the previous one, of either
direction: both are stored far→near, so a near→far pass renews the bins from the near end. Every event is binned once,
into the stack of its pass; only a view copies the two parts into one.

An event contributes to the two bins around its focus, so bin b is final when the lens has passed bin b + 1. An
"interpolated" event is spread over the time since the pixel's previous event; there a bin counts as final one bin
later, and later contributions appear in the next view.
"""

from dataclasses import dataclass

import numpy as np

from ..sweeps import Direction
from . import EventFocalStack


@dataclass(frozen=True, eq=False)
class RollingView:
    """A copy of the complete stack at one moment."""

    stack: EventFocalStack  # its sweep is the current pass
    spans_us: np.ndarray  # (B, 2) int64: first and last sensor time of each bin's events, far→near
    renewed: int  # bins of the current pass; B when it is complete

    @property
    def start_us(self) -> int:
        """Earliest possible time of an event in the stack."""
        return int(self.spans_us[:, 0].min())

    @property
    def end_us(self) -> int:
        """Latest possible time of an event in the stack."""
        return int(self.spans_us[:, 1].max())


class RollingStack:
    """Combines the stack of the current pass, which the caller fills, with that of the previous pass.

    Call `follow` with a new stack when a pass begins, add the pass's events to that stack in time order, and `close`
    when it is complete; in between, `view` returns all bins with the events added so far. Right after `close` the view
    equals the stack of the pass bit by bit.
    """

    def __init__(self) -> None:
        self._current: EventFocalStack | None = None  # under way, or the last one when it is closed
        self._before: EventFocalStack | None = None  # complete
        self._closed = False

    def follow(self, stack: EventFocalStack) -> None:
        """Use this pass from now on; a pass that was not closed is discarded."""
        if stack is not self._current:
            if self._closed:
                self._before = self._current
            self._current, self._closed = stack, False

    def close(self, stack: EventFocalStack) -> None:
        """Complete the pass with its stack, which is another one if the pass ended unexpectedly."""
        self._current, self._closed = stack, True

    def view(self, at_us: int) -> RollingView | None:
        """All bins at a sensor time up to which all events were added; None until there is a complete stack."""
        if self._current is None:
            return None
        current, before = self._current, self._before
        bins = current.bins
        renewed = bins if self._closed else count_renewed(current, at_us)
        if before is None and renewed < bins:
            return None
        data, spans, events = current.data.copy(), bin_spans(current), current.n_events
        if before is not None and renewed < bins:
            forward = current.sweep.direction == Direction.FAR_TO_NEAR
            old = slice(renewed, None) if forward else slice(0, bins - renewed)
            data[..., old, :, :] = before.data[..., old, :, :]
            spans[old] = bin_spans(before)[old]
            events += before.n_events * (bins - renewed) // bins
        return RollingView(EventFocalStack(current.sweep, current.polarity, data, events), spans, renewed)


def renewal_times(stack: EventFocalStack) -> np.ndarray:
    """(R,) int64 µs, rising: times at which another bin of a pass is final, before the end, at which all are.

    Events before such a time do not contribute to later bins, and events from then on do not contribute to earlier
    ones.
    """
    late = _settles_late(stack)
    passed = np.arange(1 + late, stack.bins - 1)
    position = passed if stack.sweep.direction == Direction.FAR_TO_NEAR else stack.bins - 1 - passed
    return np.ceil(stack.time_at(position)).astype(np.int64)


def count_renewed(stack: EventFocalStack, at_us: int) -> int:
    """Number of bins of a pass that are final at a time; all of them at its end."""
    if at_us >= stack.sweep.end_us:
        return stack.bins
    return int(np.searchsorted(renewal_times(stack), at_us, side="right"))


def bin_spans(stack: EventFocalStack) -> np.ndarray:
    """(B, 2) int64 µs: first and last time of the events in each bin of a pass, including its neighbours' halves."""
    bins = np.arange(stack.bins)
    borders = np.stack([np.maximum(bins - 1, 0), np.minimum(bins + 1, stack.bins - 1)], axis=1)
    return np.sort(np.rint(stack.time_at(borders)).astype(np.int64), axis=1)


def _settles_late(stack: EventFocalStack) -> int:
    return 1 if stack.polarity == "interpolated" else 0
