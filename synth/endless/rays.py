"""Rays: the pinhole views over the aperture, and the depth of the middle one, of patch scenes.

View k of a lens whose range blurs over D pixels sees a surface of position δ, that the middle view sees at p, at
p − D·u_k·(δ − ½), u_k over a disc of diameter 1: the thin lens of `lightfield`, in parts of the range. So where a ray
at q meets a patch, p = q + D·u·(δ(p) − ½), which a few steps of iteration solve.
"""

import os
import shutil
import sysconfig
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.fx.experimental import _config

from ..lightfield import aperture_offsets, grid_jitter
from .lens import Lens
from .patches import PATCHES, SHAPE, Patches
from .tiles import SIZE

VIEWS = 64
_BEHIND = -1e3
_STEPS = 3


def margin_px(blur_px: float) -> int:
    """Pixels that views need around the frame: half of half the greatest blur, and one for the interpolation."""
    return int(np.ceil(blur_px / 4 + 0.5)) + 1


@cache
def aperture(device: torch.device) -> tuple[Tensor, Tensor]:
    """Offsets (K, 2) over a disc of diameter 1, and jitter (K, 2) of the views' sampling grids in pixels."""
    return (
        torch.from_numpy(aperture_offsets(VIEWS, 1.0)).float().to(device),
        torch.from_numpy(grid_jitter(VIEWS)).float().to(device),
    )


def render_views(
    scenes: Patches, lens: Lens, tiles: Tensor, height: int, width: int, margin: int
) -> Tensor:  # (B, K, H + 2·margin, W + 2·margin) radiance
    """The light field of each scene."""
    offsets, jitter = aperture(lens.blur_px.device)
    return _cast(scenes, lens.blur_px, offsets, jitter, tiles, height, width, margin)[0]


def render_depth(scenes: Patches, height: int, width: int) -> Tensor:  # (B, H, W)
    """The position in the range that each pixel's centre sees."""
    device = scenes.x.device
    nowhere = torch.zeros(1, 2, device=device)
    blur = torch.ones(len(scenes.x), device=device)
    return _cast(scenes, blur, nowhere, nowhere, None, height, width, 0)[1][:, 0]


def _cast(
    scenes: Patches,
    blur_px: Tensor,
    offsets: Tensor,
    jitter: Tensor,
    tiles: Tensor | None,
    height: int,
    width: int,
    margin: int,
) -> tuple[Tensor, Tensor]:
    """Radiance and position of what each ray meets first, (B, K, h, w)."""
    device = blur_px.device
    x = torch.arange(width + 2 * margin, device=device) + 0.5 - margin
    y = torch.arange(height + 2 * margin, device=device) + 0.5 - margin
    x = x[None, None, None, :] + jitter[None, :, 0, None, None]
    y = y[None, None, :, None] + jitter[None, :, 1, None, None]
    reach = blur_px[:, None, None] * offsets
    ux, uy = reach[..., 0, None, None], reach[..., 1, None, None]
    shape = torch.broadcast_shapes(x.shape, y.shape, ux.shape)
    position = torch.full(shape, _BEHIND, device=device)
    px, py = torch.zeros(shape, device=device), torch.zeros(shape, device=device)
    index = torch.zeros(shape, dtype=torch.int32, device=device)
    state = position, px, py, index
    meet = compiled(_meet, device.type)
    places = _places(scenes, blur_px, height, width, margin) if device.type == "cpu" else None
    for i, number in enumerate(torch.arange(PATCHES, dtype=torch.int32, device=device).unbind()):
        patch = [value[:, i, None, None, None] for value in scenes[:SHAPE]]
        if places is None:
            state = meet(*state, number, x, y, ux, uy, *patch)
        elif (place := places[i]) is not None:
            rows, columns = place
            here = tuple(whole[..., rows, columns] for whole in state)
            # Copies, or it would be compiled anew for every way in which a part may lie in the whole.
            parts = [part.clone() for part in (*here, number, x[..., columns], y[..., rows, :])]
            for part, met in zip(here, meet(*parts, ux, uy, *patch), strict=True):
                part.copy_(met)
    position, px, py, index = state
    if tiles is None:
        return position, position
    look = compiled(_look, device.type)
    return look(px, py, index, tiles, torch.stack([v.float() for v in scenes[SHAPE:]])), position


def _places(scenes: Patches, blur_px: Tensor, height: int, width: int, margin: int) -> list[tuple[slice, slice] | None]:
    """The rows and columns of the views in which each patch can be met in any of the scenes; None: it is in none."""
    there = scenes.length > 0
    outline = (1 + scenes.wobble) ** (1 / scenes.power)
    # The lens's rim sees a patch shifted by half the blur at its position, which lies within 1.5 of the range's middle.
    reach = outline * torch.hypot(scenes.length, scenes.width) + 0.75 * blur_px[:, None] + 2
    found: list[tuple[slice, slice] | None] = []
    for i in range(PATCHES):
        sides = []
        for centre, size in ((scenes.y, height), (scenes.x, width)):
            first = torch.where(there, centre - reach, torch.inf)[:, i].min() + margin
            last = torch.where(there, centre + reach, -torch.inf)[:, i].max() + margin
            most = size + 2 * margin
            start, stop = int(first.clamp(0, most)), int(last.clamp(0, most))
            if start + 1 == stop:  # one row or column alone would be compiled anew
                start, stop = max(start - 1, 0), max(stop, 2)
            sides.append(slice(start, stop))
        found.append((sides[0], sides[1]) if all(side.start < side.stop for side in sides) else None)
    return found


@cache
def compiled(function: Callable[..., Any], device_type: str) -> Callable[..., Any]:
    """A function as one kernel for its elements, where there is what compiles it."""
    if device_type == "cuda":
        return torch.compile(function, dynamic=False)
    if device_type == "cpu" and _has_compiler():
        _config.use_duck_shape = False  # sizes that are equal once need not be the next time
        return torch.compile(function, dynamic=True)
    return function


def _has_compiler() -> bool:
    """Whether there are a C++ compiler and Python's headers, which compiling for a CPU takes."""
    headers = Path(sysconfig.get_path("include"), "Python.h")
    return shutil.which(os.environ.get("CXX", "g++")) is not None and headers.exists()


def _meet(
    position, px, py, index, i, x, y, ux, uy,
    cx, cy, cos, sin, length, width, power, wobble, lobes, stripes, solid,
    at, slope_x, slope_y, bulge, wave, wave_x, wave_y,
):  # fmt: skip
    """One more patch: wherever it is nearer, the ray's position, point and patch are its own."""
    rx, ry = x - cx, y - cy

    def turned(qx, qy):
        return (cos * qx + sin * qy) / length.clamp(min=1e-6), (cos * qy - sin * qx) / width.clamp(min=1e-6)

    def depth(qx, qy):
        along, across = turned(qx, qy)
        round_ = bulge * (1 - along * along - across * across).clamp(min=0)
        return at + slope_x * qx + slope_y * qy + round_ + wave * torch.sin(wave_x * qx + wave_y * qy)

    qx, qy = rx, ry
    for _ in range(_STEPS):
        away = depth(qx, qy) - 0.5
        qx, qy = rx + ux * away, ry + uy * away
    found = depth(qx, qy)
    along, across = turned(qx, qy)
    outline = 1 + wobble * torch.sin(lobes * torch.atan2(across, along))
    inside = (along.abs() + 1e-9) ** power + (across.abs() + 1e-9) ** power < outline
    gap = (along * length * stripes + 100.0) % 1
    inside = inside & ((stripes == 0) | (gap < solid)) & (length > 0) & (found > position)
    return (
        torch.where(inside, found, position),
        torch.where(inside, qx, px),
        torch.where(inside, qy, py),
        torch.where(inside, i, index),
    )


def _look(px: Tensor, py: Tensor, index: Tensor, tiles: Tensor, looks: Tensor) -> Tensor:
    """Radiance of points (B, K, h, w) on their patches; looks (17, B, N)."""
    b = px.shape[0]
    scene = torch.arange(b, device=px.device)[:, None, None, None]
    (tile, texels, cos, sin, tile_x, tile_y, low, high, dark, light, shade_x, shade_y,
     shadow, shadow_cos, shadow_sin, shadow_at, shadow_soft) = looks[:, scene, index.long()].unbind(0)  # fmt: skip
    u = (cos * px + sin * py) * texels + tile_x + 64.0 * SIZE
    v = (cos * py - sin * px) * texels + tile_y + 64.0 * SIZE
    left, top = u.floor(), v.floor()
    right_share, lower_share = u - left, v - top
    x0, y0 = left.long() % SIZE, top.long() % SIZE
    x1, y1 = (x0 + 1) % SIZE, (y0 + 1) % SIZE
    flat, base = tiles.reshape(-1), tile.long() * (SIZE * SIZE)
    upper = flat[base + y0 * SIZE + x0] * (1 - right_share) + flat[base + y0 * SIZE + x1] * right_share
    lower = flat[base + y1 * SIZE + x0] * (1 - right_share) + flat[base + y1 * SIZE + x1] * right_share
    value = upper * (1 - lower_share) + lower * lower_share
    value = ((value - low) / (high - low)).clamp(0, 1)
    shade = (1 + shade_x * px + shade_y * py).clamp(0.3, 2.0)
    edge = torch.sigmoid((shadow_cos * px + shadow_sin * py - shadow_at) / shadow_soft)
    return (dark + (light - dark) * value) * shade * (shadow + (1 - shadow) * edge)
