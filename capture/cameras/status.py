"""The status that a live source reports."""

from dataclasses import dataclass, field

from ..sources.sanitizer import Repairs


@dataclass(frozen=True)
class Gap:
    """A stretch of which nothing was received, between two batches.

    Times are those of the batches, which go on increasing: when a source comes back with a clock that does not go on
    from where it was, `clock_shift_us` is what has been added to its times from then on, as if it had gone on.
    """

    last_us: int  # all was received before
    next_us: int  # the first that was received again
    lost_s: float  # by the host's clock
    reason: str
    clock_shift_us: int = 0

    @property
    def new_clock(self) -> bool:
        """Whether the source's clock did not go on; a phase that was known by it is lost."""
        return self.clock_shift_us != 0


@dataclass(frozen=True)
class Loss:
    """Events that were dropped because they were not taken in time, somewhere between two times of the batches."""

    start_us: int
    end_us: int
    n_events: int


@dataclass(frozen=True)
class CameraStatus:
    """A live source now, and what it had to cope with since it was opened."""

    connected: bool
    silent_s: float  # since anything came
    n_events: int = 0
    reconnects: int = 0
    lost_s: float = 0.0  # in all gaps, the one that is open included
    gaps: tuple[Gap, ...] = ()  # the latest
    dropped_events: int = 0  # because this process did not take them in time
    dropped_triggers: int = 0
    repairs: Repairs = field(default_factory=Repairs)
    last_error: str | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """Warnings, a sentence each; usually none."""
        warnings = []
        if not self.connected:
            warnings.append(f"disconnected for {self.silent_s:.1f} s ({self.last_error}); trying again")
        if self.reconnects:
            times = "once" if self.reconnects == 1 else f"{self.reconnects} times"
            warnings.append(f"reconnected {times}, {self.lost_s:.1f} s lost")
        if self.dropped_events or self.dropped_triggers:
            warnings.append(f"too slow: dropped {self.dropped_events:,} events and {self.dropped_triggers} triggers")
        return (*warnings, *self.repairs.sentences)
