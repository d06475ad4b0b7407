"""Overload handling when events arrive faster than depth is computed: stacks wait or are replaced, and drops
counted."""

import queue
import threading
from collections import Counter, deque
from typing import Generic, TypeVar

from ..capture.sweeps import Sweep
from ..capture.tracking import Span

WAITING_STACKS = 2
"""Most finished stacks waiting for the estimator, so that it is never idle. Live, only one waits, so that the estimator
always continues with the latest."""

MOST_GIVEN_UP = 3
"""Most consecutive incomplete sweeps that are skipped; the next one is estimated from the available events."""

MOST_HOLES = 256
"""Most intervals with missing events that are stored; those of finished sweeps are discarded."""

T = TypeVar("T")


class Handover(Generic[T]):
    """The bounded queue of finished stacks between the binning thread and the estimating one.

    Args:
        waits: whether the binning thread waits for room; otherwise the latest stack replaces waiting ones.
        drops: numbers of dropped stacks by reason; written by the binning thread.
    """

    def __init__(self, waits: bool, places: int, drops: Counter[str]) -> None:
        self._waits = waits
        self._drops = drops
        self._queue: queue.Queue[T | None] = queue.Queue(places)
        self._idle = threading.Event()  # set while the estimator waits for a stack

    def put(self, finished: T) -> None:
        """Queue a stack: wait for room, or replace a waiting stack."""
        if self._waits:
            return self._queue.put(finished)
        while True:
            try:
                return self._queue.put_nowait(finished)
            except queue.Full:
                try:
                    self._queue.get_nowait()
                    self._drops["estimator_busy"] += 1
                except queue.Empty:
                    pass

    def claim(self) -> bool:
        """Whether to make a stack now: always if the binning thread waits, else if the estimator is idle."""
        if self._waits:
            return True
        if not self._idle.is_set():
            return False
        self._idle.clear()
        return True

    def unclaim(self) -> None:
        """Withdraw a claim."""
        if not self._waits:
            self._idle.set()

    def put_claimed(self, finished: T) -> None:
        """Queue a claimed stack."""
        self._queue.put(finished)

    def end(self) -> None:
        """Signal that no more stacks will follow."""
        self._queue.put(None)

    def take(self) -> T | None:
        """Wait for the next stack; None at the end."""
        if self._queue.empty():
            self._idle.set()
        return self._queue.get()

    def drain(self) -> None:
        """Keep emptying the queue, so that the binning thread can end."""
        while self._queue.get() is not None:
            pass

    @property
    def waiting(self) -> int:
        """Number of waiting stacks."""
        return self._queue.qsize()


class MissingEvents:
    """Tracks missing events, and decides which sweeps to skip; used by the binning thread only.

    Sweeps with missing events are skipped, which catches up with the source: overload costs whole sweeps, and the
        others stay complete and recent.
    """

    def __init__(self, drops: Counter[str]) -> None:
        self._drops = drops
        self._holes: deque[tuple[int, int, int]] = deque(maxlen=MOST_HOLES)
        self._given_up = 0  # consecutive skipped sweeps

    def add(self, start_us: int, end_us: int, n_events: int) -> None:
        """Record that events are missing between two sensor times."""
        self._holes.append((start_us, end_us, n_events))

    def within(self, sweep: Sweep) -> int:
        """Number of events possibly missing from a sweep so far; call with sweeps in time order."""
        if not self._holes:
            return 0
        while self._holes and self._holes[0][1] <= sweep.start_us:
            self._holes.popleft()
        return sum(n for start_us, _, n in self._holes if start_us < sweep.end_us)

    def gives_up(self, span: Span, missing: int) -> bool:
        """Whether to skip a span's sweep."""
        if missing and self._given_up < MOST_GIVEN_UP:
            if span.closed:
                self._drops["sweeps_incomplete"] += 1
                self._given_up += 1
            return True
        self._given_up = 0 if span.closed else self._given_up
        return False
