"""The rolling stack: renewed bin by bin as the lens passes, so depth can come at the bin rate.

The bins that the lens has passed in this pass come from it, the others from the pass before, whichever way that went:
both are kept in canonical far→near order, so a near→far pass renews the bins from the near end. Every event is binned
once, into the stack of its own pass; only a view, when somebody wants one, copies the two parts into one.

An event adds to the two bins around its focus, so bin b is settled when the lens has passed bin b + 1. An
"interpolated" event is spread back over the time since the same pixel's event before it; there a bin counts as settled
one bin later still, and what comes even later is in the next view.
"""

from dataclasses import dataclass

import numpy as np

from ..sweeps import Direction
from . import EventFocalStack


@dataclass(frozen=True, eq=False)
class RollingView:
    """A whole stack at one moment, with data of its own."""

    stack: EventFocalStack  # its sweep is the pass under way, as far as known
    spans_us: np.ndarray  # (B, 2) int64: sensor time from which and up to which each bin has events, far→near
    renewed: int  # bins of the pass under way; B when it is complete

    @property
    def start_us(self) -> int:
        """When the oldest event may be from."""
        return int(self.spans_us[:, 0].min())

    @property
    def end_us(self) -> int:
        """When the newest event may be from."""
        return int(self.spans_us[:, 1].max())


class RollingStack:
    """The stack of the pass under way, which somebody fills, over the whole stack of the pass before it.

    `follow` a new stack when a pass begins, add the pass's events to that stack in time order, and `close` when it is
    complete; in between, `view` shows all bins as of the events added. Right after `close` that is the stack of the
    pass itself, to the bit.
    """

    def __init__(self) -> None:
        self._current: EventFocalStack | None = None  # under way, or the last one when it is closed
        self._before: EventFocalStack | None = None  # complete
        self._closed = False

    def follow(self, stack: EventFocalStack) -> None:
        """Show this pass from now on; one that was not closed is given up."""
        if stack is not self._current:
            if self._closed:
                self._before = self._current
            self._current, self._closed = stack, False

    def close(self, stack: EventFocalStack) -> None:
        """The pass followed is complete, and this is its stack: the same, or another when it ended unexpectedly."""
        self._current, self._closed = stack, True

    def view(self, at_us: int) -> RollingView | None:
        """All bins as of a sensor time before which all events were added; None until there is a whole stack."""
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
    """(R,) int64 µs, rising: when another bin of a pass is settled, before the end, at which all are.

    Events before such a time add nothing to the bins after, and those from it on nothing to the bins before.
    """
    late = _settles_late(stack)
    passed = np.arange(1 + late, stack.bins - 1)
    position = passed if stack.sweep.direction == Direction.FAR_TO_NEAR else stack.bins - 1 - passed
    return np.ceil(stack.time_at(position)).astype(np.int64)


def count_renewed(stack: EventFocalStack, at_us: int) -> int:
    """Bins of a pass that are settled at a time; all of them at its end."""
    if at_us >= stack.sweep.end_us:
        return stack.bins
    return int(np.searchsorted(renewal_times(stack), at_us, side="right"))


def bin_spans(stack: EventFocalStack) -> np.ndarray:
    """(B, 2) int64 µs: the time that each bin of a pass has events from, those of its neighbours' halves included."""
    bins = np.arange(stack.bins)
    borders = np.stack([np.maximum(bins - 1, 0), np.minimum(bins + 1, stack.bins - 1)], axis=1)
    return np.sort(np.rint(stack.time_at(borders)).astype(np.int64), axis=1)


def _settles_late(stack: EventFocalStack) -> int:
    return 1 if stack.polarity == "interpolated" else 0
