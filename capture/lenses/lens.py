"""The protocol that lens drivers implement, and the status that they report."""

from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self


@dataclass(frozen=True)
class LensLimits:
    """Limits and identity of the hardware; None where unknown."""

    max_current_ma: float | None = None
    focal_power_diopters: tuple[float, float] | None = None  # of the liquid lens itself, not of the scene's focus
    serial_number: str | None = None
    firmware: str | None = None


@dataclass(frozen=True)
class LensStatus:
    """State of a lens, and errors since it was opened."""

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
        """Warnings, one sentence each; usually none."""
        warnings = []
        if not self.connected:
            warnings.append(f"lens disconnected ({self.last_error}); trying again")
        if self.reconnects:
            warnings.append(f"lens reconnected {'once' if self.reconnects == 1 else f'{self.reconnects} times'}")
        return tuple(warnings)


class Lens(Protocol):
    """A lens whose focus sweeps far→near→far as specified by its calibration.

    A context manager: on exit, also by an exception, the lens is brought to rest. `start` and `stop` may be called
        repeatedly. No method blocks for longer than a few seconds; `status` returns within a fraction of a second.
    """

    @property
    def limits(self) -> LensLimits: ...

    def start(self) -> None:
        """Move to the far end and start the waveform there.

        Raises:
            LensError: the lens is unreachable or refuses. If the connection is lost later, the driver reconnects.
        """
        ...

    def stop(self) -> None:
        """Reduce the sweep and bring the lens to rest, without a jump.

        Raises:
            LensError: the lens does not confirm that it is at rest. The driver keeps trying until the lens is closed.
        """
        ...

    def status(self) -> LensStatus:
        """The current status. `far_end_ns` is for `make_tracker(far_end_hint_us=…)` with `sync = "events"`."""
        ...

    def close(self) -> None:
        """Bring the lens to rest and close the driver. May be called repeatedly."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None: ...
