"""A lens driven by other equipment."""

from ..calibration import Calibration
from ..closing import Closing
from .lens import LensLimits, LensStatus


class ExternalLens(Closing):
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
