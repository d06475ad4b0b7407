"""Risk against coverage: errors of the most certain pixels, compared with an ideal ranking by the true error.

The area between both curves measures the ranking by predicted uncertainty, while `breakdown` measures its size: Lind et
al., "Uncertainty quantification metrics for deep regression", arXiv 2405.04278.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PARTS = 20
"""Points of a curve: the most certain 1/20 of the pixels, 2/20, … all."""


@dataclass(frozen=True)
class Risk:
    """Mean |error| of the most certain pixels, as a fraction of the sweep range; NaN without pixels."""

    curve: tuple[float, ...]  # ranked by the predicted deviation
    oracle: tuple[float, ...]  # ranked by the error itself

    @property
    def ause(self) -> float:
        """Area under the sparsification error: between both curves, relative to the mean error over all pixels."""
        gap = np.array(self.curve) - np.array(self.oracle)
        return float(gap.mean() / self.curve[-1]) if self.curve[-1] > 0 else 0.0

    def surest(self, share: float) -> float:
        """Mean error of this fraction of the pixels, a multiple of 1/20."""
        return self.curve[round(share * PARTS) - 1]


def risk_of(
    error: np.ndarray,  # (H, W) of the sweep range, NaN where not scored
    std: np.ndarray,  # (H, W) predicted
) -> Risk:
    """Compute the curves of one estimate; ties keep the pixel order."""
    scored = np.isfinite(error) & np.isfinite(std)
    size, stated = np.abs(error[scored]).astype(np.float64), std[scored]
    if not size.size:
        return Risk(*((float("nan"),) * PARTS,) * 2)
    ends = np.maximum(np.round(np.arange(1, PARTS + 1) / PARTS * size.size).astype(int), 1)

    def curve(order: np.ndarray) -> tuple[float, ...]:
        return tuple((np.cumsum(size[order])[ends - 1] / ends).tolist())

    return Risk(curve(np.argsort(stated, kind="stable")), curve(np.argsort(size, kind="stable")))


def mean_risk(parts: Sequence[Risk]) -> Risk:
    """Pointwise mean, skipping frames without pixels."""

    def mean(curves: list[tuple[float, ...]]) -> tuple[float, ...]:
        known = np.array([curve for curve in curves if np.isfinite(curve[-1])])
        return tuple(known.mean(axis=0).tolist()) if len(known) else (float("nan"),) * PARTS

    return Risk(mean([part.curve for part in parts]), mean([part.oracle for part in parts]))
