"""Paces a recording in real time."""

import threading
import time

from ..capture.events import Batch


class Pacer:
    """Paces a recording by its timestamps. `behind_s` is its largest delay.

    Args:
        speed: factor of real time; None: as fast as possible.
        stopping: ends all waiting when set.
    """

    def __init__(self, speed: float | None, stopping: threading.Event) -> None:
        self._speed = speed
        self._stopping = stopping
        self.behind_s = 0.0
        self._origin: tuple[float, int] | None = None  # host time in s, sensor time in µs

    def wait(self, batch: Batch) -> None:
        """Wait until a live camera would have delivered the batch, or the run is stopped."""
        if self._speed is None:
            return
        if self._origin is None:
            times = [int(part["timestamp"][0]) for part in (batch.events, batch.triggers) if len(part)]
            self._origin = time.monotonic(), min(times, default=batch.end_us)
        start, first_us = self._origin
        due = start + (batch.end_us - first_us) * 1e-6 / self._speed
        early_s = due - time.monotonic()
        self.behind_s = max(self.behind_s, -early_s)
        self._stopping.wait(max(0.0, early_s))
