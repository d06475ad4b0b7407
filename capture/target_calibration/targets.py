"""Calibration targets: recordings of sweeps over a flat, textured target at a known distance."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ..calibration import Calibration
from ..errors import CalibrationError
from ..events import join
from ..recordings import open_recording
from ..stack import EventFocalStack
from ..sweeps import Direction, Sweep
from ..tracking import find_sweeps

MIN_SWEEPS = 2
"""Least number of complete sweeps per direction; the first one only initialises the pixels' states."""

MAX_SWEEPS = 12
"""Most sweeps used; more add nothing for a static target."""


@dataclass(frozen=True)
class Target:
    """A recording of a target parallel to the sensor, and its distance."""

    path: Path
    metres: float  # along the camera's Z axis, from the origin of depth

    @property
    def diopters(self) -> float:
        return 1 / self.metres

    def __str__(self) -> str:
        return f"{self.path}@{self.metres:g}"


def parse_target(text: str) -> Target:
    """Parse `RECORDING@METRES`.

    Raises:
        CalibrationError: there is no @, or no positive number after it.
    """
    path, at, distance = text.rpartition("@")
    try:
        metres = float(distance.removesuffix("m"))
    except ValueError:
        metres = 0.0
    if not at or not path or not 0 < metres < 1e4:
        raise CalibrationError(f"{text}: expected RECORDING@METRES, the target's distance, like plane.aedat4@0.75")
    return Target(Path(path), metres)


def check_distances(targets: Sequence[Target]) -> None:
    """Check that the distances determine both ends of a sweep.

    Raises:
        CalibrationError: there are fewer than two distances, or all are the same.
    """
    if len(targets) < 2:
        raise CalibrationError(
            f"{len(targets)} recording{'' if len(targets) == 1 else 's'}: the two ends of the sweep need the target "
            "at 2 distances at least; 4 or more show how well they fit"
        )
    if len({target.metres for target in targets}) == 1:
        raise CalibrationError(
            f"all {len(targets)} recordings are at {targets[0].metres:g} m: one distance cannot give both ends of the "
            "sweep; move the target, ideally in equal steps of 1/m over the range"
        )


@dataclass(frozen=True)
class TargetSweeps:
    """The complete sweeps of one target's recording."""

    target: Target
    events: np.ndarray  # (N,) EVENT_DTYPE of the whole recording, by time
    sweeps: tuple[Sweep, ...]

    @property
    def events_per_pixel(self) -> float:
        """Mean number of events per pixel and sweep."""
        camera = self.sweeps[0].calibration.camera
        inside = sum(len(self.events_of(sweep)) for sweep in self.sweeps)
        return inside / len(self.sweeps) / (camera.width * camera.height)

    def events_of(self, sweep: Sweep) -> np.ndarray:
        """The events of one sweep, (N,) EVENT_DTYPE."""
        start, end = np.searchsorted(self.events["timestamp"], [sweep.start_us, sweep.end_us])
        return self.events[start:end]

    def with_calibration(self, calibration: Calibration, later_us: int = 0) -> "TargetSweeps":
        """The same sweeps with another calibration, every turning point `later_us` later."""
        moved = (
            replace(s, start_us=s.start_us + later_us, end_us=s.end_us + later_us, calibration=calibration)
            for s in self.sweeps
        )
        return replace(self, sweeps=tuple(moved))

    def stack(self, bins: int) -> np.ndarray:
        """Brightness changes by focus, averaged over both directions, without correction of breathing: (B, H, W)
        float32.

        Events lag in either direction, because after a reversal a pixel fires only when its brightness has changed by a
        threshold. Interpolation between a pixel's events corrects most of the lag; the rest has opposite signs in the
        two directions, so both get equal weight.
        """
        total = {}
        before: EventFocalStack | None = None
        for sweep in self.sweeps:
            bare = sweep.calibration.model_copy(update={"breathing": None})
            stack = EventFocalStack.empty(replace(sweep, calibration=bare), bins, "interpolated")
            turned = before is not None and before.sweep.direction != sweep.direction
            if before is not None and turned and abs(before.sweep.end_us - sweep.start_us) <= 1:
                stack.carry_on(before)
            stack.add(self.events_of(sweep))
            # Without the previous sweep (always for a sawtooth), brightness before each pixel's first event is unknown.
            if turned or sweep.calibration.sweep.waveform == "sawtooth":
                seen, count = total.get(sweep.direction, (0.0, 0))
                total[sweep.direction] = seen + stack.data, count + 1
            before = stack
        return np.mean([seen / count for seen, count in total.values()], axis=0, dtype=np.float32)


def blur_per_range_px(calibration: Calibration) -> float:
    """Diameter of the blur disc when the focus is one whole range away."""
    return calibration.camera.fx * calibration.lens.aperture_m * calibration.sweep.range_diopters


def read_target(target: Target, calibration: Calibration, first_direction: Direction | None) -> TargetSweeps:
    """Read a target's recording and find its sweeps.

    Raises:
        RecordingError, SyncError: it cannot be read, or its sweeps cannot be found.
        CalibrationError: it has too few whole sweeps.
    """
    with open_recording(target.path, calibration) as recording:
        batches = list(recording)
    sweeps = find_sweeps(batches, calibration, first_direction)[:MAX_SWEEPS]
    directions = {Direction.FAR_TO_NEAR}
    if calibration.sweep.waveform != "sawtooth":
        directions.add(Direction.NEAR_TO_FAR)
    fewest = min(sum(sweep.direction == direction for sweep in sweeps) for direction in directions)
    if fewest < MIN_SWEEPS:
        seconds = 2e-6 * calibration.sweep.duration_us * (MIN_SWEEPS + 1)
        raise CalibrationError(
            f"{target.path}: has {len(sweeps)} whole sweeps; calibration needs {MIN_SWEEPS} of each direction, so "
            f"record {seconds:.2g} s or longer"
        )
    return TargetSweeps(target, join([batch.events for batch in batches]), tuple(sweeps))
