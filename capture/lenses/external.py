"""A lens driven by other equipment."""

from types import TracebackType
from typing import Self

from ..calibration import Calibration
from .lens import LensLimits, LensStatus


class ExternalLens:
    """A `Lens` that receives no commands: sweeps are found from triggers, the clock or events, as `sweep.sync` says."""

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration

    @property
    def limits(self) -> LensLimits:
        return LensLimits()

    def start(self) -> None:
        """Does nothing: other equipment starts the lens."""

    def stop(self) -> None:
        """Does nothing: other equipment stops the lens."""

    def status(self) -> LensStatus:
        """Reported as moving; nothing else is known."""
        return LensStatus(connected=True, moving=True)

    def close(self) -> None:
        """Does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
