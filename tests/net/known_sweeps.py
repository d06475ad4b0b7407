"""Small analytic datasets: strips at known distances, as events and as images of a conventional camera."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.special import j1

from sweepdepth.capture.calibration import Calibration
from sweepdepth.capture.events import EVENT_DTYPE, FALLING, RISING, join, make_triggers
from sweepdepth.capture.files.dataset import (
    Manifest,
    SceneRecording,
    SceneTruth,
    create_dataset,
    scene_path,
    write_scene,
)
from sweepdepth.capture.files.photographs import PLANS, Photographs
from sweepdepth.capture.optics import blur_diameter_px, breathing_magnification
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.cases import Case

SWEEP_US = 200_000
POSITIONS = (0.25, 0.6)
"""Positions of the two halves of every scene in the sweep range."""

MEAN_APERTURE = 0.9


def strips(calibration: Calibration, *positions: float) -> np.ndarray:
    """Inverse depth by column, (W,) 1/m: strips of equal width at these positions of the sweep range."""
    settings, width = calibration.sweep, calibration.camera.width
    position = np.repeat(positions, -(-width // len(positions)))[:width]
    return settings.far_diopters + position * settings.range_diopters


class Texture:
    """A flat surface textured with a sum of waves, so that its image through a blur disc is exact."""

    def __init__(self, calibration: Calibration, seed: int = 0, waves: int = 40) -> None:
        random = np.random.default_rng(seed)
        self.calibration = calibration
        self.frequency = np.exp(random.uniform(np.log(0.02), np.log(0.3), waves))
        self.angle, self.shift = random.uniform(0, 2 * np.pi, (2, waves))

    def image(
        self,
        focus: float,  # 1/m
        diopters: np.ndarray,  # (W,) 1/m, of every column
        aperture: float = 1.0,  # over the lens's
    ) -> np.ndarray:
        """(H, W) float32, linear radiance about 0.5, with the breathing of the lens."""
        camera, breathing = self.calibration.camera, self.calibration.breathing
        y, x = np.mgrid[: camera.height, : camera.width] + 0.5
        if breathing is not None:
            far, scale = self.calibration.sweep.far_diopters, breathing.scale_per_diopter
            magnification = breathing_magnification(focus, far, scale)
            x = breathing.center[0] + (x - breathing.center[0]) / magnification
            y = breathing.center[1] + (y - breathing.center[1]) / magnification
        blur = blur_diameter_px(focus, diopters, camera.fx, self.calibration.lens.aperture_m * aperture)
        out = np.full((camera.height, camera.width), 0.5)
        for f, angle, shift in zip(self.frequency, self.angle, self.shift, strict=True):
            z = np.pi * f * blur + 1e-9
            wave = np.cos(2 * np.pi * f * (np.cos(angle) * x + np.sin(angle) * y) + shift)
            out += 0.25 / len(self.frequency) ** 0.5 * (2 * j1(z) / z) * wave
        return out.astype(np.float32)

    def stack(self, diopters: np.ndarray, frames: int) -> tuple[np.ndarray, np.ndarray]:
        """`frames` images of a far→near sweep, (S, H, W), and the focus of each, (S,) 1/m."""
        focus = self.calibration.focus_at((np.arange(frames) + 0.5) / frames)
        return np.stack([self.image(phi, diopters) for phi in focus]), focus

    def aperture_pair(self, diopters: np.ndarray, blur_px: float = 1.0) -> Photographs:
        """The four images of coupled differentiation about the middle of the sweep."""
        sweep = self.calibration.sweep
        middle = (sweep.far_diopters + sweep.near_diopters) / 2
        half = blur_px / 2 / (self.calibration.camera.fx * self.calibration.lens.aperture_m * MEAN_APERTURE)
        focus = np.array([middle + half, middle - half, middle, middle])
        scale = np.array([MEAN_APERTURE, MEAN_APERTURE, 1.0, 0.8])
        images = np.stack([self.image(p, diopters, a) for p, a in zip(focus, scale, strict=True)])
        return Photographs(images, focus, scale)

    def photographs(self, name: str, diopters: np.ndarray) -> Photographs:
        """The images of one of `PLANS`."""
        sweep = self.calibration.sweep
        position, scale = np.array(PLANS[name]).T
        focus = sweep.far_diopters + position * sweep.range_diopters
        images = np.stack([self.image(p, diopters, a) for p, a in zip(focus, scale, strict=True)])
        return Photographs(images, focus, scale)


def make_dataset(
    folder: Path,
    calibration: Calibration,
    textured_planes: Callable[..., np.ndarray],
    illuminances: tuple[float, ...] = (50.0, 300.0),  # lux, of one scene each
) -> Path:
    """A dataset of two-sweep scenes with 12 intensity frames and an aperture pair."""
    create_dataset(folder, Manifest(seed=0, configuration={}))
    for index, lux in enumerate(illuminances):
        write_scene(scene_path(folder, index), make_scene(calibration, textured_planes, lux, seed=index))
    return folder


def make_scene(
    calibration: Calibration, textured_planes: Callable[..., np.ndarray], illuminance_lux: float = 300.0, seed: int = 0
) -> SceneRecording:
    """One scene of two strips, far→near and back."""
    diopters = strips(calibration, *POSITIONS)
    parts = [
        textured_planes(Sweep(start, start + SWEEP_US, direction, calibration), diopters, seed=seed)
        for start, direction in ((0, Direction.FAR_TO_NEAR), (SWEEP_US, Direction.NEAR_TO_FAR))
    ]
    triggers = make_triggers(np.array([0, SWEEP_US, 2 * SWEEP_US]), np.array([RISING, FALLING, RISING]))
    texture = Texture(calibration, seed)
    frames, focus = texture.stack(diopters, 12)
    shape = (calibration.camera.height, calibration.camera.width)
    truth = SceneTruth(
        calibration,
        depth=np.broadcast_to(1 / diopters, shape).astype(np.float32),
        intensity=texture.image(0.0, np.zeros(shape[1])),
        focal_stack=frames,
        focal_stack_diopters=focus,
        aperture_pair=texture.aperture_pair(diopters),
        photographs={name: texture.photographs(name, diopters) for name in PLANS},
        attributes={"illuminance_lux": illuminance_lux},
    )
    return SceneRecording(join(parts), triggers, truth)


def plane_case(calibration: Calibration) -> Case:
    """A plane at 0.3 of the range, with everything that a baseline may need except events."""
    texture, diopters = Texture(calibration), strips(calibration, 0.3)
    frames, focus = texture.stack(diopters, 24)
    return Case(
        "plane",
        0,
        np.empty(0, EVENT_DTYPE),
        Sweep(0, SWEEP_US, Direction.FAR_TO_NEAR, calibration),
        np.broadcast_to(1 / diopters, frames.shape[1:]).astype(np.float32),
        frames,
        focus,
        texture.aperture_pair(diopters),
        {name: texture.photographs(name, diopters) for name in PLANS},
    )
