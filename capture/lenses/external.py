"""A lens that something else drives."""

from types import TracebackType
from typing import Self

from ..calibration import Calibration
from .lens import LensLimits, LensStatus


class ExternalLens:
    """A `Lens` that is never commanded: sweeps come from triggers, the clock or the stream, as `sweep.sync` says."""

    def __init__(self, calibration: Calibration) -> None:
        self.calibration = calibration

    @property
    def limits(self) -> LensLimits:
        return LensLimits()

    def start(self) -> None:
        """Nothing: it is moving already, or will be when its own driver says so."""

    def stop(self) -> None:
        """Nothing: its own driver stops it."""

    def status(self) -> LensStatus:
        """Assumed to be moving; nothing else is known."""
        return LensStatus(connected=True, moving=True)

    def close(self) -> None:
        """Nothing to let go of."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
