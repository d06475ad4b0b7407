"""Bins spans of a sweep into its stack while the lens still moves, or into a rolling stack."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from ..capture.events import join
from ..capture.stack import EventFocalStack, Polarity
from ..capture.stack.rolling import RollingStack, RollingView, renewal_times
from ..capture.sweeps import Sweep
from ..capture.tracking import Span

TOLERANCE = 1e-3
"""Largest error of a predicted end, as a fraction of the sweep, for which its events are not binned again."""

MAX_KEPT = 32_000_000
"""Most events of a sweep kept for binning again: 512 MiB."""


@dataclass
class Binner:
    """Builds one stack after another.

    While a sweep is running, its events are binned with its predicted end. If the prediction was off by more than
    TOLERANCE when the sweep closes, they are binned again with the true end, which takes 10 ns per event.
    """

    bins: int
    polarity: Polarity
    rebinned: int = 0  # sweeps binned again
    not_rebinned: int = 0  # sweeps that should have been binned again, but had too many events to keep
    _stack: EventFocalStack | None = None
    _kept: list[np.ndarray] = field(default_factory=list)
    _n_kept: int = 0

    def feed(self, span: Span) -> EventFocalStack | None:
        """Bin the events of one span; returns the finished stack if the span closes its sweep."""
        if self._stack is not None and span.sweep.start_us != self._stack.sweep.start_us:
            self.drop()  # the previous sweep was incomplete
        if self._stack is None:
            self._stack = EventFocalStack.empty(span.sweep, self.bins, self.polarity)
        self._stack.add(span.events)
        self._n_kept += len(span.events)
        if self._n_kept <= MAX_KEPT:
            self._kept.append(span.events)
        else:
            self._kept.clear()
        if not span.closed:
            return None

        stack = self._stack
        if _is_off(stack.sweep, span.sweep):
            if self._n_kept <= MAX_KEPT:
                stack = EventFocalStack.build(join(self._kept), span.sweep, self.bins, self.polarity)
                self.rebinned += 1
            else:
                self.not_rebinned += 1
        stack.sweep = span.sweep
        self.drop()
        return stack

    @property
    def stack(self) -> EventFocalStack | None:
        """The stack of the current sweep."""
        return self._stack

    def drop(self) -> None:
        """Discard the current sweep."""
        self._stack = None
        self._kept.clear()
        self._n_kept = 0


class RollingBinner:
    """Maintains a rolling stack: a `Binner` with views of unfinished sweeps.

    Each event is binned once. A view is a copy, made only on request.
    """

    def __init__(self, bins: int, polarity: Polarity) -> None:
        self._binner = Binner(bins, polarity)
        self._rolling = RollingStack()
        self._at_us = self._end_us = 0

    @property
    def not_rebinned(self) -> int:
        """See `Binner`."""
        return self._binner.not_rebinned

    def feed(self, span: Span) -> Iterator[None]:
        """Bin the events of one span, yielding each time another bin is renewed and available through `view`."""
        events, sweep = span.events, span.sweep
        if sweep.start_us - self._end_us > (sweep.end_us - sweep.start_us) / 2:
            self._rolling = RollingStack()  # after a gap, earlier bins are too old
        self._end_us = sweep.end_us
        self._binner.feed(replace(span, events=events[:0], closed=False))
        growing = self._binner.stack
        assert growing is not None
        self._rolling.follow(growing)
        known_us = int(events["timestamp"][-1]) if len(events) else self._at_us
        times = renewal_times(growing)
        times = times[
            (times > max(self._at_us, sweep.start_us)) & (times <= (sweep.end_us if span.closed else known_us))
        ]
        cuts = [0, *np.searchsorted(events["timestamp"], times).tolist()]
        for i, at_us in enumerate(times.tolist()):
            self._binner.feed(replace(span, events=events[cuts[i] : cuts[i + 1]], closed=False))
            self._at_us = at_us
            yield
        finished = self._binner.feed(replace(span, events=events[cuts[-1] :]))
        self._at_us = max(self._at_us, sweep.end_us if finished else known_us)
        if finished is not None:
            self._rolling.close(finished)
            yield

    def view(self) -> RollingView | None:
        """The current stack; None before the first sweep is complete."""
        return self._rolling.view(self._at_us)


def _is_off(predicted: Sweep, actual: Sweep) -> bool:
    allowed = TOLERANCE * (actual.end_us - actual.start_us)
    return (
        predicted.direction != actual.direction
        or abs(predicted.start_us - actual.start_us) > allowed
        or abs(predicted.end_us - actual.end_us) > allowed
    )
