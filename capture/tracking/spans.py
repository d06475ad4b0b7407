"""The `Tracker` protocol, and cutting of the event stream into spans at the turning points of the focus."""

from collections import Counter, deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..calibration import Calibration
from ..events import EVENT_DTYPE, Batch
from ..sweeps import Direction, Sweep

WHOLE_SHARE = 0.9
"""A sweep at either end of a recording counts as complete if this fraction of it lies between the first and the last
event or trigger."""


@dataclass(frozen=True)
class Span:
    """Consecutive events within one sweep, in time order.

    The spans of a sweep follow each other; the last one has `closed` set. A sweep whose spans end without a closed one
    (the next span has another sweep, or the stream ends) is incomplete, and results computed from it must be discarded.
    """

    sweep: Sweep  # its end is a prediction until closed
    events: np.ndarray  # (N,) EVENT_DTYPE, a view of the batch fed, or of the tracker's copy of what it held back
    closed: bool  # True for a sweep's last span, which may have no events; `sweep` is then exact


@dataclass(frozen=True)
class Counts:
    """Statistics of a tracker."""

    sweeps: int = 0  # closed
    partial_sweeps: int = 0  # at either end of the recording, which cuts them short
    broken_sweeps: int = 0  # discarded because the timing was lost in them
    silent_sweeps: int = 0  # skipped, since there had been no events for many sweeps
    events_outside: int = 0  # in no span
    missed_edges: int = 0  # expected but missing, replaced by the prediction
    doubled_edges: int = 0  # shortly after another edge: contact bounce
    late_edges: int = 0  # used, but later than predicted by 5 % of a sweep or more
    early_edges: int = 0  # used, but earlier by as much
    stray_edges: int = 0  # of the wrong kind or at an implausible time; ignored
    lost: int = 0  # number of times the timing was lost


def is_whole(start_us: float, end_us: float, first_us: float, last_us: float) -> bool:
    """Whether enough of a sweep lies between the first and the last event or trigger."""
    return min(end_us, last_us) - max(start_us, first_us) >= WHOLE_SHARE * (end_us - start_us)


class Tracker(Protocol):
    """Finds the sweeps in a gapless stream of batches.

    Every event is in exactly one span or counted in `counts.events_outside`; spans are in time order; the closed sweeps
    and their events do not depend on how the stream is cut into batches.
    """

    @property
    def counts(self) -> Counts: ...

    @property
    def quality(self) -> float:
        """Current confidence in the timing, from 0 to 1."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Automatic decisions, and contradictions to the calibration, one sentence each."""
        ...

    def feed(self, batch: Batch) -> list[Span]:
        """Add a batch; returns the spans that are now final. Pending events are copied, so the batch's memory may be
        reused once its spans have been processed."""
        ...

    def finish(self) -> list[Span]:
        """The last spans; closes the last sweep if it is complete enough.

        Raises:
            SyncError: no sweep was found in the whole stream; the message says why.
        """
        ...

    def why_not(self) -> str:
        """Why no sweep has been found so far."""
        ...


@dataclass(frozen=True)
class Mark:
    """A time at which one sweep ends and the next begins."""

    at_us: int
    direction: Direction | None  # of the sweep that begins; None: no sweep follows
    closes: bool = True  # False: the sweep that ends here is discarded


class Cutter:
    """Buffers events and cuts them into spans at marks.

    Marks are added in time order, never before the time up to which events were cut.
    """

    def __init__(self, calibration: Calibration) -> None:
        self.tally: Counter[str] = Counter()
        self.first_us: int | None = None  # first event or trigger
        self.last_us: int | None = None  # last event or trigger
        self._calibration = calibration
        self._held: deque[np.ndarray] = deque()
        self._fresh = False  # whether the last of them is a view of the latest batch
        self._marks: deque[Mark] = deque()
        self._start_us = 0
        self._direction: Direction | None = None

    @property
    def counts(self) -> Counts:
        return Counts(**self.tally)

    def held_between(self, start_us: int, end_us: int) -> list[np.ndarray]:
        """The buffered events of a time range, in time order."""
        ranges = [(e, *np.searchsorted(e["timestamp"], [start_us, end_us])) for e in self._held]
        return [events[i:j] for events, i, j in ranges]

    def push(self, batch: Batch) -> None:
        """Add a batch's events, and update the times of the first and the last event or trigger."""
        for times in (batch.events["timestamp"], batch.triggers["timestamp"]):
            if len(times):
                self.first_us = int(times[0]) if self.first_us is None else min(self.first_us, int(times[0]))
                self.last_us = int(times[-1]) if self.last_us is None else max(self.last_us, int(times[-1]))
        self._fresh = len(batch.events) > 0
        if self._fresh:
            self._held.append(batch.events)

    def mark(self, at_us: int, direction: Direction | None, *, closes: bool = True) -> None:
        """End the open sweep, and begin another, at a time."""
        self._marks.append(Mark(at_us, direction, closes))

    def next_event_us(self) -> int | None:
        """Time of the first buffered event."""
        return int(self._held[0]["timestamp"][0]) if self._held else None

    def cut(self, until_us: int, predicted_end_us: int) -> list[Span]:
        """The spans of all events before `until_us`, up to which all marks must have been added; counts events outside.

        `predicted_end_us` is the predicted end of the sweep that stays open.
        """
        spans: list[Span] = []
        while self._marks and self._marks[0].at_us <= until_us:
            mark = self._marks.popleft()
            spans += self._settle(mark.at_us, mark.at_us, closed=mark.closes)
            if self._direction is not None:
                self.tally["sweeps" if mark.closes else "broken_sweeps"] += 1
            self._start_us, self._direction = mark.at_us, mark.direction
        end_us = self._marks[0].at_us if self._marks else predicted_end_us
        return spans + self._settle(until_us, end_us, closed=False)

    def keep(self) -> None:
        """Copy the buffered events of the latest batch, so that its memory may be reused."""
        if self._fresh and self._held:
            self._held[-1] = self._held[-1].copy()
        self._fresh = False

    def finish(self) -> list[Span]:
        """The last spans. Marks after the last event close their sweep if it is complete enough."""
        spans: list[Span] = []
        if self.first_us is None or self.last_us is None:
            return spans
        while self._marks and self._seen_until(self._marks[0].at_us):
            spans += self.cut(self._marks[0].at_us, self._marks[0].at_us)
        end_us = self._marks[0].at_us if self._marks else self.last_us + 1
        self._marks.clear()
        spans += self._settle(self.last_us + 1, end_us, closed=False)
        if self._direction is not None and self._start_us < self.last_us:
            self.tally["partial_sweeps"] += 1
        return spans

    def _seen_until(self, end_us: int) -> bool:
        """Whether the stream lasted long enough for a sweep with this end to be complete."""
        assert self.last_us is not None
        if self._direction is None:
            return end_us <= self.last_us
        return is_whole(self._start_us, end_us, self._start_us, self.last_us)

    def _settle(self, until_us: int, end_us: int, *, closed: bool) -> list[Span]:
        """Spans of the buffered events before `until_us`, in the open sweep."""
        parts = self._take(until_us)
        if self._direction is None:
            self.tally["events_outside"] += sum(map(len, parts))
            return []
        if closed and not parts:
            parts = [np.empty(0, EVENT_DTYPE)]
        sweep = Sweep(self._start_us, end_us, self._direction, self._calibration)
        last = len(parts) - 1
        return [Span(sweep, events, closed and i == last) for i, events in enumerate(parts)]

    def _take(self, until_us: int) -> list[np.ndarray]:
        """Remove and return the buffered events before a time."""
        taken: list[np.ndarray] = []
        while self._held:
            events = self._held[0]
            count = int(np.searchsorted(events["timestamp"], until_us))
            if count:
                taken.append(events[:count])
            if count < len(events):
                self._held[0] = events[count:]
                break
            self._held.popleft()
        return taken
