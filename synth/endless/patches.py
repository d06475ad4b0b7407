"""Patch scenes: each surface a patch whose inverse depth is a smooth function over the image of the lens's middle.

Positions are pixels from the frame's upper left corner. Depth is a position in the sweep's range: 0 at the far end,
1 at the near end, in diopters. Whatever a camera sees of opaque surfaces can be cut into such patches; what is missing
is the flanks of things that only the lens's rim sees. The layouts are those of `sampling`.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from .lens import Chance, Lens

WALLS, BODIES = 6, 18
PATCHES = WALLS + BODIES
_EVERYWHERE_PX = 1e6


class Patches(NamedTuple):
    """N patches of B scenes, each array (B, N). Offsets from the centre are x, y; along and across are turned."""

    x: Tensor
    y: Tensor
    cos: Tensor
    sin: Tensor
    length: Tensor  # px, half of it along; 0: there is no such patch
    width: Tensor  # px, half of it across
    power: Tensor  # outline |along/length|ᵖ + |across/width|ᵖ = 1
    wobble: Tensor  # of the outline, relative
    lobes: Tensor
    stripes: Tensor  # gaps per px along; 0: none
    solid: Tensor  # the part between gaps that is there
    position: Tensor  # at the centre
    slope_x: Tensor  # position per px
    slope_y: Tensor
    bulge: Tensor  # how much nearer the centre is than the outline
    wave: Tensor  # amplitude of waves over it
    wave_x: Tensor  # radians per px
    wave_y: Tensor
    tile: Tensor  # int64, of the bank
    texels: Tensor  # per px
    turn_cos: Tensor
    turn_sin: Tensor
    tile_x: Tensor
    tile_y: Tensor
    low: Tensor  # value of the tile that is dark
    high: Tensor  # and light
    dark: Tensor  # radiance
    light: Tensor
    shade_x: Tensor  # change of light over the frame's width, relative
    shade_y: Tensor
    shadow: Tensor  # light in the shadow, 1: none
    shadow_cos: Tensor
    shadow_sin: Tensor
    shadow_at: Tensor  # px from the centre
    shadow_soft: Tensor  # px


SHAPE = Patches._fields.index("tile")
"""So many of the fields say where a patch is; the others say how it looks."""


def draw_patches(chance: Chance, lens: Lens, height: int, width: int, n_tiles: int) -> Patches:
    """One scene for each lens."""
    count = len(lens.blur_px)
    layout = chance.choice([0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 5, 5], count)
    walls = _walls(chance, layout, height, width)
    bodies = _bodies(chance, layout, walls, lens, height, width)
    shape = {name: torch.cat([walls[name], bodies[name]], dim=1) for name in walls}
    return Patches(**shape, **_looks(chance, count, width, n_tiles))


def _position(chance: Chance, low: float, high: float, *shape: int) -> Tensor:
    """Anywhere between parts of the range, widened by a tenth at both ends."""
    return -0.1 + 1.2 * chance.between(low, high, *shape)


def _walls(chance: Chance, layout: Tensor, height: int, width: int) -> dict[str, Tensor]:
    """A backdrop, a back wall, and up to four more planes; given by their positions at the frame's edges."""
    b = len(layout)
    kind = layout[:, None]
    edges = torch.full((b, WALLS, 4), -9.0, device=chance.device)  # left, right, top, bottom; −9: behind everything
    sky = -chance.between(0.1, 0.5, b)
    edges[:, 0] = sky[:, None]

    back = _position(chance, 0.0, 0.45, b)
    room = back[:, None] + chance.between(-0.3, 0.3, b, 4)
    planes = _position(chance, 0.0, 0.5, b, 4)
    clutter = _position(chance, 0.0, 0.3, b, 4)
    middle = _position(chance, 0.15, 0.75, b)
    relief = middle[:, None] + chance.between(-0.2, 0.2, b, 4)
    near_edge = _position(chance, 0.5, 1.1, b)
    horizon = chance.between(-0.1, 0.6, b)
    top = near_edge - (near_edge - sky) / (1 - horizon)
    roll = chance.between(-0.15, 0.15, b)
    ground = _level(top, near_edge, roll)
    table_top, table_bottom = _position(chance, -0.2, 0.35, b), _position(chance, 0.75, 1.1, b)
    table = _level(table_top, table_bottom, chance.between(-0.15, 0.15, b))
    behind = torch.where(chance.yes(0.6, b)[:, None], _position(chance, 0.0, 0.4, b, 4), -9.0)
    for number, first in enumerate((room, ground, planes, clutter, table, relief)):
        edges[:, 1] = torch.where(kind == number, first, edges[:, 1])
    edges[:, 2] = torch.where(kind == 4, behind, edges[:, 2])

    # Rooms: other surfaces pass through the back wall beside the middle and come nearer towards one edge.
    for at in range(4):
        slope = chance.between(0.0, 1.1, b) * (1.1 - back)
        rise, fall = back + slope, back - slope * chance.between(0.5, 1.5, b) - 0.1
        side = ((rise + fall) / 2)[:, None].expand(b, 4).clone()
        side[:, at], side[:, at ^ 1] = rise, fall
        there = (kind == 0) & (chance.yes(0.5, b)[:, None] if at == 2 else True)
        edges[:, 2 + at] = torch.where(there, side, edges[:, 2 + at])

    left, right, upper, lower = edges.unbind(-1)
    zero, one = torch.zeros_like(left), torch.ones_like(left)
    slope_x, slope_y = (right - left) / width, (lower - upper) / height
    wave = zero.clone()
    frequency = 2 * torch.pi / (width * chance.by_ratio(0.08, 0.5, b, WALLS))
    steep = 0.04  # position per px, so that no surface hides itself behind a wave
    wave[:, 1] = torch.where(layout == 5, chance.between(0.1, 0.5, b), 0.0)
    wave[:, 1] = torch.where(layout == 1, chance.between(0.0, 0.05, b), wave[:, 1])
    wave = torch.minimum(wave, steep / frequency)
    turn = chance.between(0.0, 2 * torch.pi, b, WALLS)
    there = torch.where(edges[..., 0] > -8, _EVERYWHERE_PX, 0.0)
    return {
        "x": one * width / 2,
        "y": one * height / 2,
        "cos": one,
        "sin": zero,
        "length": there,
        "width": there,
        "power": 2 * one,
        "wobble": zero,
        "lobes": zero,
        "stripes": zero,
        "solid": one,
        "position": edges.mean(-1),
        "slope_x": slope_x,
        "slope_y": slope_y,
        "bulge": zero,
        "wave": wave,
        "wave_x": frequency * torch.cos(turn),
        "wave_y": frequency * torch.sin(turn),
    }


def _level(top: Tensor, bottom: Tensor, roll: Tensor) -> Tensor:
    """(B, 4): the edges of a surface that rises downwards."""
    middle = (top + bottom) / 2
    return torch.stack([middle - roll, middle + roll, top, bottom], dim=-1)


def _bodies(
    chance: Chance, layout: Tensor, walls: dict[str, Tensor], lens: Lens, height: int, width: int
) -> dict[str, Tensor]:
    """Things of any outline and size; on a table they stand where it is as near as they are."""
    b, n = len(layout), BODIES
    kind = layout[:, None]
    x, y = chance.between(-0.05, 1.05, b, n) * width, chance.between(-0.05, 1.05, b, n) * height
    position = _position(chance, 0.0, 1.0, b, n)
    large = (kind == 2) & (torch.arange(n, device=chance.device) < 6)
    scale = torch.where(large, chance.by_ratio(0.2, 0.7, b, n), chance.by_ratio(0.04, 0.45, b, n))
    half = scale * width / 2
    table = walls["position"][:, 1, None] + walls["slope_y"][:, 1, None] * (y + 0.7 * half - height / 2)
    position = torch.where(kind == 4, table.clamp(-0.1, 1.1), position)
    elongated = torch.where(chance.yes(0.2, b, n), chance.by_ratio(0.04, 0.3, b, n), chance.between(0.4, 1.0, b, n))
    share = torch.tensor([0.7, 0.8, 0.5, 1.0, 0.8, 0.3], device=chance.device)[layout][:, None]
    there = chance.unit(b, n) < share * chance.between(0.3, 1.0, b)[:, None]
    striped = chance.yes(0.12, b, n)
    turn = chance.between(0.0, 2 * torch.pi, b, n)
    lean, toward = chance.between(0.0, 0.2, b, n) / (2 * half), chance.between(0.0, 2 * torch.pi, b, n)
    # A bulge leaves no point of the lens a second view of the same surface.
    bulge = torch.minimum(chance.by_ratio(0.003, 0.3, b, n), 0.6 * half * elongated / lens.blur_px[:, None])
    zero = torch.zeros(b, n, device=chance.device)
    return {
        "x": x,
        "y": y,
        "cos": torch.cos(turn),
        "sin": torch.sin(turn),
        "length": torch.where(there, half, 0.0),
        "width": half * elongated,
        "power": chance.choice([1.0, 2.0, 2.0, 2.0, 4.0, 12.0, 12.0, 12.0], b, n),
        "wobble": torch.where(chance.yes(0.4, b, n), chance.between(0.0, 0.5, b, n), 0.0),
        "lobes": chance.integers(9, b, n) + 2.0,
        "stripes": torch.where(striped, chance.between(1.5, 7.0, b, n) / half, 0.0),
        "solid": chance.between(0.15, 0.7, b, n),
        "position": position,
        "slope_x": lean * torch.cos(toward),
        "slope_y": lean * torch.sin(toward),
        "bulge": torch.where(chance.yes(0.6, b, n), bulge, 0.0),
        "wave": zero,
        "wave_x": zero,
        "wave_y": zero,
    }


def _looks(chance: Chance, b: int, width: int, n_tiles: int) -> dict[str, Tensor]:
    """Texture and light of every patch, as `appearance` draws them."""
    n = PATCHES
    dark = chance.by_ratio(0.02, 0.4, b, n)
    light = (dark * chance.by_ratio(1.5, 30.0, b, n)).clamp(max=0.9)
    swapped = chance.yes(0.3, b, n)
    dark, light = torch.where(swapped, light, dark), torch.where(swapped, dark, light)
    plain, black = chance.yes(0.08, b, n), chance.yes(0.06, b, n)
    light = torch.where(plain, dark, light)
    dim = chance.by_ratio(0.004, 0.03, b, n)
    dark, light = torch.where(black, dim, dark), torch.where(black, dim, light)
    lit = chance.by_ratio(0.3, 2.0, b, n)
    half = 0.5 * (1 - chance.unit(b, n)).clamp(min=0.02)
    turn, shadow_turn = chance.between(0.0, 2 * torch.pi, b, n), chance.between(0.0, 2 * torch.pi, b, n)
    feature_px = chance.by_ratio(2.0, 40.0, b, n)
    return {
        "tile": chance.integers(n_tiles, b, n),
        "texels": 128.0 / 12.0 / feature_px,
        "turn_cos": torch.cos(turn),
        "turn_sin": torch.sin(turn),
        "tile_x": chance.between(0.0, 128.0, b, n),
        "tile_y": chance.between(0.0, 128.0, b, n),
        "low": 0.5 - half,
        "high": 0.5 + half,
        "dark": dark * lit,
        "light": light * lit,
        "shade_x": chance.between(-0.6, 0.6, b, n) / width,
        "shade_y": chance.between(-0.6, 0.6, b, n) / width,
        "shadow": torch.where(chance.yes(0.35, b, n), chance.by_ratio(0.1, 0.8, b, n), 1.0),
        "shadow_cos": torch.cos(shadow_turn),
        "shadow_sin": torch.sin(shadow_turn),
        "shadow_at": chance.between(-0.3, 0.3, b, n) * width,
        "shadow_soft": chance.by_ratio(0.3, 12.0, b, n),
    }
