"""Photographs: images of one scene at fixed focus and aperture, for depth from defocus without a sweep."""

from dataclasses import dataclass

import numpy as np

SMALL_APERTURE = 0.25
"""Aperture diameter, relative to the lens's, of nearly all-in-focus images; they get 1/16 of the light."""

PLANS: dict[str, tuple[tuple[float, float], ...]] = {
    "defocused": ((0.0, 1.0),),
    "sharp": ((0.0, SMALL_APERTURE),),
    "focus_pair": ((0.25, 1.0), (0.75, 1.0)),
    "two_apertures": ((0.0, SMALL_APERTURE), (0.0, 1.0)),
}
"""Sets of images by name: for each image, its focus as a position in the sweep range (0 far, 1 near) and its aperture
diameter relative to the lens's. The images of a set share the duration of one sweep equally. With the focus at the far
end, blur increases with inverse depth, so a single image is not ambiguous."""


@dataclass(frozen=True)
class Photographs:
    """Images of one scene, each at its own focus and aperture."""

    images: np.ndarray  # (N, H, W) float32, linear radiance, with lens breathing
    diopters: np.ndarray  # (N,) focus of each, 1/m
    aperture_scale: np.ndarray  # (N,) aperture diameter of each, relative to the lens's
