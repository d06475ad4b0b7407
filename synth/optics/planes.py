"""Textured planes with the exact blur of a thin lens, in closed form.

A texture is a sum of waves. Blur by a disc of diameter d reduces the contrast of a wave of f cycles per pixel to
2·J1(πfd)/(πfd) (Goodman, Introduction to Fourier Optics, §6.4), and magnification only scales its frequency, so images
are never resampled and have no rendering error. `refocus` and Blender render realistic scenes; these planes test
calibration, motion and flicker.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import j1

from ...capture.calibration import Calibration
from ...capture.optics import blur_diameter_px, breathing_magnification

TextureKind = Literal["natural", "fine", "board"]

MIDDLE = 0.4
"""Mean radiance, relative to white."""

BLACK = 0.02
"""Lower bound on radiance, relative to white."""


@dataclass(frozen=True)
class Texture:
    """A periodic pattern as waves: radiance is `MIDDLE` · (1 + Σ contrast · cos(2π(fx·x + fy·y) + shift))."""

    frequency: np.ndarray  # (K, 2) cycles per pixel at the far end's magnification
    contrast: np.ndarray  # (K,) relative to the mean radiance
    shift: np.ndarray  # (K,) radians


def make_texture(kind: TextureKind = "natural", seed: int = 0, contrast: float = 0.3) -> Texture:
    """A random texture with a standard deviation of `contrast` relative to its mean radiance.

    "natural": amplitudes of 1/f, as in natural images (Field, JOSA A 1987), with periods from 64 to 2.5 pixels; "fine":
    equal amplitudes, with periods from 12 to 2.5 pixels; "board": a rotated chessboard with squares of 10 to 14 pixels.
    """
    random = np.random.default_rng([seed, 77])
    if kind == "board":
        turn, square = random.uniform(0, np.pi), random.uniform(10, 14)
        odd = np.array([(m, n) for m in range(-7, 8, 2) for n in range(1, 8, 2)], float)
        rotation = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        frequency = odd / (2 * square) @ rotation
        amplitude = 1 / np.abs(odd[:, 0] * odd[:, 1]) * np.sign(odd[:, 0]) * (-1.0) ** ((odd.sum(axis=1)) / 2)
        shift = (odd @ random.uniform(0, 2 * np.pi, 2)) % (2 * np.pi)
    else:
        longest = 64 if kind == "natural" else 12
        size = np.exp(random.uniform(np.log(1 / longest), np.log(0.4), 400))
        angle, shift = random.uniform(0, 2 * np.pi, (2, len(size)))
        frequency = size[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        # Uniform in log f, so the density in the frequency plane is 1/f² and equal waves give an amplitude of 1/f.
        amplitude = np.ones_like(size) if kind == "natural" else size
    amplitude = amplitude * contrast / np.sqrt(np.sum(amplitude**2) / 2)
    return Texture(frequency, amplitude, shift)


def plane_images(
    texture: Texture,
    calibration: Calibration,
    focus_diopters: Sequence[float] | np.ndarray,  # (S,) 1/m
    surface_diopters: ArrayLike,  # () or (S,) 1/m: inverse depth of the plane in each image
    magnification: ArrayLike = 1.0,  # () or (S,) of the texture about (cx, cy), for a plane that approaches
) -> np.ndarray:
    """Images (S, H, W) float32, linear radiance, of a plane parallel to the sensor, with the lens's breathing."""
    camera, breathing = calibration.camera, calibration.breathing
    focus = np.asarray(focus_diopters, float)
    blur = blur_diameter_px(focus, surface_diopters, camera.fx, calibration.lens.aperture_m)
    scale = np.broadcast_to(magnification, focus.shape)
    breath = np.ones_like(focus)
    centre = np.zeros(2)
    if breathing is not None:
        breath = breathing_magnification(focus, calibration.sweep.far_diopters, breathing.scale_per_diopter)
        centre = np.array(breathing.center)
    middle = np.array([camera.cx, camera.cy])
    size = np.hypot(*texture.frequency.T)
    images = np.empty((len(focus), camera.height, camera.width), np.float32)
    for i in range(len(focus)):
        waves = []
        for axis, length in enumerate((camera.width, camera.height)):
            at = centre[axis] + (np.arange(length) + 0.5 - centre[axis]) / breath[i]
            at = (at - middle[axis]) / scale[i]
            waves.append(np.exp(2j * np.pi * texture.frequency[:, axis, None] * at))
        z = np.pi * size / scale[i] * blur[i] + 1e-9
        weight = texture.contrast * 2 * j1(z) / z * np.exp(1j * texture.shift)
        pattern = (waves[1].T @ (weight[:, None] * waves[0])).real
        images[i] = np.maximum(MIDDLE * (1 + pattern), BLACK)
    return images
