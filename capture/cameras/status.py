"""The status that a live source reports."""

from dataclasses import dataclass, field

from ..sources.sanitizer import Repairs


@dataclass(frozen=True)
class Gap:
    """A stretch of time, between two batches, from which no events were received.

    Batch times keep increasing across a gap: when the source returns with a reset clock, `clock_shift_us` is added to
        its times from then on, as if the clock had kept running.
    """

    last_us: int  # everything before was received
    next_us: int  # first time received again
    lost_s: float  # by the host's clock
    reason: str
    clock_shift_us: int = 0

    @property
    def new_clock(self) -> bool:
        """Whether the source's clock was reset, so that a sweep phase derived from it is lost."""
        return self.clock_shift_us != 0


@dataclass(frozen=True)
class Loss:
    """Events dropped between two batch times because they were not read in time."""

    start_us: int
    end_us: int
    n_events: int


@dataclass(frozen=True)
class CameraStatus:
    """State of a live source, and its errors and losses since it was opened."""

    connected: bool
    silent_s: float  # since the last batch
    n_events: int = 0
    reconnects: int = 0
    lost_s: float = 0.0  # in all gaps, including the current one
    gaps: tuple[Gap, ...] = ()  # the latest ones
    dropped_events: int = 0  # because this process did not read them in time
    dropped_triggers: int = 0
    repairs: Repairs = field(default_factory=Repairs)
    last_error: str | None = None

    @property
    def sentences(self) -> tuple[str, ...]:
        """Warnings, one sentence each; usually none."""
        warnings = []
        if not self.connected:
            warnings.append(f"disconnected for {self.silent_s:.1f} s ({self.last_error}); trying again")
        if self.reconnects:
            times = "once" if self.reconnects == 1 else f"{self.reconnects} times"
            warnings.append(f"reconnected {times}, {self.lost_s:.1f} s lost")
        if self.dropped_events or self.dropped_triggers:
            warnings.append(f"too slow: dropped {self.dropped_events:,} events and {self.dropped_triggers} triggers")
        return (*warnings, *self.repairs.sentences)
