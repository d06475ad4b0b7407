"""What happens when events come faster than depth is made: stacks wait or the latest wins, and drops are counted."""

import queue
import threading
from collections import Counter, deque
from typing import Generic, TypeVar

from ..capture.sweeps import Sweep
from ..capture.tracking import Span

WAITING_STACKS = 2
"""Finished stacks that may wait for the estimator, so that it never idles. Where events do not wait, one may: a busy
estimator then always goes on with the newest."""

MOST_GIVEN_UP = 3
"""Incomplete sweeps in a row that are given up; depth of the next is made of what there is."""

MOST_HOLES = 256
"""Places where events are missing that are remembered: from, up to, how many. Sweeps that end forget theirs."""

T = TypeVar("T")


class Handover(Generic[T]):
    """The bounded queue of finished stacks between the binning thread and the estimating one.

    Args:
        waits: the binning thread waits for room; otherwise the latest stack wins.
        drops: counts, by reason, of what was given up; written by the binning thread.
    """

    def __init__(self, waits: bool, places: int, drops: Counter[str]) -> None:
        self._waits = waits
        self._drops = drops
        self._queue: queue.Queue[T | None] = queue.Queue(places)
        self._idle = threading.Event()  # the estimator waits for a stack

    def put(self, finished: T) -> None:
        """Queue a stack: wait for room, or let it take the place of one that waits."""
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
        """Whether to make a stack now: always where the source waits, else when the estimator waits for one."""
        if self._waits:
            return True
        if not self._idle.is_set():
            return False
        self._idle.clear()
        return True

    def unclaim(self) -> None:
        """There is no stack after all."""
        if not self._waits:
            self._idle.set()

    def put_claimed(self, finished: T) -> None:
        """Queue a stack that was claimed, which there is room for, or soon will be."""
        self._queue.put(finished)

    def end(self) -> None:
        """Say that no stack will come any more."""
        self._queue.put(None)

    def take(self) -> T | None:
        """Wait for the next stack; None when there is no more."""
        if self._queue.empty():
            self._idle.set()
        return self._queue.get()

    def drain(self) -> None:
        """Keep emptying the queue, so that the binning thread can end."""
        while self._queue.get() is not None:
            pass

    @property
    def waiting(self) -> int:
        """Stacks that wait."""
        return self._queue.qsize()


class MissingEvents:
    """Where events are missing, and which sweeps are given up for it; for the binning thread alone.

    A sweep that events are missing from is passed over, which makes up for the lag that the loss came from: overload
    costs whole sweeps, and the others stay whole and fresh.
    """

    def __init__(self, drops: Counter[str]) -> None:
        self._drops = drops
        self._holes: deque[tuple[int, int, int]] = deque(maxlen=MOST_HOLES)
        self._given_up = 0  # incomplete sweeps in a row

    def add(self, start_us: int, end_us: int, n_events: int) -> None:
        """Learn that events are missing between two sensor times."""
        self._holes.append((start_us, end_us, n_events))

    def within(self, sweep: Sweep) -> int:
        """How many events may be missing from a sweep, as far as is known by now; sweeps come in time order."""
        if not self._holes:
            return 0
        while self._holes and self._holes[0][1] <= sweep.start_us:
            self._holes.popleft()
        return sum(n for start_us, _, n in self._holes if start_us < sweep.end_us)

    def gives_up(self, span: Span, missing: int) -> bool:
        """Whether a span's sweep is passed over, and its events with it."""
        if missing and self._given_up < MOST_GIVEN_UP:
            if span.closed:
                self._drops["sweeps_incomplete"] += 1
                self._given_up += 1
            return True
        self._given_up = 0 if span.closed else self._given_up
        return False
