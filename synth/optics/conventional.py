"""Simulates a conventional camera behind the same lens during the same sweep.

The pixel grid is the event camera's. Pixels are those of a Sony IMX250, a common machine vision sensor: full well of 10
500 electrons, read noise of 2.3 electrons, quantum efficiency 0.6 (published EMVA 1288 measurements, rounded). A
Lambertian white surface under E lux gives E / (4 N²) lux on the chip, and one lux at 555 nm is 4.09·10¹⁵ photons/(s m²)
(683 lm/W). The exposure lasts until white saturates, or for the available time.
"""

from collections.abc import Callable

import numpy as np

from ...capture.calibration import Calibration
from ...capture.files.photographs import PLANS, Photographs

FULL_WELL_ELECTRONS = 10_500.0
READ_NOISE_ELECTRONS = 2.3
QUANTUM_EFFICIENCY = 0.6
PHOTONS_PER_LUX = 4.09e15  # 1/(s m²)

_COUPLED_BLUR_PX = 1.0  # difference in blur between the two images that differ in focus
_COUPLED_APERTURES = (1.0, 0.8)  # relative to the lens's aperture
_SAMPLES = 64  # instants averaged in one exposure


def white_electrons(calibration: Calibration, illuminance_lux: float, time_us: float) -> tuple[float, float]:
    """Electrons per pixel for white within the available time, and the exposure in µs."""
    chip_lux = illuminance_lux / (4 * calibration.lens.f_number**2)
    area_m2 = (calibration.camera.pixel_pitch_um * 1e-6) ** 2
    per_us = QUANTUM_EFFICIENCY * PHOTONS_PER_LUX * chip_lux * area_m2 * 1e-6
    exposure = min(time_us, FULL_WELL_ELECTRONS / per_us)
    return per_us * exposure, exposure


def photograph(
    radiance: np.ndarray,  # (…) linear, mean over the exposure
    electrons: float,  # at radiance 1
    random: np.random.Generator,
) -> np.ndarray:  # (…) float32, linear radiance
    """Add photon noise, read noise and saturation."""
    counted = random.poisson(radiance * electrons) + random.normal(0, READ_NOISE_ELECTRONS, radiance.shape)
    return (np.minimum(counted, FULL_WELL_ELECTRONS) / electrons).astype(np.float32)


def photograph_sweep(
    stack: np.ndarray,  # (S + 1, H, W) linear radiance, even in time, far to near
    calibration: Calibration,
    illuminance_lux: float,
    count: int,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """`count` frames of one far→near sweep, (count, H, W) float32, and their focus in 1/m at mid-exposure, (count,).

    Frames follow each other without gaps; the focus moves during each exposure.
    """
    frame_us = calibration.sweep.duration_us / count
    electrons, exposure_us = white_electrons(calibration, illuminance_lux, frame_us)
    middles = (np.arange(count) + 0.5) / count
    open_for = exposure_us / calibration.sweep.duration_us
    images = []
    for middle in middles:
        instants = middle + open_for * ((np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5)
        at = np.clip(instants, 0, 1) * (len(stack) - 1)
        low = np.minimum(at.astype(int), len(stack) - 2)
        weights = np.bincount(low, 1 - (at - low), len(stack)) + np.bincount(low + 1, at - low, len(stack))
        used = np.flatnonzero(weights)
        mean = np.tensordot(weights[used] / _SAMPLES, stack[used], axes=1)
        images.append(photograph(mean, electrons, random))
    return np.array(images), calibration.focus_at(middles)


def sample_sweep(
    stack: np.ndarray,  # (S + 1, H, W) linear radiance, even in time, far to near
    calibration: Calibration,
    count: int,
) -> tuple[np.ndarray, np.ndarray]:
    """Ideal frames without noise or motion blur: `count` instants of one far→near sweep, ends included.

    Returns images, (count, H, W) float32, and their focus in 1/m, (count,). They allow resimulation of the sweep.
    """
    instants = np.linspace(0, 1, count)
    at = instants * (len(stack) - 1)
    low = np.minimum(at.astype(int), len(stack) - 2)
    share = (at - low).astype(np.float32)[:, None, None]
    return stack[low] * (1 - share) + stack[low + 1] * share, calibration.focus_at(instants)


def coupled_plan(calibration: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """Focus in 1/m and aperture scale of four images around the middle of the sweep, (4,) each: focus nearer and
    farther, then aperture larger and smaller. The pair that differs in focus has a difference of one pixel of blur, at
    the mean of the two apertures."""
    sweep = calibration.sweep
    large, small = _COUPLED_APERTURES
    mean = (large + small) / 2
    middle = (sweep.far_diopters + sweep.near_diopters) / 2
    half = _COUPLED_BLUR_PX / 2 / (calibration.camera.fx * calibration.lens.aperture_m * mean)
    return np.array([middle + half, middle - half, middle, middle]), np.array([mean, mean, large, small])


def named_plan(name: str, calibration: Calibration) -> tuple[np.ndarray, np.ndarray]:
    """Focus in 1/m and aperture scale of the images of one of `PLANS`, (N,) each."""
    position, scale = np.array(PLANS[name]).T
    return calibration.sweep.far_diopters + position * calibration.sweep.range_diopters, scale


def take(
    image_at: Callable[[float, float], np.ndarray],  # (focus in 1/m, aperture scale) → (H, W) linear radiance
    plan: tuple[np.ndarray, np.ndarray],  # focus in 1/m and aperture scale of each image, (N,)
) -> Photographs:
    """Render the noise-free images of a plan."""
    diopters, scales = plan
    images = [image_at(float(focus), float(scale)) for focus, scale in zip(diopters, scales, strict=True)]
    return Photographs(np.array(images, np.float32), diopters, scales)


def expose(
    ideal: Photographs, calibration: Calibration, illuminance_lux: float, random: np.random.Generator
) -> Photographs:
    """Add the noise of a camera to ideal images that share the duration of one sweep.

    Each image is exposed until white saturates, at most for its share of the time. An image with a smaller aperture
    gets less light, and has more noise if time is the limit.

    Args:
        ideal: noise-free images.
        calibration: lens, pixel size and sweep duration.
        illuminance_lux: illuminance of a white surface in the scene.
        random: source of the noise.

    Returns:
        The images with photon noise, read noise and saturation.
    """
    time_us = calibration.sweep.duration_us / len(ideal.images)
    images = [
        photograph(image, white_electrons(calibration, illuminance_lux * scale**2, time_us)[0], random)
        for image, scale in zip(ideal.images.astype(np.float32), ideal.aperture_scale, strict=True)
    ]
    return Photographs(np.array(images), ideal.diopters, ideal.aperture_scale)
