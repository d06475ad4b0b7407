"""Thin-lens optics in diopters: the working coordinate of the whole house.

Everything is linear there: a surface at inverse depth 1/z, seen with the focus at φ, is blurred over a disc of
diameter `fx · A · |φ − 1/z|` pixels, where A is the diameter of the entrance pupil in metres. That is the thin-lens
circle of confusion (Hecht, Optics, 5th ed., §5.2–5.3) with the image-side distance held at `fx` pixels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

UNDISTORTING_STEPS = 30
"""Each takes off at least half of the error where distortion moves a ray by less than half of what it moves."""


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


def distorted(
    x: np.ndarray,  # x/z of a ray
    y: np.ndarray,  # y/z
    distortion: Sequence[float],  # k1, k2, p1, p2, k3
) -> tuple[np.ndarray, np.ndarray]:
    """Where a distorting lens shows a ray, in the same units, by the model of Brown (1966) as OpenCV writes it."""
    k1, k2, p1, p2, k3 = distortion
    r2 = x * x + y * y
    radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
    return (
        x * radial + 2 * p1 * x * y + p2 * (r2 + 2 * x * x),
        y * radial + p1 * (r2 + 2 * y * y) + 2 * p2 * x * y,
    )


def undistorted(
    x: np.ndarray,  # (px − cx)/fx of a pixel
    y: np.ndarray,  # (py − cy)/fy
    distortion: Sequence[float] | None,
) -> tuple[np.ndarray, np.ndarray]:
    """x/z and y/z of the ray that a distorting lens shows at a place: the inverse of `distorted`, by fixed point.

    It converges wherever the distortion is a map one to one with a slope below 2, as that of real lenses is in the
    image. None is no distortion.
    """
    if distortion is None:
        return x, y
    ray_x, ray_y = x, y
    for _ in range(UNDISTORTING_STEPS):
        shown_x, shown_y = distorted(ray_x, ray_y, distortion)
        ray_x, ray_y = ray_x + (x - shown_x), ray_y + (y - shown_y)
    return ray_x, ray_y
