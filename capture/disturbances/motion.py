"""Motion during a sweep: brightness that does not return to its old value when the focus does.

The focus passes every position twice a period, and a static scene then looks the same both times: each pixel's ON and
OFF events, weighted by their thresholds, cancel up to less than one threshold. Where something moved or the light
changed, they do not.
"""

from collections.abc import Sequence

import numpy as np

from ..tracking import Span
from .kernels import sum_signs

MAX_PIXELS = 40_000
"""Most pixels examined; a larger sensor is subsampled evenly."""

MISMATCH = 0.06
"""Standard deviation of a pixel's threshold ratio from the sensor's: √2 times a mismatch of 0.03 to 0.04."""

MIN_EVENTS = 0.02
"""Events per pixel and period, on average over the sensor, below which motion is not judged."""


class MotionWatch:
    """Sums each pixel's events over a period: two sweeps, or one with its return for a sawtooth."""

    def __init__(self, width: int, height: int, sweeps: int) -> None:
        self._digits = max(0, int(np.ceil(np.log2(width * height / MAX_PIXELS) / 2)))
        shape = (-(-height >> self._digits), -(-width >> self._digits), 2)
        self._sums = [np.zeros(shape, np.int32) for _ in range(sweeps)]
        self._known = 0  # consecutive complete sweeps
        self._start_us: int | None = None  # of the current sweep
        self._end_us: int | None = None  # of the previous sweep

    def see(self, span: Span) -> float | None:
        """Add the events of a span; returns the unrest when the span ends a period, else None."""
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
        """Discard the sweeps counted so far."""
        self._known = 0
        self._end_us = self._start_us = None

    def _begin(self, start_us: int) -> None:
        if start_us != self._end_us:
            self._known = 0
        self._start_us = start_us
        self._sums[0][:] = 0


def measure_unrest(counts: Sequence[np.ndarray]) -> float | None:  # each (H, W, 2), ON and OFF events of a sweep
    """Measure the unrest of one period: the share of its brightness changes that was not undone, 0 to 1; None with too
    few events.

    Each pixel is allowed a remainder of one threshold plus the error from threshold mismatch. Fast motion causes many
    events, most of which cancel within the sweep, so the remainder is compared with each sweep's net change, not with
    all events.
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
