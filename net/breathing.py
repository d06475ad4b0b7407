"""Undoing lens breathing in images: each brought into the geometry of the far end."""

import numpy as np
from scipy.ndimage import map_coordinates

from ..capture.calibration import Calibration
from ..capture.optics import breathing_magnification


def undo_breathing(
    images: np.ndarray,  # (N, H, W) float32, as the lens made them
    diopters: np.ndarray,  # (N,) focus of each, 1/m
    calibration: Calibration,
    order: int,  # of the splines that interpolate between pixels
) -> np.ndarray:
    """(N, H, W) float32: what each image has at `centre + m(φ)(p − centre)` for the pixel p; beyond its border, the
    border's value."""
    breathing = calibration.breathing
    if breathing is None or breathing.scale_per_diopter == 0:
        return images
    height, width = images.shape[1:]
    magnification = breathing_magnification(diopters, calibration.sweep.far_diopters, breathing.scale_per_diopter)
    cx, cy = (centre - 0.5 for centre in breathing.center)  # in indices: pixel (x, y) has its centre at +0.5
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack(
        [
            map_coordinates(image, (cy + m * (y - cy), cx + m * (x - cx)), order=order, mode="nearest")
            for image, m in zip(images, magnification, strict=True)
        ]
    )
