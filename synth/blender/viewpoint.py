"""Samples viewpoints in a user's scene from which most surfaces are within the sweep."""

from typing import Any

import numpy as np

from ...capture.calibration import Calibration
from ..scenes.random_source import RandomSource
from ..scenes.scene import Scene
from .session import RenderError

_VIEWPOINT = 13  # random stream
_CANDIDATES = 200
_GRID = 7  # rays across the width and height of the frame


def find_viewpoint(bpy: Any, scene: Scene, calibration: Calibration) -> np.ndarray:
    """The best of some random poses, 4×4 from camera to world: the one with most rays that end within the sweep.

    Each candidate looks at a random point of a random object from a distance within the sweep. Poses from which that
    point is hidden, such as those inside objects, are discarded.

    Raises:
        RenderError: no candidate sees anything within the sweep.
    """
    assert scene.blend is not None
    rng = RandomSource(scene.seed, scene.index, _VIEWPOINT)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    metres_per_unit = bpy.context.scene.unit_settings.scale_length
    targets = [o for o in bpy.context.scene.objects if o.type == "MESH" and not o.hide_render and o.data.vertices]
    if not targets:
        raise RenderError(f"{scene.blend.path}: has no mesh that a viewpoint could look at")
    sweep = calibration.sweep
    best, best_score = None, 0.0
    for _ in range(_CANDIDATES):
        target = rng.pick(targets)
        vertex = target.data.vertices[rng.integer(0, len(target.data.vertices) - 1)]
        spot = np.array(target.matrix_world @ vertex.co)
        distance = 1 / rng.uniform(sweep.far_diopters + 0.1 * sweep.range_diopters, sweep.near_diopters)
        away = rng.direction()
        away[2] = abs(away[2]) * 0.7  # from above rather than below
        away /= np.linalg.norm(away)
        pose = _looking(spot + away * distance / metres_per_unit, -away)
        score = _share_in_sweep(bpy, depsgraph, pose, calibration, metres_per_unit)
        if score > best_score:
            best, best_score = pose, score
    if best is None:
        raise RenderError(f"{scene.blend.path}: no viewpoint sees anything within the sweep; is its unit the metre?")
    return best


def _looking(position: np.ndarray, ahead: np.ndarray) -> np.ndarray:
    """The pose of an upright camera at a position, looking along a unit vector; the world's z is up."""
    right = np.cross(ahead, (0.0, 0.0, 1.0))
    right = right / np.linalg.norm(right) if np.linalg.norm(right) > 1e-6 else np.array([1.0, 0.0, 0.0])
    pose = np.eye(4)
    pose[:3, 0], pose[:3, 1], pose[:3, 2], pose[:3, 3] = right, np.cross(right, ahead), -ahead, position
    return pose


def _share_in_sweep(
    bpy: Any, depsgraph: Any, pose: np.ndarray, calibration: Calibration, metres_per_unit: float
) -> float:
    """Fraction of a grid of rays that end within the sweep; 0 if one ends at the camera itself."""
    camera, sweep = calibration.camera, calibration.sweep
    hits = 0
    for y in (np.arange(_GRID) + 0.5) / _GRID * camera.height:
        for x in (np.arange(_GRID) + 0.5) / _GRID * camera.width:
            ray = np.array([(x - camera.cx) / camera.fx, -(y - camera.cy) / camera.fy, -1.0])
            length = float(np.linalg.norm(ray))
            hit, place, *_ = bpy.context.scene.ray_cast(depsgraph, pose[:3, 3], pose[:3, :3] @ ray / length)
            if not hit:
                continue
            diopters = length / max(float(np.linalg.norm(np.array(place) - pose[:3, 3])) * metres_per_unit, 1e-9)
            if diopters > 2 * sweep.near_diopters:
                return 0.0
            hits += sweep.far_diopters <= diopters <= sweep.near_diopters
    return hits / _GRID**2
