"""Spans: the runs of events between the turning points of the focus, and the cutter that makes them."""

from collections import Counter, deque
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from ..calibration import Calibration
from ..events import EVENT_DTYPE, Batch
from ..sweeps import Direction, Sweep

WHOLE_SHARE = 0.9
"""A sweep at either end of a recording counts when this share of it lies between the first and the last event or
trigger."""


@dataclass(frozen=True)
class Span:
    """A run of events inside one sweep, in time order.

    The spans of a sweep follow each other, the last one has `closed` set. A sweep whose spans end without a closed one
    (the next span has another sweep, or the stream ends) was cut short, and what was made of it is to be dropped.
    """

    sweep: Sweep  # as known now: its end is a prediction until closed
    events: np.ndarray  # (N,) EVENT_DTYPE, a view of the batch fed, or of the tracker's copy of what it held back
    closed: bool  # True on a sweep's last span, whose events may be none: `sweep` is then exact


@dataclass(frozen=True)
class Counts:
    """What a tracker has met so far."""

    sweeps: int = 0  # closed
    partial_sweeps: int = 0  # at either end of the recording, which cuts them short
    broken_sweeps: int = 0  # given up because the timing was lost in them
    silent_sweeps: int = 0  # skipped, since nothing had moved for many sweeps
    events_outside: int = 0  # in no span
    missed_edges: int = 0  # expected, did not come, bridged by the prediction
    doubled_edges: int = 0  # followed an edge at once: contact bounce
    late_edges: int = 0  # used, but later than predicted by a twentieth of a sweep or more
    early_edges: int = 0  # the same, earlier
    stray_edges: int = 0  # of the wrong kind or at a time when none could come; not used
    lost: int = 0  # times the timing was lost and had to be found again


def is_whole(start_us: float, end_us: float, first_us: float, last_us: float) -> bool:
    """Whether enough of a sweep lies between the first and the last that was heard of."""
    return min(end_us, last_us) - max(start_us, first_us) >= WHOLE_SHARE * (end_us - start_us)


class Tracker(Protocol):
    """Finds the sweeps in a stream of batches that follow each other without a gap.

    Every event fed lands in exactly one span or is counted in `counts.events_outside`; spans are in time order; how
    the stream is cut into batches changes neither the closed sweeps nor the events in them.
    """

    @property
    def counts(self) -> Counts: ...

    @property
    def quality(self) -> float:
        """How sure the timing is now, from 0 (not at all) to 1."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What was decided for the user, or contradicts the calibration, a sentence each."""
        ...

    def feed(self, batch: Batch) -> list[Span]:
        """The spans that this batch settles. Events not settled yet are copied, so the batch's memory may be reused
        once its spans are done with."""
        ...

    def finish(self) -> list[Span]:
        """The last spans; closes the last sweep when enough of it was seen.

        Raises:
            SyncError: no sweep could be timed in the whole stream, and why.
        """
        ...

    def why_not(self) -> str:
        """Why no sweep could be timed so far, when none could."""
        ...


@dataclass(frozen=True)
class Mark:
    """A time at which one sweep ends and the next begins."""

    at_us: int
    direction: Direction | None  # of the sweep that begins; None: what follows is in no sweep
    closes: bool = True  # False: the sweep that ends here is given up


class Cutter:
    """Holds back events and cuts them at marks.

    Marks are added in time order, never before a time up to which events were cut.
    """

    def __init__(self, calibration: Calibration) -> None:
        self.tally: Counter[str] = Counter()
        self.first_us: int | None = None  # first event or trigger
        self.last_us: int | None = None  # last event or trigger
        self._calibration = calibration
        self._held: deque[np.ndarray] = deque()
        self._fresh = False  # the last of them is a view of the batch last pushed
        self._marks: deque[Mark] = deque()
        self._start_us = 0
        self._direction: Direction | None = None

    @property
    def counts(self) -> Counts:
        return Counts(**self.tally)

    def held_between(self, start_us: int, end_us: int) -> list[np.ndarray]:
        """The events held back of a time range, in time order."""
        ranges = [(e, *np.searchsorted(e["timestamp"], [start_us, end_us])) for e in self._held]
        return [events[i:j] for events, i, j in ranges]

    def push(self, batch: Batch) -> None:
        """Take a batch's events, and note when anything was first and last heard of."""
        for times in (batch.events["timestamp"], batch.triggers["timestamp"]):
            if len(times):
                self.first_us = int(times[0]) if self.first_us is None else min(self.first_us, int(times[0]))
                self.last_us = int(times[-1]) if self.last_us is None else max(self.last_us, int(times[-1]))
        self._fresh = len(batch.events) > 0
        if self._fresh:
            self._held.append(batch.events)

    def mark(self, at_us: int, direction: Direction | None, *, closes: bool = True) -> None:
        """Let the open sweep end, and another begin, at a time."""
        self._marks.append(Mark(at_us, direction, closes))

    def next_event_us(self) -> int | None:
        """Time of the first event held back."""
        return int(self._held[0]["timestamp"][0]) if self._held else None

    def cut(self, until_us: int, predicted_end_us: int) -> list[Span]:
        """The spans of all events before `until_us`, for which no mark may be missing; those outside are counted.

        `predicted_end_us` is the end of the sweep that stays open when no mark ends it yet.
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
        """Copy what is held back of the batch last pushed, so that its memory may be reused."""
        if self._fresh and self._held:
            self._held[-1] = self._held[-1].copy()
        self._fresh = False

    def finish(self) -> list[Span]:
        """The last spans. Marks after the last event close their sweep when enough of it was seen."""
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
        """Whether the stream lasted long enough for a sweep that ends then."""
        assert self.last_us is not None
        if self._direction is None:
            return end_us <= self.last_us
        return is_whole(self._start_us, end_us, self._start_us, self.last_us)

    def _settle(self, until_us: int, end_us: int, *, closed: bool) -> list[Span]:
        """Spans of the held events before `until_us`, in the sweep that is open."""
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
        """Remove and return the held events before a time."""
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
