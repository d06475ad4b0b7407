"""The trivial baseline: a constant inverse depth."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from ....capture.optics import to_diopters
from ...cases import Case
from ...estimate import Estimate

UNIFORM_STD = 1 / math.sqrt(12)
"""Standard deviation of a uniform distribution, relative to its width."""


@dataclass(frozen=True)
class Constant:
    """The same position in the sweep range for every pixel: by default its middle, with the deviation of a uniform
    guess."""

    position: float = 0.5  # 0: far end, 1: near end
    spread: float = UNIFORM_STD  # standard deviation, as a fraction of the sweep range

    @property
    def name(self) -> str:
        return "constant"

    def __call__(self, case: Case) -> Estimate:
        sweep = case.calibration.sweep
        diopters = sweep.far_diopters + self.position * sweep.range_diopters
        return Estimate(
            np.full(case.truth.shape, diopters, np.float32),
            np.full(case.truth.shape, self.spread * sweep.range_diopters, np.float32),
            float("nan"),
        )


def fit_constant(cases: Iterable[Case]) -> Constant:
    """Fit the constant to cases: mean and deviation of the positions of all surfaces inside the range.

    Raises:
        ValueError: no case has a surface inside its sweep range.
    """
    count, total, squares = 0, 0.0, 0.0
    for case in cases:
        sweep = case.calibration.sweep
        position = (to_diopters(case.truth.astype(np.float64)) - sweep.far_diopters) / sweep.range_diopters
        inside = position[(position >= 0) & (position <= 1)]
        count += inside.size
        total += float(inside.sum())
        squares += float((inside**2).sum())
    if count == 0:
        raise ValueError("no case has a surface inside the sweep range; there is nothing to fit a constant to")
    mean = total / count
    return Constant(mean, math.sqrt(max(squares / count - mean**2, 0.0)))
