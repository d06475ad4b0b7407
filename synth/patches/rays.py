"""Ray casting: pinhole views over the aperture of a patch scene.

In the view from point u of the aperture, a surface at position δ that appears at p from the centre of the lens appears
at `p − reach · (δ − ½)`, where reach = fx · u · range: the thin lens of `lightfield`, in fractions of the sweep range.
So a ray at q meets a patch where p = q + reach · (δ(p) − ½), solved in closed form for planes, and for curved patches
by a few fixed-point steps that at least halve the error each. A ray sees the nearest patch that it meets. `rays_numpy`
computes the same in NumPy.
"""

import math
from typing import Any

import numpy as np
from numba import njit

from .scene import EVERYWHERE_PX, OUTLINE_STEPS, WAVE_BEND, WAVE_CROSS, PatchScene
from .textures import LEVEL_STARTS, LEVELS, SIZE, WHITE

BEHIND = -1e3
"""Position where a ray meets nothing."""
STEPS = 4
SHARPER = 1.0
"""Mip levels by which textures are sampled finer than a pixel: views are jittered point samples, and their mean is the
pixel filter."""
MASK_LEVEL = 1
"""Mip level at which masks are sampled: they are smooth, and fit in cache at this level."""
_STARTS = LEVEL_STARTS


def reach_boxes(scene: PatchScene, reach_px: float) -> tuple[np.ndarray, np.ndarray]:
    """Bounding boxes of the patches over all views, and their nearest positions.

    Args:
        scene: the scene.
        reach_px: largest shift between a view and the centre view over the range.

    Returns:
        (N, 4) float64, px from the optical axis: left, top, right, bottom. (N,) float64: greatest position.
    """
    t = scene.table
    farthest_radius = scene.outlines.max(axis=1) if len(scene.outlines) else np.ones(len(t))
    bounded = t["length"] < EVERYWHERE_PX
    radius = np.where(bounded, np.hypot(t["length"], t["width"]), 0) * farthest_radius
    along, across = t["length"] * farthest_radius, t["width"] * farthest_radius
    half_x = np.minimum(np.abs(t["cos"]) * along + np.abs(t["sin"]) * across, radius)
    half_y = np.minimum(np.abs(t["sin"]) * along + np.abs(t["cos"]) * across, radius)
    nearest = t["position"] + np.hypot(t["slope_x"], t["slope_y"]) * radius + np.maximum(t["bulge"], 0) + t["wave"]
    nearest = np.where(bounded, np.minimum(nearest, scene.nearest), scene.nearest)
    flat = (t["slope_x"] == 0) & (t["slope_y"] == 0) & (t["wave"] == 0)
    nearest = np.where(~bounded & flat, np.clip(t["position"] + t["bulge"], scene.farthest, scene.nearest), nearest)
    shift = reach_px * max(abs(scene.nearest - 0.5), abs(scene.farthest - 0.5)) + 1
    half_x = np.where(bounded, half_x + shift, np.inf)
    half_y = np.where(bounded, half_y + shift, np.inf)
    return np.stack([t["x"] - half_x, t["y"] - half_y, t["x"] + half_x, t["y"] + half_y], axis=1), nearest


@njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")
def cast(
    patches: np.ndarray,
    boxes: np.ndarray,
    nearest: np.ndarray,
    outlines: np.ndarray,
    textures: np.ndarray,
    limits: np.ndarray,
    left: float,
    top: float,
    reach_x: float,
    reach_y: float,
    position: np.ndarray,
    radiance: np.ndarray,
) -> None:
    """Render one view.

    Args:
        patches: (N,) `PATCH`, the nearest first by `nearest`; `mask` and `texture` are rows of `textures`.
        boxes: (N, 4) float64, bounding box of each, px: left, top, right, bottom.
        nearest: (N,) float64, nearest (largest) position of each.
        outlines: (N, OUTLINE_STEPS + 1) float32.
        textures: (T, LEVEL_STARTS[-1]) uint16, mip chains.
        limits: (3,) float64: farthest and nearest position, and that of 0 diopters.
        left: image position of the first column from the optical axis, px.
        top: of the first row.
        reach_x: fx · u · range of this view, px.
        reach_y: fy · v · range.
        position: (h, w) float32, filled with the position of the surface that each ray meets; `BEHIND`: none.
        radiance: (h, w) float32, filled with its radiance; (0, 0): not needed.
    """
    height, width = position.shape
    count = len(patches)
    farthest, closest, infinity = limits
    in_row = np.empty(count, np.int64)
    for row in range(height):
        y = top + row
        rows = 0
        for i in range(count):
            if boxes[i, 1] <= y <= boxes[i, 3]:
                in_row[rows] = i
                rows += 1
        for column in range(width):
            x = left + column
            best = BEHIND
            hit = -1
            hit_x = hit_y = 0.0
            for n in range(rows):
                i = in_row[n]
                if nearest[i] <= best:
                    break  # no further patch can be nearer
                if x < boxes[i, 0] or x > boxes[i, 2]:
                    continue
                p: Any = patches[i]
                rx, ry = x - p.x, y - p.y
                tilt = p.slope_x * reach_x + p.slope_y * reach_y
                at = (p.position + p.slope_x * rx + p.slope_y * ry - 0.5 * tilt) / (1.0 - tilt)
                at = min(max(at, farthest), closest)
                qx, qy = rx + reach_x * (at - 0.5), ry + reach_y * (at - 0.5)
                if p.bulge != 0.0 or p.wave != 0.0:
                    for _ in range(STEPS):
                        at = p.position + p.slope_x * qx + p.slope_y * qy
                        if p.bulge != 0.0:
                            along = (p.cos * qx + p.sin * qy) / p.length
                            across = (p.cos * qy - p.sin * qx) / p.width
                            at += p.bulge * max(1.0 - along * along - across * across, 0.0)
                        if p.wave != 0.0:
                            bent = WAVE_BEND * _hill(WAVE_CROSS * (p.wave_y * qx - p.wave_x * qy))
                            at += p.wave * _hill(p.wave_x * qx + p.wave_y * qy + bent)
                        at = min(max(at, farthest), closest)
                        qx, qy = rx + reach_x * (at - 0.5), ry + reach_y * (at - 0.5)
                if at <= best:
                    continue
                if p.length < EVERYWHERE_PX:
                    along = (p.cos * qx + p.sin * qy) / p.length
                    across = (p.cos * qy - p.sin * qx) / p.width
                    angle = across / (abs(along) + abs(across) + 1e-12)
                    if along < 0:
                        angle = 2.0 - angle
                    elif across < 0:
                        angle = 4.0 + angle
                    angle *= OUTLINE_STEPS / 4
                    step = min(int(angle), OUTLINE_STEPS - 1)
                    radius = outlines[i, step] + (angle - step) * (outlines[i, step + 1] - outlines[i, step])
                    if along * along + across * across > radius * radius:
                        continue
                if p.gaps != 0.0:
                    way = (p.cos * qx + p.sin * qy) * p.gaps
                    if way - math.floor(way) > p.solid:
                        continue
                if p.mask >= 0:
                    u, v = qx * p.mask_texels + p.mask_x, qy * p.mask_texels + p.mask_y
                    if _read(textures[p.mask], MASK_LEVEL, u, v) < p.mask_level:
                        continue
                best, hit, hit_x, hit_y = at, i, qx, qy
            position[row, column] = best
            if radiance.size:
                radiance[row, column] = 0.0
                if hit >= 0:
                    radiance[row, column] = _look(patches[hit], textures, infinity, best, hit_x, hit_y)


@njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")
def _hill(phase: float) -> float:
    """The same as `scene.hill`."""
    part = 2.0 * (phase - math.floor(phase)) - 1.0
    return -4.0 * part * (1.0 - abs(part))


@njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")
def _look(p: Any, textures: np.ndarray, infinity: float, at: float, qx: float, qy: float) -> float:
    """Radiance of a patch at a point, in px from its centre, and a position."""
    value = 0.0
    if p.texture >= 0:
        scale = p.texels
        tx, ty = qx, qy
        if p.foreshortened:
            # Coordinates on the surface, x = (x/z) · z: image position over diopters.
            nearer = (p.texels_at - infinity) / (at - infinity)
            fx, fy = (p.x + qx) * nearer, (p.y + qy) * nearer
            tx, ty = fx - p.x, fy - p.y
            slope = math.sqrt(p.slope_x * p.slope_x + p.slope_y * p.slope_y)
            off = math.sqrt((p.x + qx) * (p.x + qx) + (p.y + qy) * (p.y + qy))
            scale *= nearer * (1.0 + off * slope / (at - infinity))
        u = (p.turn_cos * tx + p.turn_sin * ty) * p.texels + p.texture_x
        v = (p.turn_cos * ty - p.turn_sin * tx) * p.texels + p.texture_y
        level = min(max(math.log2(scale) - SHARPER, 0.0), LEVELS - 1.001)
        finer = int(level)
        value = _read(textures[p.texture], finer, u, v)
        if level > finer:
            value += (level - finer) * (_read(textures[p.texture], finer + 1, u, v) - value)
    shade = min(max(1.0 + p.shade_x * qx + p.shade_y * qy, 0.25), 2.0)
    if p.shadow < 1.0:
        out = 0.5 + (p.shadow_cos * qx + p.shadow_sin * qy - p.shadow_at) / p.shadow_soft
        out = min(max(out, 0.0), 1.0)
        shade *= p.shadow + (1.0 - p.shadow) * out * out * (3.0 - 2.0 * out)
    return (p.dark + (p.light - p.dark) * value) * shade


@njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")
def _read(texture: np.ndarray, level: int, u: float, v: float) -> float:
    """Interpolate a texture at a mip level; u and v are in texels of level 0."""
    size = SIZE >> level
    shrink = 1.0 / (1 << level)
    u, v = u * shrink - 0.5, v * shrink - 0.5
    column, row = math.floor(u), math.floor(v)
    right, down = u - column, v - row
    c0, r0 = int(column) & (size - 1), int(row) & (size - 1)
    c1, r1 = (c0 + 1) & (size - 1), (r0 + 1) & (size - 1)
    start = _STARTS[level]
    r0, r1 = start + r0 * size, start + r1 * size
    upper = texture[r0 + c0] * (1.0 - right) + texture[r0 + c1] * right
    lower = texture[r1 + c0] * (1.0 - right) + texture[r1 + c1] * right
    return (upper + (lower - upper) * down) * (1.0 / WHITE)
