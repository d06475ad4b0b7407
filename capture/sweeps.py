"""Sweeps: monotone passes of the focus, and where the focus is at any sensor time."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .calibration import Calibration


class Direction(IntEnum):
    """Which way the focus moves; the values are those of the depth file and the wire."""

    FAR_TO_NEAR = 1
    NEAR_TO_FAR = -1

    @property
    def reversed(self) -> "Direction":
        return Direction(-self)


@dataclass(frozen=True)
class Sweep:
    """One monotone pass of the focus.

    Invariant: `end_us > start_us`, and `diopters_at` is monotone on [start_us, end_us].
    """

    start_us: int
    end_us: int
    direction: Direction
    calibration: Calibration

    def diopters_at(self, timestamp_us: np.ndarray) -> np.ndarray:
        """Focus in 1/m at sensor times, same shape; times outside the sweep are clamped to its ends."""
        phase = (np.asarray(timestamp_us) - self.start_us) / (self.end_us - self.start_us)
        phase = np.clip(phase, 0.0, 1.0)
        return self.calibration.focus_at(phase if self.direction == Direction.FAR_TO_NEAR else 1.0 - phase)
