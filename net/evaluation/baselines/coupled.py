"""Depth from coupled optical differentiation: closed form, from four images, without a sweep.

Luo, Liu, Alexander and Guo, "Depth from Coupled Optical Differentiation", arXiv 2409.10725, IJCV 2025. A surface at
inverse depth u, with the focus at φ and an aperture of scale a, is blurred over a disc of signed size s = k·a·(φ − u),
k = fx·A. For any texture and aperture shape, the image depends on φ and a only through s: I = F(s). So

    ∂I/∂φ = F′(s)·k·a        ∂I/∂a = F′(s)·k·(φ − u)        u = φ − a·(∂I/∂a) / (∂I/∂φ)

for each pixel, without calibration of the blur. Both derivatives are differences of two images: one pair differs in
focus, the other in aperture. The ratio is the slope of a line through all pairs (∂I/∂φ, a·∂I/∂a) in a neighbourhood.
Since both have noise, the fit is a Deming regression rather than ordinary least squares, which would be biased towards
0; the noise is photon noise, so its ratio is known from the four apertures.

At the surface in focus F′ vanishes, so there is no answer; nor is there one far out of focus, where texture vanishes.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

from ....capture.calibration import Calibration
from ....capture.files.photographs import Photographs
from ...blur import gaussian_blur
from ...breathing import correct_breathing
from ...cases import Case, NotApplicable
from ...estimate import Estimate

WINDOW_PX = 4.0
"""Standard deviation of the Gaussian neighbourhood of constant depth, in pixels."""

INFLATION = 2.5
"""Factor on the deviations from independent noise: larger than 1, since errors of neighbours are correlated at depth
edges and by the interpolation that corrects breathing."""

LEAST_STD = 0.01
"""Lower bound on the deviation, as a fraction of the sweep range, for the error of finite differences."""

MAX_STD = 0.15
"""Largest deviation of an answer, as a fraction of the sweep range."""


@dataclass(frozen=True)
class CoupledDifferentiation:
    """Depth from the two pairs of images in `Case.aperture_pair`."""

    @property
    def name(self) -> str:
        return "coupled"

    def __call__(self, case: Case) -> Estimate:
        if case.aperture_pair is None:
            raise NotApplicable(
                f"{case.recording}: holds no aperture_pair; render with intensity.aperture_pair = true to have it"
            )
        return depth_from_coupled(case.aperture_pair, case.calibration)


def depth_from_coupled(pair: Photographs, calibration: Calibration) -> Estimate:
    """Estimate depth where both derivatives are above noise and give a position in the sweep; NaN elsewhere."""
    images = correct_breathing(pair.images, pair.diopters, calibration, order=3)
    focus, scale = pair.diopters, pair.aperture_scale
    middle, mean_scale = float(focus[2:].mean()), float(scale[2:].mean())
    by_focus = (images[0] - images[1]) / (focus[0] - focus[1])
    by_aperture = (images[2] - images[3]) / (scale[2] - scale[3]) * mean_scale
    # Light is proportional to the squared aperture, and the variance of a normalised image inversely so.
    noise_focus = (1 / scale[:2] ** 2).sum() / (focus[0] - focus[1]) ** 2
    noise_aperture = (1 / scale[2:] ** 2).sum() * (mean_scale / (scale[2] - scale[3])) ** 2
    unit = float(np.sqrt(noise_aperture / noise_focus))  # 1/m: scales both to the same noise
    by_aperture /= unit

    usable = ~_saturated(pair.images)
    products = np.stack([by_focus**2, by_focus * by_aperture, by_aperture**2, np.ones_like(by_focus)]) * usable
    ff, fa, aa, share = gaussian_blur(products.astype(np.float32), WINDOW_PX).astype(np.float64)
    angle = np.arctan2(2 * fa, ff - aa) / 2  # of the line, within ±90°
    middle_energy, half_spread = (ff + aa) / 2, np.hypot((ff - aa) / 2, fa)
    along, across = middle_energy + half_spread, np.maximum(middle_energy - half_spread, 0)
    independent = 4 * np.pi * WINDOW_PX**2 * share
    with np.errstate(divide="ignore", invalid="ignore"):
        angle_std = INFLATION * np.sqrt(along * across / independent) / (along - across)
    diopters = middle - unit * np.tan(angle)
    sweep = calibration.sweep
    std = np.hypot(unit * angle_std / np.cos(angle) ** 2, LEAST_STD * sweep.range_diopters)
    beyond = np.maximum(sweep.far_diopters - diopters, diopters - sweep.near_diopters)
    known = (std <= MAX_STD * sweep.range_diopters) & (beyond <= std)
    diopters = np.clip(diopters, sweep.far_diopters, sweep.near_diopters)
    return Estimate(
        np.where(known, diopters, np.nan).astype(np.float32),
        np.where(known, std, np.nan).astype(np.float32),
        float("nan"),
    )


def _saturated(images: np.ndarray) -> np.ndarray:
    """(H, W) bool: pixels at or near saturated ones in any image, recognised by many equal values."""
    full = images == images.max(axis=(1, 2), keepdims=True)
    full &= full.sum(axis=(1, 2), keepdims=True) > 1
    return binary_dilation(full.any(axis=0), np.ones((7, 7)))
