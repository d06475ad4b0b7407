"""Tracks the sweeps of a live source, restarting after gaps of the source or the lens."""

from collections.abc import Callable
from dataclasses import fields

from ..capture.calibration import Calibration
from ..capture.cameras import Gap
from ..capture.errors import SyncError
from ..capture.events import Batch
from ..capture.lenses import LensStatus
from ..capture.sweeps import Direction
from ..capture.tracking import Counts, Span, Tracker, make_tracker
from ..capture.tracking.stream import StreamTracker

PATIENCE_SWEEPS = 12
"""Time without any sweep, in nominal sweeps, after which the reason is reported."""


class Follower:
    """A `Tracker` made of trackers: one for each interval without an interruption of camera or lens.

    In a gap of the source, turning points are missed, and a lens that was interrupted restarts at another phase, so the
    sweep timing must be found again. While a driven lens is not moving, there are no sweeps, whatever the events.

    With `sync = "events"`, and with triggers that have the same mark at each turning point, the direction comes from
    the driver's command, corrected by the sweeps found since, because the clocks of generator and sensor drift apart
    within an hour. Without a driver, it comes from the sweeps before the gap, if the gap was short.

    Args:
        lens: returns the state of the lens, called for every batch; None for an externally driven lens.
        sensor_us: converts a host time, `time.monotonic_ns`, to sensor time.

    Raises:
        SyncError: the direction cannot be determined, or is given although the calibration determines it.
    """

    def __init__(
        self,
        calibration: Calibration,
        first_direction: Direction | None = None,
        lens: Callable[[], LensStatus] | None = None,
        sensor_us: Callable[[int], int | None] = lambda _: None,
    ) -> None:
        self._calibration = calibration
        self._first_direction = first_direction
        self._lens = lens
        self._sensor_us = sensor_us
        sweep = calibration.sweep
        self._needs_direction = sweep.sync == "events" or (sweep.sync == "trigger" and sweep.trigger_pulses == "both")
        self._period_us = 1e6 / calibration.sweep.frequency_hz
        self._past = Counts()
        self._session: int | None = None  # number of the lens's period of motion; None while it is at rest
        self._far_end_us: int | None = None  # of the last sweep
        self._lead_us = 0.0  # delay of far ends relative to the driver's clock
        self._since_us: int | None = None  # when the tracker was created
        self._clock_lost = False
        self._end_us = 0
        # The driver's command will determine the direction.
        hint = 0 if self._needs_direction and lens is not None else None
        self._tracker: Tracker | None = make_tracker(calibration, first_direction, hint)
        if lens is not None:
            self._tracker = None

    @property
    def counts(self) -> Counts:
        return self._past if self._tracker is None else _sum(self._past, self._tracker.counts)

    @property
    def quality(self) -> float:
        """Quality of the current tracker; 0 without one."""
        return 0.0 if self._tracker is None else self._tracker.quality

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of the current tracker."""
        return () if self._tracker is None else self._tracker.notes

    def feed(self, batch: Batch) -> list[Span]:
        self._end_us = batch.end_us
        hint = None
        if self._lens is not None:
            lens = self._lens()
            session = lens.reconnects if lens.moving else None
            if session != self._session:
                self._retire()
                self._session, self._far_end_us, self._lead_us = session, None, 0.0
            if session is None:
                return []
            hint = None if lens.far_end_ns is None else self._sensor_us(lens.far_end_ns)
        if self._tracker is None and not self._begin(hint):
            return []
        tracker = self._tracker
        assert tracker is not None
        self._since_us = batch.end_us if self._since_us is None else self._since_us
        if isinstance(tracker, StreamTracker) and hint is not None:
            tracker.set_far_end(self._corrected(hint))
        spans = tracker.feed(batch)
        for span in spans:
            if span.closed:
                self._learn(span, hint)
        return spans

    def finish(self) -> list[Span]:
        return [] if self._tracker is None else self._tracker.finish()

    def cross(self, gap: Gap) -> None:
        """Restart after a gap of the source; call it between the batches before and after the gap."""
        self._retire()
        if gap.new_clock and self._calibration.sweep.sync == "clock":
            self._clock_lost = True

    def why_not(self) -> str:
        """Why there are no sweeps; empty if there are some, or it is too early to say."""
        if self._clock_lost:
            return (
                'the camera\'s clock was reset, and sweep.sync = "clock" depends on it: set sweep.start_us in '
                "lens.toml, and start again"
            )
        tracker, since_us = self._tracker, self._since_us
        if tracker is None or since_us is None or tracker.counts.sweeps:
            return ""
        waited = (self._end_us - since_us) / self._calibration.sweep.duration_us
        return tracker.why_not() if waited > PATIENCE_SWEEPS else ""

    def _begin(self, hint: int | None) -> bool:
        """Create the next tracker, if possible."""
        if self._clock_lost:
            return False
        far_end_us = self._far_end_us if hint is None else self._corrected(hint)
        try:
            if self._needs_direction and far_end_us is not None:
                self._tracker = make_tracker(self._calibration, None, far_end_us)
            else:
                self._tracker = make_tracker(self._calibration, self._first_direction)
        except SyncError:
            return False  # the driver has not reported its command yet
        return True

    def _retire(self) -> None:
        """End the current tracker, and discard the current sweep."""
        self._past, self._tracker, self._since_us = self.counts, None, None

    def _learn(self, span: Span, hint: int | None) -> None:
        """Update the direction estimate with a complete sweep."""
        sweep = span.sweep
        self._far_end_us = sweep.start_us if sweep.direction == Direction.FAR_TO_NEAR else sweep.end_us
        if hint is not None:
            late_us = self._far_end_us - hint
            self._lead_us = late_us - self._period_us * round((late_us - self._lead_us) / self._period_us)

    def _corrected(self, hint: int) -> int:
        return hint + round(self._lead_us)


def _sum(a: Counts, b: Counts) -> Counts:
    return Counts(**{f.name: getattr(a, f.name) + getattr(b, f.name) for f in fields(Counts)})
