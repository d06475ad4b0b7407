"""Sweeps: monotone passes of the focus, and the focus at any sensor time."""

from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from .calibration import Calibration


class Direction(IntEnum):
    """Direction of the focus; the values are those in depth files and on the wire.

    Examples:
        >>> Direction.FAR_TO_NEAR.reversed.name
        'NEAR_TO_FAR'
    """

    FAR_TO_NEAR = 1
    NEAR_TO_FAR = -1

    @property
    def reversed(self) -> "Direction":
        """The other direction."""
        return Direction(-self)


@dataclass(frozen=True)
class Sweep:
    """One monotone pass of the focus.

    Invariant: `end_us > start_us`, and `diopters_at` is monotone on [start_us, end_us].

    Attributes:
        start_us: when it begins, sensor time in µs.
        end_us: when it ends, sensor time in µs.
        direction: direction of the focus.
        calibration: of the camera and lens, with the range and the curve of the focus.

    Examples:
        >>> sweep = Sweep(0, 200_000, Direction.FAR_TO_NEAR, Calibration.load("lens.toml"))
        >>> sweep
        Sweep(0 to 200000 µs, far→near, 0.5 to 2.5 1/m)
        >>> sweep.diopters_at(np.array([0, 100_000, 200_000]))
        array([0.5, 1.5, 2.5])
    """

    start_us: int
    end_us: int
    direction: Direction
    calibration: Calibration

    def __repr__(self) -> str:
        settings = self.calibration.sweep
        return (
            f"Sweep({self.start_us} to {self.end_us} µs, {self.direction.name.lower().replace('_to_', '→')}, "
            f"{settings.far_diopters:g} to {settings.near_diopters:g} 1/m)"
        )

    def diopters_at(self, timestamp_us: np.ndarray) -> np.ndarray:
        """Focus at sensor times.

        Args:
            timestamp_us: sensor times in µs, any shape; those outside the sweep are clamped to its ends.

        Returns:
            Focus in 1/m, same shape, float64.
        """
        phase = (np.asarray(timestamp_us) - self.start_us) / (self.end_us - self.start_us)
        phase = np.clip(phase, 0.0, 1.0)
        return self.calibration.focus_at(phase if self.direction == Direction.FAR_TO_NEAR else 1.0 - phase)
