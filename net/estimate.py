"""The interface of estimators: an event focal stack in, depth with uncertainty out."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from ..capture.optics import to_metres
from ..capture.stack import EventFocalStack, Polarity
from .distribution import Distribution

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Estimate:
    """Inverse depth of one sweep, in the geometry of the far end.

    Attributes:
        diopters: (H, W) float32, 1/m, NaN where unknown.
        std: (H, W) float32, one standard deviation in 1/m, NaN where unknown.
        quality: 0 to 1, how well the events fit a focal sweep over a static scene; NaN without evidence.
        distribution: over candidate distances, if the estimator provides one, else None.
    """

    diopters: np.ndarray  # (H, W) float32, 1/m, NaN where unknown
    std: np.ndarray  # (H, W) float32, one standard deviation in 1/m, NaN where unknown
    quality: float  # 0 to 1: how well the events fit a focal sweep over a static scene; NaN without evidence
    distribution: Distribution | None = None  # over candidate distances

    @property
    def depth(self) -> np.ndarray:
        """(H, W) float32, metres along Z, NaN where unknown."""
        return to_metres(self.diopters)

    def __repr__(self) -> str:
        height, width = self.diopters.shape
        known = np.isfinite(self.diopters)
        middle = f", median {1 / np.median(self.diopters[known]):.3g} m" if known.any() else ""
        return f"Estimate({width}×{height}, {100 * known.mean():.0f} % known{middle}, quality {self.quality:.2f})"

    def picture(self, path: str | Path) -> None:
        """Save a picture of depth and its standard deviation.

        Args:
            path: .png, .pdf, .svg or .jpg.

        Raises:
            RecordingError: the suffix is another, or the file cannot be written.
        """
        from ..capture.reporting.figures import save_figure

        save_figure(self._figure(), path)

    def _repr_png_(self) -> bytes:
        """Picture for notebooks: depth and its deviation."""
        from ..capture.reporting.figures import figure_png

        return figure_png(self._figure())

    def _figure(self) -> "Figure":
        from ..capture.reporting.figures import estimate_figure

        known = self.diopters[np.isfinite(self.diopters)]
        far, near = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
        return estimate_figure(self.depth, self.std, far, max(near, far + 1e-3))


class Estimator(Protocol):
    """Computes depth from the stack of one sweep; `bins` and `polarity` specify the stack it needs."""

    @property
    def name(self) -> str: ...

    @property
    def bins(self) -> int: ...

    @property
    def polarity(self) -> Polarity: ...

    def __call__(self, stack: EventFocalStack) -> Estimate:
        """Estimate depth from a stack with these `bins` and `polarity`."""
        ...
