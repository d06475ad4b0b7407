"""Statistics of a run: rates, latencies, drops and warnings."""

import math
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from ..capture.tracking import Tracker
from .wire.messages import Percentiles, StatusFrame

OUTSIDE_SHARE = 0.25
"""Fraction of events outside sweeps that causes a warning; some are always before the first or after the last turning
point."""

RECENT_FRAMES = 1000
"""Number of latest frames for the latency percentiles of a status."""

_NATURAL = {"sweeps", "partial_sweeps", "events_outside"}
"""Counts of a tracker that need no warning, since every recording starts and ends within a sweep."""


@dataclass(frozen=True)
class Summary:
    """Summary of a run."""

    n_frames: int
    n_events: int  # in the sensor window
    n_left_out: int  # events outside it
    seconds: float
    stopped: bool  # on request, before the end of the source
    latency_ms: Mapping[str, Percentiles]
    drops: Mapping[str, int]
    warnings: tuple[str, ...]


class Telemetry:
    """Counts of one run. Each is written by one thread only, and may be read by all.

    Args:
        losses: returns counts of the source, which are added to the drops.
        left_out: returns how many events lay outside the window of the sensor.
    """

    def __init__(self, losses: Callable[[], Mapping[str, int]] = dict, left_out: Callable[[], int] = lambda: 0) -> None:
        self.n_events = 0
        self.n_frames = 0
        self.drops: Counter[str] = Counter()
        self._losses, self._left_out = losses, left_out
        self._latencies: dict[str, deque[float]] = {}
        self.begin()

    def begin(self) -> None:
        """Start measuring rates."""
        self._began = time.monotonic()
        self._before = self._began, 0, 0  # at the previous status: host clock, events, frames

    def add_latencies(self, latency_ms: Mapping[str, float]) -> None:
        """Add the latencies of one frame, by stage."""
        for stage, ms in latency_ms.items():
            self._latencies.setdefault(stage, deque(maxlen=RECENT_FRAMES)).append(ms)

    def status(self, waiting: int, sync_quality: float, warnings: tuple[str, ...], *, end: bool = False) -> StatusFrame:
        """A status with the rates since the previous one; the last has those of the whole run."""
        since_s, since_events, since_frames = (self._began, 0, 0) if end else self._before
        now_s, n_events, n_frames = self._before = time.monotonic(), self.n_events, self.n_frames
        seconds = max(now_s - since_s, 1e-9)
        return StatusFrame(
            (n_events - since_events) / seconds,
            (n_frames - since_frames) / seconds,
            self._percentiles(),
            {"stacks": waiting},
            {**self.drops, **self._losses()},
            warnings,
            end,
            sync_quality=sync_quality,
            n_events=n_events,
            n_frames=n_frames,
            n_left_out=self._left_out(),
        )

    def summary(self, stopped: bool, warnings: tuple[str, ...]) -> Summary:
        """Summary of the run so far."""
        return Summary(
            self.n_frames,
            self.n_events,
            self._left_out(),
            time.monotonic() - self._began,
            stopped,
            self._percentiles(),
            {**self.drops, **self._losses()},
            warnings,
        )

    def _percentiles(self) -> dict[str, Percentiles]:
        return {
            stage: Percentiles(p50=float(np.percentile(list(values), 50)), p99=float(np.percentile(list(values), 99)))
            for stage, values in list(self._latencies.items())
        }


def timing_warnings(tracker: Tracker, n_events: int) -> list[str]:
    """Warnings about a tracker's timing, one line each.

    Args:
        n_events: number of events so far.
    """
    counts = vars(tracker.counts)
    lines = [_counted(counts[name], name) for name in counts if counts[name] and name not in _NATURAL]
    outside = counts["events_outside"]
    if outside > OUTSIDE_SHARE * n_events:
        lines.append(f"{100 * outside / n_events:.0f} % of the events are outside all sweeps")
    quality = tracker.quality
    if n_events and math.isfinite(quality) and quality < 0.5:
        lines.append(f"sweep timing is uncertain (quality {quality:.2f})")
    return lines


def _counted(n: int, name: str) -> str:
    """A count as text."""
    words = name.replace("_", " ")
    return f"{n:,} {words.removesuffix('s') if n == 1 else words}"
