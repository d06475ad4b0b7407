"""Breakdown of errors by class of pixels, and calibration of the predicted deviations."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import distance_transform_edt

CLASSES = ("near depth edges", "textureless", "the rest")
"""Disjoint classes of pixels; a pixel belongs to the first one that applies."""

EDGE_STEP = 0.05
"""Difference of inverse depth between neighbours, as a fraction of the sweep range, that makes a depth edge."""

EDGE_REACH_PX = 3
"""Largest distance of pixels near an edge."""

TEXTURE_REACH_PX = 5
"""Pixels without an event within this distance are textureless."""

STD_EDGES = (0.0, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, np.inf)
"""Limits of the classes of predicted deviation, as fractions of the sweep range."""

NORMAL_WITHIN = (0.683, 0.954)
"""Fractions of a normal distribution within one and two standard deviations."""


@dataclass(frozen=True)
class ErrorBreakdown:
    """Error by class of pixels, in the order of CLASSES; NaN for classes without pixels."""

    pixels: tuple[float, ...]  # fraction of the scored pixels
    mae_range: tuple[float, ...]  # mean |error|, as a fraction of the sweep range
    squared: tuple[float, ...]  # fraction of the squared error


@dataclass(frozen=True)
class Reliability:
    """Predicted deviations and errors by class of predicted deviation (STD_EDGES), as sums that can be added over
    frames."""

    pixels: tuple[int, ...]
    squared_std: tuple[float, ...]  # sum over pixels, of the sweep range squared
    squared_error: tuple[float, ...]  # the same for errors
    within: tuple[int, int]  # pixels whose error is less than one and two deviations

    @property
    def within_shares(self) -> tuple[float, float]:
        """Fractions of errors within one and two predicted deviations; NORMAL_WITHIN for calibrated normal errors."""
        total = sum(self.pixels)
        return (self.within[0] / total, self.within[1] / total) if total else (float("nan"), float("nan"))

    @property
    def calibration_error(self) -> float:
        """Mean difference of predicted and actual RMS error over the classes, as a fraction of the sweep range."""
        rows = self.table
        return sum(share * abs(stated - seen) for _, _, share, stated, seen in rows) if rows else float("nan")

    @property
    def table(self) -> list[tuple[float, float, float, float, float]]:
        """For each class with pixels: its limits, fraction of pixels, RMS deviation and RMS error."""
        total = sum(self.pixels)
        return [
            (STD_EDGES[k], STD_EDGES[k + 1], n / total, (stated / n) ** 0.5, (seen / n) ** 0.5)
            for k, (n, stated, seen) in enumerate(zip(self.pixels, self.squared_std, self.squared_error, strict=True))
            if n
        ]


def classify(
    true_diopters: np.ndarray,  # (H, W) 1/m, NaN where unknown
    has_event: np.ndarray,  # (H, W) bool
    range_diopters: float,
) -> np.ndarray:
    """Class of every pixel as an index into CLASSES, (H, W) uint8."""
    near_edge = _near(_edges(true_diopters, EDGE_STEP * range_diopters), EDGE_REACH_PX)
    textured = _near(has_event, TEXTURE_REACH_PX)
    return np.where(near_edge, 0, np.where(textured, 2, 1)).astype(np.uint8)


def breakdown_of(
    error: np.ndarray,  # (H, W) of the sweep range, NaN where not scored
    classes: np.ndarray,  # (H, W) uint8, from `classify`
) -> ErrorBreakdown:
    """Split the error by class."""
    scored = np.isfinite(error)
    kind, size = classes[scored], np.abs(error[scored])
    count = np.bincount(kind, minlength=len(CLASSES))
    absolute = np.bincount(kind, size, len(CLASSES))
    squared = np.bincount(kind, size**2, len(CLASSES))
    with np.errstate(divide="ignore", invalid="ignore"):
        parts = count / count.sum(), absolute / count, squared / squared.sum()
    return ErrorBreakdown(*(tuple(part.tolist()) for part in parts))


def mean_breakdown(breakdowns: Sequence[ErrorBreakdown]) -> ErrorBreakdown:
    """Mean for each class over the breakdowns that have it."""

    def mean(columns: list[tuple[float, ...]]) -> tuple[float, ...]:
        table = np.array(columns)
        known = np.isfinite(table)
        with np.errstate(invalid="ignore"):
            return tuple((np.where(known, table, 0).sum(axis=0) / known.sum(axis=0)).tolist())

    return ErrorBreakdown(
        mean([a.pixels for a in breakdowns]),
        mean([a.mae_range for a in breakdowns]),
        mean([a.squared for a in breakdowns]),
    )


def reliability_of(
    error: np.ndarray,  # (H, W) of the sweep range, NaN where not scored
    std: np.ndarray,  # (H, W) of the sweep range
) -> Reliability:
    """Compare errors with their predicted deviations."""
    scored = np.isfinite(error) & np.isfinite(std)
    size, stated = np.abs(error[scored]).astype(np.float64), std[scored].astype(np.float64)
    part = np.searchsorted(STD_EDGES, stated, side="right") - 1
    count = len(STD_EDGES) - 1
    return Reliability(
        tuple(np.bincount(part, minlength=count).tolist()),
        tuple(np.bincount(part, stated**2, count).tolist()),
        tuple(np.bincount(part, size**2, count).tolist()),
        (int((size < stated).sum()), int((size < 2 * stated).sum())),
    )


def total_reliability(parts: Sequence[Reliability]) -> Reliability:
    """Sum over all frames."""

    def total(rows: list[tuple]) -> tuple:
        return tuple(np.sum(rows, axis=0).tolist())

    return Reliability(
        total([p.pixels for p in parts]),
        total([p.squared_std for p in parts]),
        total([p.squared_error for p in parts]),
        total([p.within for p in parts]),
    )


def _edges(diopters: np.ndarray, step: float) -> np.ndarray:
    """(H, W) bool: pixels on both sides of a step in inverse depth."""
    edges = np.zeros(diopters.shape, bool)
    across = np.abs(np.diff(diopters, axis=1)) > step
    down = np.abs(np.diff(diopters, axis=0)) > step
    edges[:, :-1] |= across
    edges[:, 1:] |= across
    edges[:-1] |= down
    edges[1:] |= down
    return edges


def _near(marked: np.ndarray, reach_px: int) -> np.ndarray:
    """(H, W) bool: pixels within a distance of a marked one."""
    if not marked.any():
        return marked
    return distance_transform_edt(~marked) <= reach_px
