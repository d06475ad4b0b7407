"""Thin-lens optics in diopters: the working coordinate of the whole house.

Everything is linear there: a surface at inverse depth 1/z, seen with the focus at φ, is blurred over a disc of
diameter `fx · A · |φ − 1/z|` pixels, where A is the diameter of the entrance pupil in metres. That is the thin-lens
circle of confusion (Hecht, Optics, 5th ed., §5.2–5.3) with the image-side distance held at `fx` pixels.
"""

import numpy as np
from numpy.typing import ArrayLike


def aperture_m(focal_length_mm: float, f_number: float) -> float:
    """Diameter of the entrance pupil in metres: focal length over f-number."""
    return focal_length_mm * 1e-3 / f_number


def to_diopters(depth_m: ArrayLike) -> np.ndarray:
    """Inverse depth in 1/m; NaN stays NaN and infinity becomes 0."""
    with np.errstate(divide="ignore"):
        return np.reciprocal(np.asarray(depth_m, dtype=np.result_type(depth_m, np.float32)))


def to_metres(diopters: ArrayLike) -> np.ndarray:
    """Depth in metres of inverse depths in 1/m; NaN stays NaN, zero and less become infinity."""
    diopters = np.asarray(diopters, dtype=np.result_type(diopters, np.float32))
    with np.errstate(divide="ignore"):
        return np.where(diopters <= 0, np.inf, np.reciprocal(diopters)).astype(diopters.dtype)


def blur_diameter_px(
    focus_diopters: ArrayLike,  # φ, 1/m
    surface_diopters: ArrayLike,  # 1/z, 1/m
    fx: float,  # pixels
    aperture: float,  # metres
) -> np.ndarray:
    """Diameter of the blur disc in pixels: `fx · A · |φ − 1/z|`."""
    return fx * aperture * np.abs(np.asarray(focus_diopters) - np.asarray(surface_diopters))


def breathing_magnification(
    focus_diopters: ArrayLike,  # φ, 1/m
    far_diopters: float,
    scale_per_diopter: float,
) -> np.ndarray:
    """Magnification relative to the far end: `m(φ) = 1 + s · (φ − far)`.

    A point at p at the far end appears at `centre + m(φ) · (p − centre)`; undoing divides by m.
    """
    return 1.0 + scale_per_diopter * (np.asarray(focus_diopters) - far_diopters)
