"""Thin-lens optics in diopters, the working coordinate of the whole project.

Blur is linear in diopters: a surface at inverse depth 1/z, with the focus at φ, is blurred over a disc of diameter `fx
· A · |φ − 1/z|` pixels, where A is the diameter of the entrance pupil in metres. This is the thin-lens circle of
confusion (Hecht, Optics, 5th ed., §5.2–5.3) with the image distance held at `fx` pixels.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

UNDISTORTING_STEPS = 30
"""Each step at least halves the error where the distortion's slope is below one half."""


def aperture_m(focal_length_mm: float, f_number: float) -> float:
    """Diameter of the entrance pupil: focal length over f-number.

    Args:
        focal_length_mm: focal length in mm.
        f_number: f-number, focal length over the diameter of the entrance pupil.

    Returns:
        Diameter in metres.

    Examples:
        >>> round(aperture_m(12.0, 1.4), 5)
        0.00857
    """
    return focal_length_mm * 1e-3 / f_number


def to_diopters(depth_m: ArrayLike) -> np.ndarray:
    """Inverse depth.

    Args:
        depth_m: depth in metres, any shape.

    Returns:
        1/m, same shape, float32 or wider; NaN stays NaN and infinity becomes 0.

    Examples:
        >>> to_diopters([0.5, 2.0, np.inf])
        array([2. , 0.5, 0. ])
    """
    depth = np.asarray(depth_m)
    with np.errstate(divide="ignore"):
        return np.reciprocal(depth.astype(np.result_type(depth, np.float32), copy=False))


def to_metres(diopters: ArrayLike) -> np.ndarray:
    """Depth of inverse depths.

    Args:
        diopters: inverse depth in 1/m, any shape.

    Returns:
        Metres, same shape, float32 or wider; NaN stays NaN, zero and less become infinity.

    Examples:
        >>> to_metres([2.0, 0.5, 0.0])
        array([0.5, 2. , inf])
    """
    diopters = np.asarray(diopters)
    diopters = diopters.astype(np.result_type(diopters, np.float32), copy=False)
    with np.errstate(divide="ignore"):
        return np.where(diopters <= 0, np.inf, np.reciprocal(diopters)).astype(diopters.dtype)


def blur_diameter_px(
    focus_diopters: ArrayLike,  # φ, 1/m
    surface_diopters: ArrayLike,  # 1/z, 1/m
    fx: float,  # pixels
    aperture: float,  # metres
) -> np.ndarray:
    """Diameter of the blur disc: `fx · A · |φ − 1/z|`.

    Args:
        focus_diopters: φ, focus in 1/m.
        surface_diopters: 1/z, inverse depth of the surface in 1/m; broadcast against `focus_diopters`.
        fx: focal length in pixels.
        aperture: diameter of the entrance pupil in metres, as `aperture_m` gives it.

    Returns:
        Diameter in pixels, in the broadcast shape.

    Examples:
        A surface at 0.8 m, with the focus at 2 m:

        >>> round(float(blur_diameter_px(1 / 2.0, 1 / 0.8, fx=648.6, aperture=aperture_m(12.0, 1.4))), 2)
        4.17
    """
    return fx * aperture * np.abs(np.asarray(focus_diopters) - np.asarray(surface_diopters))


def breathing_magnification(
    focus_diopters: ArrayLike,  # φ, 1/m
    far_diopters: float,
    scale_per_diopter: float,
) -> np.ndarray:
    """Magnification relative to the far end: `m(φ) = 1 + s · (φ − far)`.

    A point at p at the far end appears at `centre + m(φ) · (p − centre)`; undoing divides by m.

    Args:
        focus_diopters: φ, focus in 1/m, any shape.
        far_diopters: focus at the far end of the sweep, 1/m.
        scale_per_diopter: s, change of magnification per diopter.

    Returns:
        Magnification, same shape.
    """
    return 1.0 + scale_per_diopter * (np.asarray(focus_diopters) - far_diopters)


def distorted(
    x: np.ndarray,  # x/z of a ray
    y: np.ndarray,  # y/z
    distortion: Sequence[float],  # k1, k2, p1, p2, k3
) -> tuple[np.ndarray, np.ndarray]:
    """Image position of a ray through a lens with distortion, by Brown's model (1966) in OpenCV's form.

    Args:
        x: x/z of rays, any shape.
        y: y/z of rays, same shape.
        distortion: k1, k2, p1, p2, k3.

    Returns:
        (px − cx)/fx and (py − cy)/fy of their pixels, same shape.
    """
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
    """Ray of an image position: the inverse of `distorted`, by fixed-point iteration.

    It converges where the distortion is injective with a slope below 2, which holds inside the image of real lenses.

    Args:
        x: (px − cx)/fx of pixels, any shape.
        y: (py − cy)/fy of pixels, same shape.
        distortion: k1, k2, p1, p2, k3; None is no distortion.

    Returns:
        x/z and y/z of the rays, same shape.
    """
    if distortion is None:
        return x, y
    ray_x, ray_y = x, y
    for _ in range(UNDISTORTING_STEPS):
        shown_x, shown_y = distorted(ray_x, ray_y, distortion)
        ray_x, ray_y = ray_x + (x - shown_x), ray_y + (y - shown_y)
    return ray_x, ray_y
