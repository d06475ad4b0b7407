"""Classical depth from focus: the focus at which each neighbourhood is sharpest.

Nayar and Nakagawa, "Shape from Focus", IEEE TPAMI 1994: the modified Laplacian |∂²I/∂x²| + |∂²I/∂y²| is summed over a
window (§IV), and a Gaussian is fitted through the three best images of the focal stack (§V), a parabola through the
logarithms. Here the stack is uniform in diopters, in which blur is symmetric about the surface, and the three images
are spaced such that blur differs by PEAK_BLUR_PX between them.
"""

from dataclasses import dataclass

import numpy as np

from ....capture.calibration import Calibration
from ....capture.optics import blur_diameter_px
from ...blur import gaussian_blur
from ...breathing import correct_breathing
from ...cases import Case, as_frames, frames_at_30_fps
from ...estimate import Estimate

WINDOW_PX = 2.5
"""Standard deviation of the Gaussian window for sharpness."""

PEAK_BLUR_PX = 1.0
"""Difference of blur between the three images that the peak is fitted to."""

CONTRAST_POWER = 20.0
"""The probability of a focus is taken as proportional to sharpness to this power, which calibrates deviations."""

MAX_STD = 0.15
"""Largest deviation of an answer, as a fraction of the sweep range."""


@dataclass(frozen=True)
class DepthFromFocus:
    """Depth from focus on a given number of intensity frames; None: 30 frames per second."""

    frames: int | None = None

    @property
    def name(self) -> str:
        return "focus, 30 fps" if self.frames is None else f"focus, {self.frames} frames"

    def __call__(self, case: Case) -> Estimate:
        frames, diopters = as_frames(case, self.frames or frames_at_30_fps(case))
        return depth_from_focus(frames, diopters, case.calibration)


def depth_from_focus(
    frames: np.ndarray,  # (N, H, W) float32, linear radiance
    diopters: np.ndarray,  # (N,) focus of each, 1/m, rising
    calibration: Calibration,
) -> Estimate:
    """Estimate depth where one of at least two frames is clearly the sharpest; NaN elsewhere.

    Raises:
        ValueError: fewer than two frames.
    """
    if len(frames) < 2:
        raise ValueError(f"depth from focus needs at least 2 frames, not {len(frames)}")
    # Summed sharpness is smooth, so interpolation to correct breathing is more accurate than in the images.
    summed = correct_breathing(gaussian_blur(sharpness(frames), WINDOW_PX), diopters, calibration, order=1)
    logarithm = np.log(np.maximum(summed, np.finfo(np.float32).tiny))
    best = logarithm.argmax(axis=0)
    peak = np.interp(_peak(logarithm, best, _stride(diopters, calibration)), np.arange(len(frames)), diopters)

    belief = np.exp(CONTRAST_POWER * (logarithm - logarithm.max(axis=0)))
    belief /= belief.sum(axis=0)
    spacing = (diopters[-1] - diopters[0]) / (len(frames) - 1)
    variance = (belief * (diopters[:, None, None] - peak) ** 2).sum(axis=0) + spacing**2 / 12
    std = np.sqrt(variance)
    known = std <= MAX_STD * calibration.sweep.range_diopters
    return Estimate(
        np.where(known, peak, np.nan).astype(np.float32),
        np.where(known, std, np.nan).astype(np.float32),
        float("nan"),
    )


def sharpness(frames: np.ndarray) -> np.ndarray:
    """Modified Laplacian of each image with mirrored borders, (N, H, W) float32."""
    padded = np.pad(frames, ((0, 0), (1, 1), (1, 1)), mode="symmetric")
    middle = 2 * frames
    across = middle - padded[:, 1:-1, :-2] - padded[:, 1:-1, 2:]
    down = middle - padded[:, :-2, 1:-1] - padded[:, 2:, 1:-1]
    return np.abs(across) + np.abs(down)


def _peak(logarithm: np.ndarray, best: np.ndarray, stride: int) -> np.ndarray:
    """Position of the peak among the frames, (H, W), by a parabola through three frames, `stride` apart.

    At the ends of the sweep, the three outermost frames are used, and the peak may be beyond them by up to a stride,
    but not beyond the end.
    """
    count = len(logarithm)
    if count < 3:
        return best.astype(np.float64)
    inner = np.clip(best, stride, count - 1 - stride)
    before, at, after = (np.take_along_axis(logarithm, inner[None] + k, axis=0)[0] for k in (-stride, 0, stride))
    curvature = 2 * at - before - after
    offset = np.divide(after - before, 2 * curvature, out=np.zeros_like(at), where=curvature > 1e-6)
    return np.where(curvature > 1e-6, inner + stride * np.clip(offset, -1, 1), best)


def _stride(diopters: np.ndarray, calibration: Calibration) -> int:
    """Number of frames over which blur differs by PEAK_BLUR_PX, limited so that three such frames exist."""
    per_frame = float(blur_diameter_px(diopters[1], diopters[0], calibration.camera.fx, calibration.lens.aperture_m))
    return int(np.clip(round(PEAK_BLUR_PX / per_frame), 1, max(1, (len(diopters) - 1) // 2)))
