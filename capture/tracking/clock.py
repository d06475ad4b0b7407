"""Sweeps from the sensor clock: the lens is at the far end at `start_us + k · period` for every integer k."""

from fractions import Fraction

from ..calibration import Calibration
from ..events import Batch
from ..sweeps import Direction
from .spans import Counts, Cutter, Span, is_whole

MAX_SILENT_SWEEPS = 16
"""After this many sweeps without events, further sweeps are skipped until the next event, so that a timestamp that
jumps by years does not create billions of sweeps."""


class ClockTracker:
    """A `Tracker` for `sync = "clock"`. Sweeps are exact from the first event on; only gaps make it skip sweeps."""

    def __init__(self, calibration: Calibration) -> None:
        self._cutter = Cutter(calibration)
        sweep = calibration.sweep
        self._start_us = sweep.start_us
        self._sawtooth = sweep.waveform == "sawtooth"
        # Exact rational arithmetic from the decimal number in the file, so that no error accumulates over the years.
        frequency = Fraction(repr(sweep.frequency_hz)) * (1 if self._sawtooth else 2)
        self._length_us = 1_000_000 / frequency
        self._next: int | None = None  # number of the next boundary; None while waiting for an event
        self._idle_since: int | None = None  # number of the first skipped sweep; None before the first event
        self._silent = 0
        self._sweep_has_events = False

    @property
    def counts(self) -> Counts:
        return self._cutter.counts

    @property
    def quality(self) -> float:
        """Always 1: the clock is assumed to be exact."""
        return 1.0

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def boundary_us(self, number: int) -> int:
        """Sensor time at which sweep `number` begins, to the nearest µs."""
        return self._start_us + round(number * self._length_us)

    def feed(self, batch: Batch) -> list[Span]:
        cutter = self._cutter
        cutter.push(batch)
        spans: list[Span] = []
        while self._begin() and self._next is not None and self.boundary_us(self._next) <= batch.end_us:
            spans += self._pass_boundary(self._next)
        if self._next is not None:
            tail = cutter.cut(batch.end_us, self.boundary_us(self._next))
            self._sweep_has_events |= bool(tail)
            spans += tail
        return spans

    def finish(self) -> list[Span]:
        if self._next is not None:
            self._cutter.mark(self.boundary_us(self._next), None)
        return self._cutter.finish()

    def why_not(self) -> str:
        return "no event came, or for less than a sweep"

    def _begin(self) -> bool:
        """Open the sweep of the first event if none is open; False while there is no event."""
        if self._next is not None:
            return True
        cutter = self._cutter
        at = cutter.first_us if self._idle_since is None else cutter.next_event_us()
        if at is None:
            return False
        number = self._number(at)
        start_us, end_us = self.boundary_us(number), self.boundary_us(number + 1)
        if self._idle_since is not None:
            cutter.tally["silent_sweeps"] += number - self._idle_since
        if self._idle_since is not None or is_whole(start_us, end_us, at, end_us):
            cutter.mark(start_us, self._direction(number))
        else:
            cutter.tally["partial_sweeps"] += 1
        self._next = number + 1
        self._sweep_has_events = False
        return True

    def _pass_boundary(self, number: int) -> list[Span]:
        """End the sweep before a boundary; begin the next unless there have been no events for long."""
        cutter = self._cutter
        at = self.boundary_us(number)
        first = cutter.next_event_us()
        busy = self._sweep_has_events or (first is not None and first < at)
        self._silent = 0 if busy else self._silent + 1
        self._sweep_has_events = False
        if self._silent < MAX_SILENT_SWEEPS:
            cutter.mark(at, self._direction(number))
            self._next = number + 1
        else:
            cutter.mark(at, None)
            self._next, self._idle_since = None, number
        return cutter.cut(at, at)

    def _number(self, at_us: int) -> int:
        """Number of the sweep that contains a time."""
        number = int((at_us - self._start_us) // self._length_us)
        while self.boundary_us(number) > at_us:
            number -= 1
        while self.boundary_us(number + 1) <= at_us:
            number += 1
        return number

    def _direction(self, number: int) -> Direction:
        return Direction.FAR_TO_NEAR if self._sawtooth or number % 2 == 0 else Direction.NEAR_TO_FAR
