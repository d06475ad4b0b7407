"""The calibration procedure: from recordings to a calibration with residuals and a verdict."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..calibration import Breathing, Calibration
from ..errors import CalibrationError
from ..sweeps import Direction
from .curve import CurveFit, fit_curve, recalibrated
from .rest import Rest, measure_rest
from .sighting import Sighting, sight
from .targets import Target, TargetSweeps, check_distances, read_target
from .turning import Lateness, measure_lateness

MIN_EVENTS = 0.05
"""Least number of events per pixel and sweep; below, there is too little texture."""

MIN_CONTRAST = 0.1
"""Least contrast of a position's evidence to the best elsewhere; on targets of little texture it is about 0.4."""

SETTLED = 0.002
"""Change of a position, as a fraction of the range, below which iteration stops."""

GOOD, USABLE = 0.01, 0.03
"""Largest residuals, as a fraction of the range, of a good and of a usable calibration."""

GOOD_MAGNIFICATION = 0.001
CENTRE_PX = 0.2
"""Least motion of the corners over the range for which the centre of breathing can be determined."""

Grade = Literal["good", "usable", "bad"]


@dataclass(frozen=True)
class Calibrated:
    """Result of a calibration, with its uncertainties and verdict."""

    calibration: Calibration
    grade: Grade
    reasons: tuple[str, ...]  # why it is not good
    targets: tuple[Target, ...]
    sightings: tuple[Sighting, ...]  # by the calibration before the fit of the focus
    fit: CurveFit
    lateness: Lateness | None  # None: no turning point could be measured, or it does not apply
    magnification_spread: float  # standard error of the magnification at the near end
    rest: Rest | None
    notes: tuple[str, ...]

    @property
    def verdict(self) -> str:
        return self.grade + (f": {'; '.join(self.reasons)}" if self.reasons else "")

    @property
    def worst_residual(self) -> float:
        """Largest residual of the targets, as a fraction of the range."""
        return float(np.abs(self.fit.residuals).max()) / self.calibration.sweep.range_diopters


def calibrate(
    targets: Sequence[Target],
    start: Calibration,
    rest: str | Path | None = None,
    *,
    first_direction: Direction | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Calibrated:
    """Calibrate a sweeping lens from recordings of a textured target at known distances.

    `start` gives the camera, the lens, the waveform, how sweeps are found, and the ends of the sweep to a fifth of the
    range. `on_progress` is called with the fraction done.

    Raises:
        RecordingError, SyncError: a recording cannot be read, or its sweeps cannot be found.
        CalibrationError: the recordings are not sufficient; the message says why and what to do.
    """
    check_distances(targets)
    report = on_progress or (lambda share: None)
    calibration = start.model_copy(update={"breathing": None})
    recorded: list[TargetSweeps] = []
    for i, target in enumerate(targets):
        recorded.append(_read_textured(target, calibration, first_direction))
        report(0.2 * (i + 1) / len(targets))

    notes: list[str] = []
    lateness = None if start.sweep.sync == "events" else measure_lateness(recorded)
    if start.sweep.sync == "events":
        notes.append('delay: not applicable, since sync = "events" takes the turning points from the stream itself')
    elif lateness is None:
        notes.append("delay: kept, since no turning point could be measured")
    else:
        calibration = _delayed(calibration, round(lateness.mean_us))
    later_us = 0 if lateness is None else round(lateness.mean_us)
    recorded = [sweeps.with_calibration(calibration, later_us) for sweeps in recorded]

    calibration, recorded = _settle(targets, recorded, calibration)
    report(0.4)
    sightings: list[Sighting] = []
    for i, sweeps in enumerate(recorded):
        sightings.append(_seen(sweeps, corrected=True))
        report(0.4 + 0.6 * (i + 1) / len(recorded))
    position = np.array([s.position for s in sightings])
    fit = fit_curve(targets, position, np.array([s.spread for s in sightings]))
    before = calibration
    calibration = recalibrated(before, fit)
    breathing, magnification_spread, centre_known = _breathing(sightings, before, calibration)
    calibration = calibration.model_copy(update={"breathing": breathing})
    if not centre_known:
        notes.append("breathing: too small to determine its centre, which is set to the principal point")
    if start.sweep.waveform == "sawtooth":
        notes.append("sawtooth: the pixels' lag shifts the focus, since no sweep runs the other way")

    resting = None if rest is None else measure_rest(rest, start)
    if resting is not None and resting.hot_pixels:
        camera = calibration.camera.model_copy(update={"hot_pixels": resting.hot_pixels})
        calibration = calibration.model_copy(update={"camera": camera})
    calibration = Calibration.parse(calibration.to_toml(), name="the calibration found")
    grade, reasons = _judge(calibration, targets, position, fit, magnification_spread, resting)
    return Calibrated(
        calibration,
        grade,
        reasons,
        tuple(targets),
        tuple(sightings),
        fit,
        lateness,
        magnification_spread,
        resting,
        tuple(notes),
    )


def _read_textured(target: Target, calibration: Calibration, first_direction: Direction | None) -> TargetSweeps:
    """Read the recording of a target.

    Raises:
        CalibrationError: the target has too few events.
    """
    sweeps = read_target(target, calibration, first_direction)
    if sweeps.events_per_pixel < MIN_EVENTS:
        raise CalibrationError(
            f"{target}: a pixel makes {sweeps.events_per_pixel:.2g} events a sweep: there is too little texture "
            "or light; use a printed pattern of fine, strong contrast that fills the image"
        )
    return sweeps


def _settle(
    targets: Sequence[Target], recorded: list[TargetSweeps], calibration: Calibration
) -> tuple[Calibration, list[TargetSweeps]]:
    """Improve the ends of the sweep until they settle; returns the calibration, and the sweeps with it."""
    for _ in range(3):
        rough = [_seen(sweeps, corrected=False) for sweeps in recorded]
        position = np.array([s.position for s in rough])
        fit = fit_curve(targets, position, np.array([s.spread for s in rough]))
        moved = float(np.abs(fit.at(position) - _known(calibration, position)).max())
        calibration = recalibrated(calibration, fit)
        recorded = [sweeps.with_calibration(calibration) for sweeps in recorded]
        if moved < SETTLED * calibration.sweep.range_diopters:
            break
    return calibration, recorded


def _delayed(calibration: Calibration, later_us: int) -> Calibration:
    key = "start_us" if calibration.sweep.sync == "clock" else "delay_us"
    update = {key: getattr(calibration.sweep, key) + later_us}
    return calibration.model_copy(update={"sweep": calibration.sweep.model_copy(update=update)})


def _known(calibration: Calibration, position: np.ndarray) -> np.ndarray:
    """Focus in 1/m at positions in a calibration's range."""
    return calibration.sweep.far_diopters + position * calibration.sweep.range_diopters


def _seen(sweeps: TargetSweeps, *, corrected: bool) -> Sighting:
    """Measure where a target is in focus.

    Raises:
        CalibrationError: the focus does not pass it, or there is no clear focus.
    """
    sighting = sight(sweeps, corrected=corrected)
    settings = sweeps.sweeps[0].calibration.sweep
    if not 0.02 < sighting.position < 0.98:
        end, diopters = ("far", settings.far_diopters) if sighting.position < 0.5 else ("near", settings.near_diopters)
        raise CalibrationError(
            f"{sweeps.target}: the focus does not pass the target, which is beyond or too near the {end} end of the "
            f"sweep ({diopters:.3g} 1/m); use a distance well inside the range"
        )
    if sighting.contrast < MIN_CONTRAST:
        raise CalibrationError(
            f"{sweeps.target}: nowhere in the sweep is the target clearly in focus (contrast {sighting.contrast:.2f}, "
            f"{MIN_CONTRAST} is needed); use finer texture, more light, and keep everything still"
        )
    return sighting


def _breathing(sightings: Sequence[Sighting], before: Calibration, after: Calibration) -> tuple[Breathing, float, bool]:
    """Breathing from the image's growth over the range; its standard error in magnification; whether the centre is
    known.

    A growth γ relative to the size at mid-range is s · Δ / (1 + s · Δ/2); a drift d of the image's middle gives the
    centre by γ (middle − centre) = d.
    """
    camera = before.camera
    stretch = after.sweep.range_diopters / before.sweep.range_diopters
    growths = np.array([s.growth for s in sightings]) * stretch
    drift = np.median([s.drift for s in sightings], axis=0) * stretch
    growth = float(np.median(growths))
    spread = 1.4826 * float(np.median(np.abs(growths - growth))) / len(growths) ** 0.5
    middle = np.array([camera.width, camera.height]) / 2
    scale = growth / after.sweep.range_diopters / (1 - growth / 2)
    known = abs(growth) * float(np.hypot(*middle)) > CENTRE_PX
    centre = middle - drift / growth if known else np.array([camera.cx, camera.cy])
    known = known and bool(np.all(np.abs(centre - middle) < 2 * middle))
    if not known:
        centre = np.array([camera.cx, camera.cy])
    x, y = (round(float(value), 2) for value in centre)
    return Breathing(scale_per_diopter=round(scale, 6), center=(x, y)), spread, known


def _judge(
    calibration: Calibration,
    targets: Sequence[Target],
    position: np.ndarray,
    fit: CurveFit,
    magnification_spread: float,
    rest: Rest | None,
) -> tuple[Grade, tuple[str, ...]]:
    span = calibration.sweep.range_diopters
    part = np.abs(fit.residuals) / span
    worst = int(part.argmax())
    bad, usable = [], []
    if part[worst] > USABLE:
        bad.append(f"{targets[worst]} is {part[worst]:.1%} of the range off the fit: measure its distance again")
    elif part[worst] > GOOD:
        usable.append(f"{targets[worst]} is {part[worst]:.1%} of the range off the fit")
    if len({target.metres for target in targets}) <= fit.order + 1:
        usable.append("no distance is left to check the fit: record the target at one or two more")
    if np.ptp(position) < 0.4:
        usable.append(f"the targets span {np.ptp(position):.0%} of the sweep, so its ends are extrapolated")
    if fit.end_spread > GOOD * span:
        usable.append(f"an end of the sweep is uncertain by {fit.end_spread / span:.1%} of the range")
    if magnification_spread > GOOD_MAGNIFICATION:
        usable.append(f"the breathing differs between recordings by {magnification_spread:.2%} of magnification")
    if rest is not None and rest.fault:
        usable.append(rest.fault)
    return ("bad" if bad else "usable" if usable else "good"), (*bad, *usable)
