"""The light field: pinhole views over the lens aperture, from which images at any focus can be computed.

A thin lens averages over its aperture: each point of it is a pinhole camera, and focusing shifts these views relative
to each other before they are added (Ng et al., "Light field photography with a hand-held plenoptic camera", 2005, §4).
So the views are rendered once, and the image at any focus is a sum of shifted views.
"""

import math
from dataclasses import dataclass

import numpy as np

from ...capture.calibration import Calibration
from ...capture.optics import breathing_magnification

GOLDEN_ANGLE = math.pi * (3 - math.sqrt(5))
PLASTIC_NUMBER = 1.324717957244746  # the real root of x³ = x + 1, of the R2 sequence (Roberts 2018)


@dataclass(frozen=True)
class LightField:
    """K pinhole views of one scene, its depth, and the all-in-focus image.

    A surface of inverse depth δ at image position p in the centre view appears in view k at `p − fx · offsets[k] · (δ −
    reference_diopters)`. Element [i, j] of view k is the radiance at image position `(j + 0.5 − margin, i + 0.5 −
    margin) + jitter[k]`. The jitter differs between views, so that together they sample between the pixels, equally at
    every focus.

    Invariant: offsets are ordered from the centre of the aperture outwards, and represent equal parts of its area.
    """

    views: np.ndarray  # (K, H + 2·margin, W + 2·margin) float32, linear radiance
    offsets: np.ndarray  # (K, 2) float64, metres in the aperture plane, x to the right, y down
    jitter: np.ndarray  # (K, 2) float64, pixels, within ±0.5
    margin: int  # pixels around the frame
    reference_diopters: float  # where the views coincide, 1/m
    depth: np.ndarray  # (H, W) float32, metres along Z at pixel centres of the centre view
    intensity: np.ndarray  # (H, W) float32, linear radiance of the centre view: all in focus

    @property
    def nbytes(self) -> int:
        """Size of the arrays in bytes."""
        return self.views.nbytes + self.depth.nbytes + self.intensity.nbytes


def aperture_offsets(n_views: int, aperture_m: float) -> np.ndarray:
    """Points (K, 2) in metres, spread evenly over a disc and ordered by distance from its centre.

    A sunflower spiral (Vogel 1979): point i represents the ring between the fractions i/K and (i + 1)/K of the area, so
    the first points cover a smaller aperture just as evenly, and the second moment is that of the disc.
    """
    i = np.arange(n_views)
    radius = aperture_m / 2 * np.sqrt((i + 0.5) / n_views)
    return np.stack([radius * np.cos(GOLDEN_ANGLE * i), radius * np.sin(GOLDEN_ANGLE * i)], axis=1)


def grid_jitter(n_views: int) -> np.ndarray:
    """Offsets (K, 2) in pixels of the views' sampling grids, uniform over ±0.5: the R2 low-discrepancy sequence."""
    steps = np.array([1 / PLASTIC_NUMBER, 1 / PLASTIC_NUMBER**2])
    return (0.5 + np.arange(1, n_views + 1)[:, None] * steps) % 1.0 - 0.5


def view_weights(n_views: int, aperture_scale: float) -> np.ndarray:
    """Weights of the views (K,), with sum 1, for an aperture stopped down to a fraction of its diameter.

    The ring at the new rim is weighted by its part inside, so that images change smoothly with the scale.
    """
    if not 0 < aperture_scale <= 1:
        raise ValueError(f"aperture_scale ({aperture_scale}) must be above 0 and at most 1, the rendered aperture")
    inside = np.clip(aperture_scale**2 * n_views - np.arange(n_views), 0.0, 1.0)
    return inside / inside.sum()


def greatest_blur_px(calibration: Calibration, depth: np.ndarray) -> float:
    """The largest blur diameter, in pixels, of any surface of a depth image (metres) at any focus of the sweep."""
    sweep = calibration.sweep
    with np.errstate(divide="ignore"):
        diopters = 1.0 / depth[~np.isnan(depth)].astype(np.float64)
    away = max(sweep.near_diopters - diopters.min(), diopters.max() - sweep.far_diopters, sweep.range_diopters)
    return float(calibration.camera.fx * calibration.lens.aperture_m * away)


def views_for_blur(blur_px: float, spacing_px: float) -> int:
    """Number of views for which neighbours in a blur disc are at most `spacing_px` apart.

    Each view represents an equal part of the disc's area; in a spiral, nearest neighbours are at most about as far
    apart as the edge of a square of that area.
    """
    return max(1, math.ceil(math.pi / 4 * (blur_px / spacing_px) ** 2))


def margin_for(calibration: Calibration) -> int:
    """Margin in pixels that views need for all shifts, including jitter, interpolation and breathing."""
    camera, sweep, breathing = calibration.camera, calibration.sweep, calibration.breathing
    reach = max(camera.fx, camera.fy) * calibration.lens.aperture_m / 2 * sweep.range_diopters / 2
    if breathing is not None:
        shrunk = breathing_magnification(sweep.near_diopters, sweep.far_diopters, breathing.scale_per_diopter)
        cx, cy = breathing.center
        farthest = max(abs(cx), abs(camera.width - cx), abs(cy), abs(camera.height - cy))
        reach += max(0.0, (1.0 / float(shrunk) - 1.0) * farthest)
    return math.floor(reach + 0.5) + 2
