"""How late pixels respond, found by comparing the two directions of a sweep over one scene.

Bandwidth and thresholds make events late: by 1 to 2 % of a sweep of 200 ms in good light, by up to 10 % in dim light
or with slow pixels. A late event is taken for a surface that the focus passes later: nearer in a far→near sweep,
farther in a near→far one. A network corrects the usual lag; what is left has opposite signs in successive sweeps, so
the lag is half of their difference. The next sweep is then matched that much later.
"""

from collections import deque
from dataclasses import dataclass, field

import numpy as np

from ..capture.sweeps import Sweep

LAG_STEP = 1 / 200
"""Lags are rounded to this share of a sweep: below it a correction changes nothing that can be measured."""

LARGEST_LAG = 0.15
"""Share of a sweep. More is no lag of pixels, but a wrong `delay_us`."""

MEMORY = 8
"""Pairs of sweeps whose median counts."""

_LEAST_PIXELS = 200
_SUREST = 0.25  # share of the pixels whose difference counts
_SURE, _ALIKE = 0.12, 0.25  # of the range: deviations of pixels that are compared, and their greatest difference
_MARGIN = 0.03  # of the range: positions nearer to an end are cut there, on one side


@dataclass
class LagFollower:
    """Follows the lag of the pixels from sweep to sweep of one camera and lens."""

    _pairs: deque[float] = field(default_factory=lambda: deque(maxlen=MEMORY), init=False)
    _before: tuple[Sweep, np.ndarray, np.ndarray, float] | None = field(default=None, init=False)

    def lag(self, sweep: Sweep) -> float:
        """The lag found so far, as a share of the sweep; 0 for another camera or lens than before."""
        if self._before is not None and self._before[0].calibration != sweep.calibration:
            self._before = None
            self._pairs.clear()
        if not self._pairs:
            return 0.0
        lag = float(np.clip(np.median(self._pairs), -LARGEST_LAG, LARGEST_LAG))
        return round(lag / LAG_STEP) * LAG_STEP

    def compare(self, sweep: Sweep, position: np.ndarray, deviation: np.ndarray, lag: float) -> None:
        """Compare an answer with that of the sweep before, if that was the other direction of the same period.

        Args:
            sweep: which was answered.
            position: (H, W), in the range, 0 far and 1 near.
            deviation: (H, W), of the position.
            lag: that the answer was already corrected for.
        """
        sure = (deviation < _SURE) & (position > _MARGIN) & (position < 1 - _MARGIN)
        position = np.where(sure, position, np.nan)
        before, self._before = self._before, (sweep, position, deviation, lag)
        if before is None or not _successive(before[0], sweep) or before[1].shape != position.shape:
            return
        difference = int(sweep.direction) * (position - before[1])
        alike = np.abs(difference) < _ALIKE
        if (count := np.count_nonzero(alike)) >= _LEAST_PIXELS:
            surest = max(_LEAST_PIXELS, round(_SUREST * count))
            order = np.argpartition(np.maximum(deviation, before[2])[alike], surest - 1)
            self._pairs.append((lag + before[3]) / 2 + float(np.median(difference[alike][order[:surest]])) / 2)


def _successive(first: Sweep, second: Sweep) -> bool:
    """Whether the second sweep is the way back of the first."""
    gap_us = abs(second.start_us - first.end_us)
    return second.direction != first.direction and 20 * gap_us < second.end_us - second.start_us
