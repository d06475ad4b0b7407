"""Corrects lens breathing in images, which are warped to the geometry of the far end."""

import numpy as np
from scipy.ndimage import map_coordinates

from ..capture.calibration import Calibration
from ..capture.optics import breathing_magnification


def correct_breathing(
    images: np.ndarray,  # (N, H, W) float32, as recorded
    diopters: np.ndarray,  # (N,) focus of each, 1/m
    calibration: Calibration,
    order: int,  # of the interpolating splines
) -> np.ndarray:
    """Sample each image at `centre + m(φ)(p − centre)` for pixel p, repeating the border. Returns (N, H, W) float32."""
    breathing = calibration.breathing
    if breathing is None or breathing.scale_per_diopter == 0:
        return images
    height, width = images.shape[1:]
    magnification = breathing_magnification(diopters, calibration.sweep.far_diopters, breathing.scale_per_diopter)
    cx, cy = (centre - 0.5 for centre in breathing.center)  # in array indices, since pixel centres are at +0.5
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return np.stack(
        [
            map_coordinates(image, (cy + m * (y - cy), cx + m * (x - cx)), order=order, mode="nearest")
            for image, m in zip(images, magnification, strict=True)
        ]
    )
