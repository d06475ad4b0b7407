"""Renders light fields of patch scenes, without Blender."""

import math
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np

from ...capture.calibration import Calibration
from ...capture.errors import SweepdepthError
from ..optics.lightfield import LightField, aperture_offsets, greatest_blur_px, grid_jitter, margin_for, views_for_blur
from ..optics.render_settings import RenderSettings
from . import textures
from .rays import cast, reach_boxes
from .scene import PatchScene

_NO_RADIANCE = np.empty((0, 0), np.float32)
_RADIANCE_FLOOR = 1e-4
"""Lower bound on radiance, relative to the mean, in geometric means."""


def render_patches(
    scene: PatchScene,
    calibration: Calibration,
    settings: RenderSettings | None = None,
    n_views: int | None = None,
    threads: int = 1,
) -> LightField:
    """Render the light field of a patch scene.

    Radiance is scaled so that the geometric mean of the all-in-focus image is the scene's `key`. Views are point
    samples, and their jitter averages over pixels.

    Args:
        scene: the scene; its coordinates are relative to the optical axis.
        calibration: camera, lens and sweep; the camera may be a window of the one that the scene was sampled for.
        settings: `view_spacing_px`, `min_views`, `max_views` and `intensity_samples` apply.
        n_views: number of views; by default it follows from the blur and the settings.
        threads: number of views rendered in parallel; does not affect the result.

    Returns:
        The light field, with a margin of `margin_for(calibration)`.

    Raises:
        SweepdepthError: the calibration has lens distortion.
    """
    settings = settings or RenderSettings()
    if calibration.camera.distortion is not None:
        raise SweepdepthError("camera.distortion: scenes are rendered without lens distortion; remove it")
    camera, sweep = calibration.camera, calibration.sweep
    middle = (sweep.far_diopters + sweep.near_diopters) / 2
    caster = Caster(scene, calibration)
    position, _ = caster.view((0.0, 0.0), (0.0, 0.0), 0, seen=False)
    depth = (1 / (sweep.far_diopters + sweep.range_diopters * position.astype(np.float64))).astype(np.float32)
    if n_views is None:
        needed = views_for_blur(greatest_blur_px(calibration, depth), settings.view_spacing_px)
        n_views = min(max(needed, settings.min_views), settings.max_views)
    margin = margin_for(calibration)
    offsets, jitter = aperture_offsets(n_views, calibration.lens.aperture_m), grid_jitter(n_views)
    side = math.ceil(math.sqrt(settings.intensity_samples))
    steps = (np.arange(side) + 0.5) / side - 0.5
    inside = [(x, y) for y in steps for x in steps]
    intensity = np.stack([caster.view((0.0, 0.0), at, 0)[1] for at in inside]).mean(axis=0, dtype=np.float32)
    views = np.empty((n_views, camera.height + 2 * margin, camera.width + 2 * margin), np.float32)

    def fill(k: int) -> None:
        views[k] = caster.view(tuple(offsets[k]), tuple(jitter[k]), margin)[1]

    if threads > 1:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(fill, range(n_views)))
    else:
        for k in range(n_views):
            fill(k)
    exposure = np.float32(scene.key / np.exp(np.log(intensity + _RADIANCE_FLOOR * intensity.mean()).mean()))
    views *= exposure
    return LightField(views, offsets, jitter, margin, middle, depth, intensity * exposure)


class Ready(NamedTuple):
    """Arrays of a scene for `rays.cast`, nearest patches first; see there."""

    patches: np.ndarray  # (N,) PATCH
    boxes: np.ndarray  # (N, 4) float64, px
    nearest: np.ndarray  # (N,) float64
    outlines: np.ndarray  # (N, OUTLINE_STEPS + 1) float32
    textures: np.ndarray  # (T, LEVEL_STARTS[-1]) uint16
    limits: np.ndarray  # (3,) float64


class Caster:
    """Casts rays into a scene, restricted to the patches that the camera can see."""

    def __init__(self, scene: PatchScene, calibration: Calibration) -> None:
        camera, sweep, margin = calibration.camera, calibration.sweep, margin_for(calibration)
        self._camera = camera
        self._reach = np.array([camera.fx, camera.fy]) * sweep.range_diopters
        boxes, nearest = reach_boxes(scene, float(self._reach.max()) * calibration.lens.aperture_m / 2)
        left, top = -camera.cx - margin - 1, -camera.cy - margin - 1
        right, bottom = left + camera.width + 2 * margin + 2, top + camera.height + 2 * margin + 2
        near = (boxes[:, 0] <= right) & (boxes[:, 2] >= left) & (boxes[:, 1] <= bottom) & (boxes[:, 3] >= top)
        order = np.flatnonzero(near)
        order = order[np.argsort(-nearest[order], kind="stable")]
        patches = scene.table[order]
        used = sorted({int(number) for name in ("texture", "mask") for number in patches[name] if number >= 0})
        chains = [
            textures.mip_chain((textures.mask if i >= scene.first_mask else textures.texture)(scene.textures[i]))
            for i in used
        ]
        for name in ("texture", "mask"):
            patches[name] = [used.index(number) if number >= 0 else -1 for number in patches[name]]
        self.scene = Ready(
            patches,
            boxes[order],
            nearest[order],
            scene.outlines[order],
            np.array(chains) if chains else np.empty((0, textures.LEVEL_STARTS[-1]), np.uint16),
            np.array([scene.farthest, scene.nearest, scene.infinity]),
        )

    def view(
        self, offset: tuple[float, float], jitter: tuple[float, float], margin: int, seen: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Position and radiance, (H + 2·margin, W + 2·margin) float32, seen from a point of the aperture in metres."""
        camera = self._camera
        position = np.empty((camera.height + 2 * margin, camera.width + 2 * margin), np.float32)
        radiance = np.empty_like(position) if seen else _NO_RADIANCE
        left, top = 0.5 - margin - camera.cx + jitter[0], 0.5 - margin - camera.cy + jitter[1]
        reach_x, reach_y = (self._reach * offset).tolist()
        cast(*self.scene, left, top, reach_x, reach_y, position, radiance)
        return position, radiance
