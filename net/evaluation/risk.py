"""Risk: how large the errors of the surest pixels are, and how much better a perfect judge of errors would choose them.

Uncertainty is judged by whether its order is right (the area between both curves) as well as by its size (`breakdown`):
Lind et al., "Uncertainty quantification metrics for deep regression", arXiv 2405.04278.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

PARTS = 20
"""Points of a curve: the surest 1/20 of the pixels, 2/20, … all."""


@dataclass(frozen=True)
class Risk:
    """Mean |error|, of the sweep range, of the surest part of the pixels; NaN where there are none."""

    curve: tuple[float, ...]  # by the stated deviation
    oracle: tuple[float, ...]  # by the error itself

    @property
    def ause(self) -> float:
        """Area under the sparsification error: between both curves, relative to the mean error of all pixels."""
        gap = np.array(self.curve) - np.array(self.oracle)
        return float(gap.mean() / self.curve[-1]) if self.curve[-1] > 0 else 0.0

    def surest(self, share: float) -> float:
        """Mean error of this share of the pixels, a multiple of 1/20."""
        return self.curve[round(share * PARTS) - 1]


def risk_of(
    error: np.ndarray,  # (H, W) of the sweep range, NaN where not scored
    std: np.ndarray,  # (H, W) stated
) -> Risk:
    """The curves of one answer. Pixels of equal deviation keep the order of the image."""
    scored = np.isfinite(error) & np.isfinite(std)
    size, stated = np.abs(error[scored]).astype(np.float64), std[scored]
    if not size.size:
        return Risk(*((float("nan"),) * PARTS,) * 2)
    ends = np.maximum(np.round(np.arange(1, PARTS + 1) / PARTS * size.size).astype(int), 1)

    def curve(order: np.ndarray) -> tuple[float, ...]:
        return tuple((np.cumsum(size[order])[ends - 1] / ends).tolist())

    return Risk(curve(np.argsort(stated, kind="stable")), curve(np.argsort(size, kind="stable")))


def mean_risk(parts: Sequence[Risk]) -> Risk:
    """Point by point mean; those without pixels are left out."""

    def mean(curves: list[tuple[float, ...]]) -> tuple[float, ...]:
        known = np.array([curve for curve in curves if np.isfinite(curve[-1])])
        return tuple(known.mean(axis=0).tolist()) if len(known) else (float("nan"),) * PARTS

    return Risk(mean([part.curve for part in parts]), mean([part.oracle for part in parts]))
