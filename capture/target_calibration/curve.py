"""Fits the focus curve to the measured targets: corrected ends of the sweep or, if needed, a measured curve."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..calibration import Calibration, MeasuredCurve
from ..errors import CalibrationError
from .targets import Target

FITS = 0.006
"""Largest RMS residual, as a fraction of the range, for which the waveform's own curve is kept."""

BETTER = 0.5
"""A curve of higher order must reduce the leave-one-out error of the targets to this fraction or less."""

MAX_ORDER = 3
CURVE_POINTS = 17
POSITION_NOISE = 0.003
"""Lower bound on the standard error of a target's position, as a fraction of the range."""


@dataclass(frozen=True)
class CurveFit:
    """Fitted focus in 1/m as a function of position, which is 0 to 1 in the initial calibration's range."""

    coefficients: np.ndarray  # of a polynomial, constant first
    residuals: np.ndarray  # (N,) 1/m, measured less fitted
    end_spread: float  # standard error of the worse end, 1/m

    @property
    def order(self) -> int:
        return len(self.coefficients) - 1

    def at(self, position: np.ndarray) -> np.ndarray:
        """1/m at positions."""
        return np.polynomial.polynomial.polyval(position, self.coefficients)


def check_order(targets: Sequence[Target], position: np.ndarray) -> None:
    """Check that nearer targets come into focus nearer.

    Raises:
        CalibrationError: two contradict each other.
    """
    order = sorted(range(len(targets)), key=lambda i: -targets[i].metres)
    for i, j in pairwise(order):
        if targets[j].metres < targets[i].metres and position[j] <= position[i]:
            raise CalibrationError(
                f"{targets[i]} and {targets[j]}: the nearer one comes into focus farther away (at {position[j]:.0%} of "
                f"the sweep, the other at {position[i]:.0%}); check the distances, and that rising edges mark the far "
                "end"
            )


def fit_curve(targets: Sequence[Target], position: np.ndarray, spread: np.ndarray) -> CurveFit:
    """Fit the simplest adequate curve to all targets.

    Raises:
        CalibrationError: the fit is not monotone: see `check_order`.
    """
    check_order(targets, position)
    diopters = np.array([target.diopters for target in targets])
    weight = 1 / np.hypot(spread, POSITION_NOISE)
    best = _fit(position, diopters, weight, 1)
    distinct = len(np.unique(diopters))
    scale = max(float(best.coefficients[1]), 1e-9)
    if float(np.sqrt(np.mean(best.residuals**2))) > FITS * scale:
        wanted = BETTER * _left_out_error(position, diopters, weight, 1)
        for order in range(2, min(MAX_ORDER, distinct - 2) + 1):
            bent = _fit(position, diopters, weight, order)
            rises = np.all(np.diff(bent.at(np.linspace(0, 1, 101))) > 0)
            if rises and _left_out_error(position, diopters, weight, order) < wanted:
                best, wanted = bent, BETTER * _left_out_error(position, diopters, weight, order)
    return best


def recalibrated(calibration: Calibration, fit: CurveFit) -> Calibration:
    """The calibration with the fitted focus range and curve.

    Raises:
        CalibrationError: the far end would lie beyond infinity by more than the uncertainty of the fit.
    """
    far, near = (float(end) for end in fit.at(np.array([0.0, 1.0])))
    allowed = 2 * fit.end_spread + 0.01 * (near - far)
    if far < -allowed:
        raise CalibrationError(
            f"the targets put the far end of the sweep at {far:.3f} 1/m, beyond infinity; check the distances, or "
            "let the lens begin its sweep nearer"
        )
    far = max(far, 0.0)
    settings = calibration.sweep
    curve = None
    if fit.order > 1 or calibration.focus_curve is not None:
        phase = np.linspace(0, 1, CURVE_POINTS)
        focus = fit.at((calibration.focus_at(phase) - settings.far_diopters) / settings.range_diopters)
        focus[0], focus[-1] = far, near
        curve = MeasuredCurve(phase=tuple(phase.tolist()), diopters=tuple(np.round(focus, 6).tolist()))
        far, near = curve.diopters[0], curve.diopters[-1]
    sweep = settings.model_copy(update={"far_diopters": far, "near_diopters": near})
    return calibration.model_copy(update={"sweep": sweep, "focus_curve": curve})


def _fit(position: np.ndarray, diopters: np.ndarray, weight: np.ndarray, order: int) -> CurveFit:
    design = np.polynomial.polynomial.polyvander(position, order)
    coefficients = np.linalg.lstsq(design * weight[:, None], diopters * weight, rcond=None)[0]
    residuals = diopters - design @ coefficients
    slope = abs(coefficients[1])
    freedom = len(diopters) - order - 1
    noise = (float(np.sum((residuals * weight) ** 2)) / freedom) ** 0.5 if freedom > 0 else 0.0
    covariance = np.linalg.pinv((design * weight[:, None]).T @ (design * weight[:, None])) * max(noise, slope) ** 2
    ends = np.polynomial.polynomial.polyvander(np.array([0.0, 1.0]), order)
    return CurveFit(coefficients, residuals, float(np.sqrt(np.max(np.sum(ends @ covariance * ends, axis=1)))))


def _left_out_error(position: np.ndarray, diopters: np.ndarray, weight: np.ndarray, order: int) -> float:
    """Leave-one-out RMS error of the targets, 1/m."""
    errors = []
    for i in range(len(position)):
        rest = np.arange(len(position)) != i
        fit = _fit(position[rest], diopters[rest], weight[rest], order)
        errors.append(float(fit.at(position[i : i + 1])[0]) - diopters[i])
    return float(np.sqrt(np.mean(np.square(errors))))
