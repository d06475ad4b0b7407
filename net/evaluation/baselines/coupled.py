"""Depth from coupled optical differentiation: closed form, four images, no sweep.

Luo, Liu, Alexander and Guo, "Depth from Coupled Optical Differentiation", arXiv 2409.10725, IJCV 2025. A surface at
inverse depth u, seen with the focus at φ through an aperture of scale a, is blurred over a disc of the signed size
s = k·a·(φ − u), k = fx·A. Whatever the texture and the shape of the aperture, its image depends on φ and a through s
alone: I = F(s). So

    ∂I/∂φ = F′(s)·k·a        ∂I/∂a = F′(s)·k·(φ − u)        u = φ − a·(∂I/∂a) / (∂I/∂φ)

pixel by pixel, without any calibration of the blur. Both derivatives are differences of two images: one pair differs
in focus, the other in aperture. The ratio is that of the line through all pairs (∂I/∂φ, a·∂I/∂a) in a neighbourhood.
Both are noisy, so the line is that of least distance and not of least ordinates, which would be drawn towards 0
(Deming regression); noise being that of photons, its ratio is known from the four apertures.

Where the surface is in focus F′ vanishes, and with it the answer; far out of focus, so does the texture.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import binary_dilation

from ....capture.calibration import Calibration
from ....capture.files.dataset import AperturePair
from ...blur import gaussian_blur
from ...breathing import undo_breathing
from ...cases import Case, NotApplicable
from ...estimate import Estimate

WINDOW_PX = 4.0
"""Pixels share a depth within a Gaussian of this width."""

INFLATION = 2.5
"""Stated deviations over those of independent noise; more than 1 since neighbours err together: at edges of depth,
and where an image that was moved to undo breathing is interpolated."""

LEAST_STD = 0.01
"""Least deviation, of the sweep range: differences of images are not quite derivatives."""

MAX_STD = 0.15
"""Deviation, of the sweep range, above which there is no answer."""


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


def depth_from_coupled(pair: AperturePair, calibration: Calibration) -> Estimate:
    """Depth where both derivatives stand out of their noise and agree on a place in the sweep, unknown elsewhere."""
    images = undo_breathing(pair.images, pair.diopters, calibration, order=3)
    focus, scale = pair.diopters, pair.aperture_scale
    middle, mean_scale = float(focus[2:].mean()), float(scale[2:].mean())
    by_focus = (images[0] - images[1]) / (focus[0] - focus[1])
    by_aperture = (images[2] - images[3]) / (scale[2] - scale[3]) * mean_scale
    # Light grows with the square of the aperture, the variance of a normalised image falls with it.
    noise_focus = (1 / scale[:2] ** 2).sum() / (focus[0] - focus[1]) ** 2
    noise_aperture = (1 / scale[2:] ** 2).sum() * (mean_scale / (scale[2] - scale[3])) ** 2
    unit = float(np.sqrt(noise_aperture / noise_focus))  # 1/m: brings both to the same noise
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
    """(H, W) bool: pixels at or near one that overflowed in any image; there, and only there, many are alike."""
    full = images == images.max(axis=(1, 2), keepdims=True)
    full &= full.sum(axis=(1, 2), keepdims=True) > 1
    return binary_dilation(full.any(axis=0), np.ones((7, 7)))
