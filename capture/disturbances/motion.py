"""Motion during a sweep: brightness that does not come back when the focus does.

The focus passes every place twice a period, and a still scene then looks as it did: each pixel's ON and OFF events,
weighted by their thresholds, cancel but for what the pixel has not fired yet. Where something moved, or the light
changed, they do not.
"""

from collections.abc import Sequence

import numpy as np

from ..tracking import Span
from .kernels import sum_signs

MAX_PIXELS = 40_000
"""Pixels that are looked at; a larger sensor is thinned out evenly."""

MISMATCH = 0.06
"""A pixel's ratio of thresholds differs from the sensor's by so much: √2 times a mismatch of 0.03 to 0.04."""

MIN_EVENTS = 0.02
"""Events a pixel of the whole sensor in a period, below which nothing is said."""


class MotionWatch:
    """Adds up the events of every pixel over a period: two sweeps, or one with its return for a sawtooth."""

    def __init__(self, width: int, height: int, sweeps: int) -> None:
        self._digits = max(0, int(np.ceil(np.log2(width * height / MAX_PIXELS) / 2)))
        shape = (-(-height >> self._digits), -(-width >> self._digits), 2)
        self._sums = [np.zeros(shape, np.int32) for _ in range(sweeps)]
        self._known = 0  # sweeps that are complete and follow each other
        self._start_us: int | None = None  # of the sweep under way
        self._end_us: int | None = None  # of the sweep before

    def see(self, span: Span) -> float | None:
        """Add the events of a span; when it ends a period's last sweep, the unrest."""
        sweep = span.sweep
        if self._start_us != sweep.start_us:
            self._begin(sweep.start_us)
        sum_signs(span.events["x"], span.events["y"], span.events["polarity"], self._digits, self._sums[0])
        if not span.closed:
            return None
        self._known = min(self._known + 1, len(self._sums))
        self._end_us = sweep.end_us
        unrest = measure_unrest(self._sums) if self._known == len(self._sums) else None
        self._sums = [self._sums[-1], *self._sums[:-1]]
        return unrest

    def forget(self) -> None:
        """Count no sweep that has begun."""
        self._known = 0
        self._end_us = self._start_us = None

    def _begin(self, start_us: int) -> None:
        if start_us != self._end_us:
            self._known = 0
        self._start_us = start_us
        self._sums[0][:] = 0


def measure_unrest(counts: Sequence[np.ndarray]) -> float | None:  # each (H, W, 2), ON and OFF events of a sweep
    """Unrest: of the change of brightness in the sweeps of one period, the share that did not come back, 0 to 1; None
    when too little happened to tell.

    Each pixel may keep back what fits between its two thresholds, and be wrong by the mismatch of them. Fast motion
    makes many events, but undoes most of them itself: so what is left is compared with what each sweep changed, not
    with all events.
    """
    on, off = np.moveaxis(np.sum(counts, axis=0), -1, 0)
    total = int(on.sum()) + int(off.sum())
    if total < MIN_EVENTS * on.size or not off.any():
        return None
    step = np.float32(on.sum() / off.sum())
    kept_back = np.float32(1) + step
    changed = np.sum([np.abs(one[..., 0] - step * one[..., 1]) for one in counts], axis=0)
    left = np.maximum(np.abs(on - step * off) - kept_back - np.float32(MISMATCH) * (on + off), 0)
    possible = float((changed + 2 * kept_back * (on + off > 0)).sum())
    return min(1.0, float(left.sum()) / possible)
