"""Finding and tracking sweeps from trigger edges, from the clock, or from the events themselves.

Where a sweep's direction is decided depends on `sweep.sync`: `trigger` (which edge marks which end: `lens_trigger`,
`signal`), `clock`, or, for events, `direction` (from lens breathing); `alternation` continues a known direction.
"""

from collections.abc import Iterable

from ..calibration import Calibration
from ..errors import SyncError
from ..events import Batch
from ..sweeps import Direction, Sweep
from .clock import ClockTracker
from .spans import Counts, Span, Tracker
from .stream import StreamTracker
from .trigger import TriggerTracker

__all__ = ["Counts", "Span", "Tracker", "find_sweeps", "make_tracker"]


def make_tracker(
    calibration: Calibration,
    first_direction: Direction | None = None,
    far_end_hint_us: int | None = None,
) -> Tracker:
    """Make the tracker for `calibration.sweep.sync`.

    Args:
        first_direction: direction of the first complete sweep. Only for `sync = "events"`, and for triggers with the
            same mark at each turning point (`trigger_pulses = "both"`).
        far_end_hint_us: sensor time near a far end, to a quarter period, as commanded by a lens driver. Used in the
            same cases; it has priority over `first_direction`, and both have priority over lens breathing.

    Raises:
        SyncError: the direction cannot be determined, or is given although the calibration determines it.
    """
    sweep = calibration.sweep
    sync = sweep.sync
    if sync == "events":
        return StreamTracker(calibration, first_direction, far_end_hint_us)
    if sync == "trigger" and sweep.trigger_pulses == "both":
        if first_direction is None and far_end_hint_us is None:
            raise SyncError(
                'sweep.trigger_pulses is "both": the pulses do not distinguish the far from the near end; give '
                "--first-direction, or let sweepdepth drive the lens"
            )
        return TriggerTracker(calibration, first_direction, far_end_hint_us)
    if first_direction is not None or far_end_hint_us is not None:
        raise SyncError(
            f'sweep.sync is "{sync}", which determines the direction: leave out --first-direction, or set '
            'sweep.sync = "events" in lens.toml'
        )
    return TriggerTracker(calibration) if sync == "trigger" else ClockTracker(calibration)


def find_sweeps(
    recording: Iterable[Batch],
    calibration: Calibration,
    first_direction: Direction | None = None,
    far_end_hint_us: int | None = None,
) -> list[Sweep]:
    """Find all sweeps of a recording of which at least 90 % was recorded.

    Args:
        recording: its batches, in time order.
        calibration: gives the kind of synchronisation and the nominal frequency.
        first_direction: of the first complete sweep, for `sync = "events"` where nothing else determines it.
        far_end_hint_us: a sensor time in µs with the lens at its far end.

    Returns:
        The sweeps, in time order.

    Raises:
        SyncError: no sweep can be found, or its direction cannot be determined; see `make_tracker`.

    Examples:
        >>> from sweepdepth import open_recording
        >>> with open_recording("sweep.aedat4") as recording:
        ...     sweeps = find_sweeps(recording, recording.calibration)
        >>> [sweep.direction.name for sweep in sweeps[:2]]
        ['FAR_TO_NEAR', 'NEAR_TO_FAR']
    """
    tracker = make_tracker(calibration, first_direction, far_end_hint_us)
    sweeps = [span.sweep for batch in recording for span in tracker.feed(batch) if span.closed]
    return sweeps + [span.sweep for span in tracker.finish() if span.closed]
