"""Definition of patch scenes: opaque surfaces (patches) whose inverse depth is a smooth function over the image.

Coordinates are pixels in the view from the centre of the lens, relative to the optical axis, x to the right and y down.
Depth is a position in the sweep's range, linear in diopters: 0 at the far end, 1 at the near end. Opaque surfaces seen
by a camera can be divided into such patches, except for sides that are visible only from the rim of the lens.
"""

import json
import math
from dataclasses import asdict, astuple, dataclass, fields
from functools import cached_property
from typing import Literal

import numpy as np

Kind = Literal["room", "open", "planes", "clutter", "tabletop", "relief", "layers", "slant"]

EVERYWHERE_PX = 1e6
"""Half the size of a patch without an outline."""

WAVE_BEND, WAVE_CROSS = 0.2, 0.6
"""Waves on a surface are bent by this many periods, by cross waves of this many times their frequency."""

WAVE_STEEPNESS = 8.0 * math.hypot(1.0, WAVE_BEND * WAVE_CROSS * 8.0)
"""Largest slope of a wave of amplitude and frequency 1."""

OUTLINE_STEPS = 512
"""Number of radii of an outline, evenly spaced in `diamond_angle`."""


@dataclass(frozen=True)
class Patch:
    """One surface: shape, depth and appearance."""

    x: float = 0.0  # centre
    y: float = 0.0
    cos: float = 1.0  # direction along the patch; across is a quarter turn further
    sin: float = 0.0
    length: float = EVERYWHERE_PX  # half of it along, px
    width: float = EVERYWHERE_PX  # half of it across, px
    gaps: float = 0.0  # gaps per px along, for grilles; 0: none
    solid: float = 1.0  # solid fraction between gaps
    mask: int = -1  # texture used as a mask; -1: none
    mask_texels: float = 1.0  # per px
    mask_x: float = 0.0  # texels
    mask_y: float = 0.0
    mask_level: float = 0.0  # the patch exists where the mask is above this
    position: float = 0.0  # at the centre
    slope_x: float = 0.0  # position per px
    slope_y: float = 0.0
    bulge: float = 0.0  # position of the centre minus that of the outline
    wave: float = 0.0  # amplitude of the bent waves
    wave_x: float = 0.0  # periods per px
    wave_y: float = 0.0
    texture: int = -1  # -1: plain
    texels: float = 1.0  # per px
    turn_cos: float = 1.0
    turn_sin: float = 0.0
    texture_x: float = 0.0  # texels
    texture_y: float = 0.0
    foreshortened: bool = False  # whether the texture is mapped to the surface or to the image
    texels_at: float = 0.0  # position at which `texels` holds for a foreshortened texture
    dark: float = 0.1  # radiance where the texture is 0
    light: float = 0.1  # radiance where it is 1
    shade_x: float = 0.0  # change of light, relative, per px
    shade_y: float = 0.0
    shadow: float = 1.0  # light in the shadow; 1: no shadow
    shadow_cos: float = 1.0  # direction out of the shadow
    shadow_sin: float = 0.0
    shadow_at: float = 0.0  # px from the centre
    shadow_soft: float = 1.0  # px over which it fades


PATCH = np.dtype([(field.name, field.type) for field in fields(Patch)], align=True)


@dataclass(frozen=True)
class PatchScene:
    """The patches of a scene, with their outlines and textures."""

    kind: Kind
    key: float  # geometric mean of the radiance
    patches: tuple[Patch, ...]
    outlines: np.ndarray  # (N, OUTLINE_STEPS + 1) float32, radius in half lengths and widths; the last is the first
    textures: tuple[int, ...]  # seeds of textures and then of masks
    first_mask: int
    farthest: float  # positions are clipped to these
    nearest: float
    infinity: float  # the position of 0 diopters

    @cached_property
    def table(self) -> np.ndarray:
        """The patches as (N,) `PATCH`."""
        return np.array([astuple(patch) for patch in self.patches], PATCH)

    def description(self) -> str:
        """JSON of kind, key, patches and texture seeds, for a file's attribute `scene`."""
        patches = [
            {name: value for name, value in asdict(patch).items() if value != getattr(_DEFAULT, name)}
            for patch in self.patches
        ]
        return json.dumps({"kind": self.kind, "key": self.key, "textures": self.textures, "patches": patches})


_DEFAULT = Patch()


def hill(phase: np.ndarray) -> np.ndarray:
    """A wave of two parabolas per period, close to a sine.

    Args:
        phase: periods, any shape.

    Returns:
        Values within ±1, same shape; 0 at whole periods, then rising.
    """
    part = 2 * (phase - np.floor(phase)) - 1
    return -4 * part * (1 - np.abs(part))


def diamond_angle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Direction of a vector as a number in [0, 4) that increases with the angle, without trigonometry.

    Args:
        x: first component, any shape.
        y: second component, the same shape; not both 0.

    Returns:
        Numbers of the same shape; 1 is a quarter turn.
    """
    along = y / (np.abs(x) + np.abs(y))
    return np.where(x < 0, 2 - along, np.where(y < 0, 4 + along, along)) % 4


def outline_directions() -> np.ndarray:
    """Angles in radians, (OUTLINE_STEPS + 1,), of an outline's radii."""
    diamond = 4 * np.arange(OUTLINE_STEPS + 1) / OUTLINE_STEPS
    quarter, part = np.divmod(diamond, 1)
    return np.pi / 2 * quarter + np.arctan2(part, 1 - part)
