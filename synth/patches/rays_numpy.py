"""The readable reference of `rays.cast`, patch by patch, in NumPy."""

import numpy as np

from .rays import BEHIND, MASK_LEVEL, SHARPER, STEPS
from .scene import EVERYWHERE_PX, OUTLINE_STEPS, WAVE_BEND, WAVE_CROSS, diamond_angle, hill
from .textures import LEVEL_STARTS, LEVELS, SIZE, WHITE


def cast_numpy(
    patches: np.ndarray,
    outlines: np.ndarray,
    textures: np.ndarray,
    limits: np.ndarray,
    left: float,
    top: float,
    reach_x: float,
    reach_y: float,
    shape: tuple[int, int],
) -> tuple[np.ndarray, np.ndarray]:
    """Render one view.

    Args:
        patches: (N,) `PATCH`, in any order.
        outlines: (N, OUTLINE_STEPS + 1) float32.
        textures: (T, LEVEL_STARTS[-1]) uint16, mip chains.
        limits: (3,) float64: farthest and nearest position, and that of 0 diopters.
        left: image position of the first column from the optical axis, px.
        top: of the first row.
        reach_x: fx · u · range of the view, px.
        reach_y: fy · v · range.
        shape: rows and columns.

    Returns:
        Position and radiance, float64 of that shape.
    """
    y, x = np.mgrid[: shape[0], : shape[1]] + np.array([top, left])[:, None, None]
    position, radiance = np.full(shape, BEHIND), np.zeros(shape)
    for patch, outline in zip(patches, outlines, strict=True):
        rx, ry = x - patch["x"], y - patch["y"]
        at, qx, qy = _intersect(patch, limits, rx, ry, reach_x, reach_y)
        nearer = (at > position) & _inside(patch, outline, textures, qx, qy)
        position = np.where(nearer, at, position)
        radiance = np.where(nearer, _look(patch, textures, limits[2], at, qx, qy), radiance)
    return position, radiance


def _intersect(
    patch: np.void, limits: np.ndarray, rx: np.ndarray, ry: np.ndarray, reach_x: float, reach_y: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions at which rays meet the patch's surface, and the image points relative to its centre."""

    def place(at: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        at = np.clip(at, limits[0], limits[1])
        return at, rx + reach_x * (at - 0.5), ry + reach_y * (at - 0.5)

    tilt = patch["slope_x"] * reach_x + patch["slope_y"] * reach_y
    plane = patch["position"] + patch["slope_x"] * rx + patch["slope_y"] * ry
    at, qx, qy = place((plane - 0.5 * tilt) / (1 - tilt))
    if patch["bulge"] == 0 and patch["wave"] == 0:
        return at, qx, qy
    for _ in range(STEPS):
        along, across = _turned(patch, qx, qy)
        bent = WAVE_BEND * hill(WAVE_CROSS * (patch["wave_y"] * qx - patch["wave_x"] * qy))
        at, qx, qy = place(
            patch["position"]
            + patch["slope_x"] * qx
            + patch["slope_y"] * qy
            + patch["bulge"] * np.maximum(1 - along**2 - across**2, 0)
            + patch["wave"] * hill(patch["wave_x"] * qx + patch["wave_y"] * qy + bent)
        )
    return at, qx, qy


def _turned(patch: np.void, qx: np.ndarray, qy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates along and across the patch, in half lengths and half widths."""
    return (
        (patch["cos"] * qx + patch["sin"] * qy) / patch["length"],
        (patch["cos"] * qy - patch["sin"] * qx) / patch["width"],
    )


def _inside(patch: np.void, outline: np.ndarray, textures: np.ndarray, qx: np.ndarray, qy: np.ndarray) -> np.ndarray:
    """Whether points are inside the patch."""
    inside = np.ones(qx.shape, bool)
    if patch["length"] < EVERYWHERE_PX:
        along, across = _turned(patch, qx, qy)
        step = diamond_angle(along, across) * OUTLINE_STEPS / 4
        inside &= np.hypot(along, across) <= np.interp(step, np.arange(OUTLINE_STEPS + 1), outline)
    if patch["gaps"]:
        inside &= ((patch["cos"] * qx + patch["sin"] * qy) * patch["gaps"]) % 1 <= patch["solid"]
    if patch["mask"] >= 0:
        u, v = qx * patch["mask_texels"] + patch["mask_x"], qy * patch["mask_texels"] + patch["mask_y"]
        inside &= _read(textures[patch["mask"]], np.full(qx.shape, MASK_LEVEL), u, v) >= patch["mask_level"]
    return inside


def _look(
    patch: np.void, textures: np.ndarray, infinity: float, at: np.ndarray, qx: np.ndarray, qy: np.ndarray
) -> np.ndarray:
    """Radiance at points of a patch."""
    value = np.zeros(qx.shape)
    if patch["texture"] >= 0:
        px, py, scale, nearer = patch["x"] + qx, patch["y"] + qy, patch["texels"], 1.0
        if patch["foreshortened"]:
            nearer = (patch["texels_at"] - infinity) / (at - infinity)
            slope = np.hypot(patch["slope_x"], patch["slope_y"])
            scale = scale * nearer * (1 + np.hypot(px, py) * slope / (at - infinity))
        tx, ty = px * nearer - patch["x"], py * nearer - patch["y"]
        u = (patch["turn_cos"] * tx + patch["turn_sin"] * ty) * patch["texels"] + patch["texture_x"]
        v = (patch["turn_cos"] * ty - patch["turn_sin"] * tx) * patch["texels"] + patch["texture_y"]
        level = np.clip(np.log2(scale) - SHARPER, 0, LEVELS - 1.001) * np.ones(qx.shape)
        finer = level.astype(int)
        fine = _read(textures[patch["texture"]], finer, u, v)
        value = fine + (level - finer) * (_read(textures[patch["texture"]], finer + 1, u, v) - fine)
    shade = np.clip(1 + patch["shade_x"] * qx + patch["shade_y"] * qy, 0.25, 2.0)
    way = patch["shadow_cos"] * qx + patch["shadow_sin"] * qy - patch["shadow_at"]
    out = np.clip(0.5 + way / patch["shadow_soft"], 0, 1)
    shade = shade * (patch["shadow"] + (1 - patch["shadow"]) * out**2 * (3 - 2 * out))
    return (patch["dark"] + (patch["light"] - patch["dark"]) * value) * shade


def _read(texture: np.ndarray, level: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Interpolate a texture at mip levels."""
    size = SIZE >> level
    u, v = u / 2**level - 0.5, v / 2**level - 0.5
    column, row = np.floor(u).astype(int), np.floor(v).astype(int)
    right, down = u - column, v - row

    def texel(row: np.ndarray, column: np.ndarray) -> np.ndarray:
        return texture[LEVEL_STARTS[level] + row % size * size + column % size] / WHITE

    upper = texel(row, column) * (1 - right) + texel(row, column + 1) * right
    lower = texel(row + 1, column) * (1 - right) + texel(row + 1, column + 1) * right
    return upper * (1 - down) + lower * down
