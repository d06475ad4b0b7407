"""The protocol of lens drivers and the status they report."""

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True)
class LensLimits:
    """What the hardware can do, and which it is. None where it does not say, or is not asked."""

    max_current_ma: float | None = None
    focal_power_diopters: tuple[float, float] | None = None  # of the liquid lens itself, not of the scene's focus
    serial_number: str | None = None
    firmware: str | None = None


@dataclass(frozen=True)
class LensStatus:
    """A lens now, and what its driver had to cope with since it was opened."""

    connected: bool
    moving: bool
    temperature_c: float | None = None
    far_end_ns: int | None = None  # host clock, `time.monotonic_ns`: when the focus was last commanded to the far end
    reconnects: int = 0
    crc_errors: int = 0
    timeouts: int = 0
    late_answers: int = 0
    last_error: str | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """Warnings, a sentence each; usually none."""
        warnings = []
        if not self.connected:
            warnings.append(f"lens disconnected ({self.last_error}); trying again")
        if self.reconnects:
            warnings.append(f"lens reconnected {'once' if self.reconnects == 1 else f'{self.reconnects} times'}")
        return tuple(warnings)


class Lens(Protocol):
    """A lens whose focus sweeps far→near→far as its calibration says.

    A context manager: leaving it, in whatever way, leaves the lens at rest. `start` and `stop` may be repeated.
    Nothing here blocks for longer than a few seconds, and `status` not for longer than a fraction of one.
    """

    @property
    def limits(self) -> LensLimits: ...

    def start(self) -> None:
        """Move to the far end and begin the waveform there.

        Raises:
            LensError: the lens cannot be reached or refuses. One that is lost later is taken up again by itself.
        """
        ...

    def stop(self) -> None:
        """Let the sweep shrink and bring the lens to rest, without a jump.

        Raises:
            LensError: the lens does not confirm that it rests. It is tried again until the lens is closed.
        """
        ...

    def status(self) -> LensStatus:
        """How it is now. `far_end_ns` is for `make_tracker(far_end_hint_us=…)` with `sync = "events"`."""
        ...

    def close(self) -> None:
        """Bring the lens to rest and close it; may be repeated."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
