"""Samples patch scenes, in the layouts of `synth.scenes.layouts` and two more."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from ...capture.calibration import Calibration
from ..scenes.layouts import SceneConfig
from ..scenes.random_source import RandomSource
from . import outlines
from .scene import WAVE_STEEPNESS, Kind, Patch, PatchScene

_PATCHES = 15  # random stream
KINDS: dict[Kind, float] = {
    "room": 3,
    "open": 2,
    "planes": 3,
    "clutter": 4,
    "tabletop": 3,
    "relief": 2,
    "layers": 5,
    "slant": 2,
}
_TEXTURES = 7
"""Textures per scene; surfaces share them at different sizes, directions and tones."""
_MASKS = 2
_STEEPEST = 0.4
"""Largest change of shift per px between the centre and the rim of the lens, so that rays converge in few steps."""


@dataclass
class PatchMaker:
    """Draws patches for one camera."""

    rng: RandomSource
    width: int  # px
    height: int
    x: float  # centre of the frame, px from the optical axis
    y: float
    blur_px: float  # over the whole range
    farthest: float  # position
    nearest: float
    crowd: int  # number of loose objects
    shapes: list[np.ndarray] = field(default_factory=list)  # outlines, one per patch

    def position(self, low: float = 0.0, high: float = 1.0) -> float:
        """A uniform position between two fractions of the possible range."""
        return self.farthest + (self.nearest - self.farthest) * self.rng.uniform(low, high)

    def turned(self, **values: Any) -> Patch:
        """A patch with a random direction and outline."""
        turn = self.rng.uniform(0, 2 * np.pi)
        self.shapes.append(outlines.outline(self.rng))
        return Patch(**{"cos": np.cos(turn), "sin": np.sin(turn)} | values)

    def wall(self, left: float, right: float, top: float, bottom: float, wave: float = 0.0) -> Patch:
        """An unbounded surface, by its positions at the frame's edges; `wave` is the amplitude of waves on it."""
        rng = self.rng
        self.shapes.append(outlines.full())
        frequency = 1 / (self.width * rng.log_uniform(0.08, 0.5))
        wave = min(wave, _STEEPEST / (WAVE_STEEPNESS * frequency * self.blur_px / 2))
        slope_x, slope_y = (right - left) / self.width, (bottom - top) / self.height
        flatter = min(1.0, _STEEPEST / max(np.hypot(slope_x, slope_y) * self.blur_px / 2, 1e-9))
        turn = rng.uniform(0, 2 * np.pi)
        wall = Patch(
            x=self.x,
            y=self.y,
            position=(left + right + top + bottom) / 4,
            slope_x=slope_x * flatter,
            slope_y=slope_y * flatter,
            wave=wave,
            wave_x=frequency * np.cos(turn),
            wave_y=frequency * np.sin(turn),
            foreshortened=wave == 0 and rng.chance(0.7),
            texels_at=float(np.clip([left, right, top, bottom], self.farthest, self.nearest).mean()),
        )
        return self.painted(wall)

    def body(self, position: float | None = None, x: float | None = None, y: float | None = None, **sizes) -> Patch:
        """A loose object, at a random place unless given."""
        rng = self.rng
        x = rng.uniform(-0.55, 0.55) * self.width if x is None else x
        y = rng.uniform(-0.55, 0.55) * self.height if y is None else y
        half = sizes.get("half") or rng.log_uniform(0.03, 0.45) * self.width / 2
        thin = rng.log_uniform(0.02, 0.3) if rng.chance(0.2) else rng.uniform(0.4, 1.0)
        lean, toward = min(rng.uniform(0.0, 0.25) / (2 * half), 0.2 / self.blur_px), rng.uniform(0, 2 * np.pi)
        bulge = min(rng.log_uniform(0.003, 0.3), _STEEPEST * half * thin / self.blur_px)
        patch = self.turned(
            x=self.x + x,
            y=self.y + y,
            length=half,
            width=half * thin,
            gaps=rng.uniform(1.5, 7.0) / half if rng.chance(0.12) else 0.0,
            solid=rng.uniform(0.15, 0.7),
            position=self.position() if position is None else position,
            slope_x=lean * np.cos(toward),
            slope_y=lean * np.sin(toward),
            bulge=bulge if rng.chance(0.5) else 0.0,
        )
        return self.painted(patch)

    def painted(self, patch: Patch, rich: bool = False) -> Patch:
        """The patch with a random texture and light; `rich`: with high contrast."""
        rng = self.rng
        dark = rng.log_uniform(0.02, 0.5)
        light = dark * (1 + rng.log_uniform(0.5 if rich else 0.1, 25.0))
        dark, light = (dark / light * 0.95, 0.95) if light > 0.95 else (dark, light)
        if rng.chance(0.3):
            dark, light = light, dark
        plain = rng.chance(0.03 if rich else 0.22)
        if not rich and rng.chance(0.05):
            plain, dark = True, rng.log_uniform(0.004, 0.03)
        lit = rng.log_uniform(0.3, 2.0)
        turn, away = rng.uniform(0, 2 * np.pi), rng.uniform(0, 2 * np.pi)
        size = min(2 * patch.length, self.width)
        shade = rng.log_uniform(0.02, 0.9) / size
        toward = rng.uniform(0, 2 * np.pi)
        return replace(
            patch,
            texture=-1 if plain else rng.integer(0, _TEXTURES - 1),
            texels=rng.log_uniform(0.7, 3.0),
            turn_cos=np.cos(turn),
            turn_sin=np.sin(turn),
            texture_x=rng.uniform(0, 512),
            texture_y=rng.uniform(0, 512),
            dark=dark * lit,
            light=light * lit,
            shade_x=shade * np.cos(toward),
            shade_y=shade * np.sin(toward),
            shadow=rng.log_uniform(0.1, 0.8) if rng.chance(0.35) else 1.0,
            shadow_cos=np.cos(away),
            shadow_sin=np.sin(away),
            shadow_at=rng.uniform(-0.3, 0.3) * size,
            shadow_soft=rng.log_uniform(1.0, 60.0),
        )


def sample_patches(seed: int, index: int, config: SceneConfig, calibration: Calibration) -> PatchScene:
    """Sample patch scene number `index` of a dataset.

    Args:
        seed: of the dataset.
        index: number of the scene.
        config: `beyond`, `farthest_m`, `objects` and `key` apply.
        calibration: of the whole sensor; a window of it shows a part of the same scene.

    Returns:
        The scene, which is determined by the arguments.
    """
    rng = RandomSource(seed, index, _PATCHES)
    camera, sweep = calibration.camera, calibration.sweep
    key = rng.log_uniform(*config.key)
    kind = rng.weighted(KINDS)
    low, high = config.objects
    infinity = -sweep.far_diopters / sweep.range_diopters
    farthest = max(-config.beyond, infinity + 1 / config.farthest_m / sweep.range_diopters)
    maker = PatchMaker(
        rng,
        camera.width,
        camera.height,
        camera.width / 2 - camera.cx,
        camera.height / 2 - camera.cy,
        max(camera.fx, camera.fy) * calibration.lens.aperture_m * sweep.range_diopters,
        farthest,
        1 + config.beyond,
        round(rng.log_uniform(low, high)) if low else rng.integer(low, high),
    )
    backdrop = maker.wall(*4 * (farthest,))
    patches = (backdrop, *_LAYOUTS[kind](maker))
    textures = tuple(rng.seed() for _ in range(_TEXTURES + _MASKS))
    return PatchScene(
        kind, key, patches, np.array(maker.shapes), textures, _TEXTURES, farthest, maker.nearest, infinity
    )


def _bodies(maker: PatchMaker, share: float = 1.0) -> list[Patch]:
    return [maker.body() for _ in range(round(share * maker.crowd))]


def _room(maker: PatchMaker) -> list[Patch]:
    """Walls, floor and perhaps a ceiling that meet at a back wall, with objects between them."""
    rng, back = maker.rng, maker.position(0.0, 0.45)
    things = [maker.wall(*(back + rng.uniform(-0.3, 0.3) for _ in range(4)))]
    for edge in range(4):  # left, right, top, bottom
        if edge == 2 and rng.chance(0.5):
            continue
        slope = rng.uniform(0.0, 1.1) * (1.1 - back)
        rise, fall = back + slope, back - slope * rng.uniform(0.5, 1.5) - 0.1
        edges = [(rise + fall) / 2] * 4
        edges[edge], edges[edge ^ 1] = rise, fall
        things.append(maker.wall(*edges))
    return things + _bodies(maker, 0.7)


def _level(maker: PatchMaker, top: float, bottom: float, wave: float = 0.0) -> Patch:
    """A surface that gets nearer downwards."""
    roll, middle = maker.rng.uniform(-0.15, 0.15), (top + bottom) / 2
    return maker.wall(middle - roll, middle + roll, top, bottom, wave)


def _open(maker: PatchMaker) -> list[Patch]:
    """Ground to the horizon under an open sky."""
    rng, bottom = maker.rng, maker.position(0.5, 1.0)
    horizon = rng.uniform(-0.1, 0.6)  # of the frame's height, from the top
    top = bottom - (bottom - maker.farthest) / (1 - horizon)
    return [_level(maker, top, bottom, rng.uniform(0.0, 0.05) if rng.chance(0.5) else 0.0), *_bodies(maker)]


def _planes(maker: PatchMaker) -> list[Patch]:
    """Large tilted planes in front of each other."""
    rng = maker.rng
    things = [maker.wall(*(maker.position(0.0, 0.5) for _ in range(4)))]
    large = [maker.body(half=rng.log_uniform(0.2, 0.7) * maker.width / 2) for _ in range(rng.integer(3, 9))]
    return things + large + _bodies(maker, 0.2)


def _clutter(maker: PatchMaker) -> list[Patch]:
    """Objects of all sizes at all depths in front of a tilted wall."""
    return [maker.wall(*(maker.position(0.0, 0.3) for _ in range(4))), *_bodies(maker, 1.4)]


def _tabletop(maker: PatchMaker) -> list[Patch]:
    """A table at a grazing angle with objects on it, and perhaps a wall behind."""
    rng = maker.rng
    top, bottom = maker.position(-0.2, 0.35), maker.position(0.75, 1.0)
    table = _level(maker, top, bottom)
    things = [table]
    if rng.chance(0.6):
        things.append(maker.wall(*(maker.position(0.0, 0.4) for _ in range(4))))
    for _ in range(maker.crowd):
        half = rng.log_uniform(0.05, 0.3) * maker.width / 2
        x, foot = rng.uniform(-0.5, 0.5) * maker.width, rng.uniform(-0.45, 0.45) * maker.height
        at = table.position + table.slope_x * x + table.slope_y * foot
        at = min(max(at, maker.farthest), maker.nearest)
        things.append(maker.body(at, x, foot - 0.7 * half, half=half))
    return things


def _relief(maker: PatchMaker) -> list[Patch]:
    """A wavy surface that fills the view, with a few objects in front."""
    rng, middle = maker.rng, maker.position(0.15, 0.75)
    edges = [middle + rng.uniform(-0.2, 0.2) for _ in range(4)]
    surface = maker.painted(maker.wall(*edges, wave=rng.uniform(0.1, 0.5)), rich=rng.chance(0.7))
    return [surface, *_bodies(maker, 0.3)]


def _layers(maker: PatchMaker) -> list[Patch]:
    """Cut-out layers across the whole frame, level or tilted, each with about the same visible area."""
    rng, count = maker.rng, maker.rng.integer(3, 12)
    positions = sorted(maker.position() for _ in range(count))
    tilt = rng.log_uniform(0.01, 0.4) if rng.chance(0.5) else 0.0
    layers = []
    for i, position in enumerate(positions):
        wall = maker.wall(*(position + rng.uniform(-tilt, tilt) for _ in range(4)))
        wall = maker.painted(wall, rich=True)
        if i:
            part = min(rng.uniform(0.6, 1.4) / (i + 1), 0.8)
            wall = replace(
                wall,
                mask=_TEXTURES + rng.integer(0, _MASKS - 1),
                mask_texels=rng.log_uniform(0.4, 2.0),
                mask_x=rng.uniform(0, 512),
                mask_y=rng.uniform(0, 512),
                mask_level=1 - part,
            )
        layers.append(wall)
    return layers


def _slant(maker: PatchMaker) -> list[Patch]:
    """A plane that fills the frame, level or through up to the whole range, rarely with objects in front."""
    rng, middle = maker.rng, maker.position()
    steep, turn = rng.uniform(0.0, 0.6), rng.uniform(0, 2 * np.pi)
    x, y = steep * np.cos(turn), steep * np.sin(turn)
    wall = maker.painted(maker.wall(middle - x, middle + x, middle - y, middle + y), rich=rng.chance(0.7))
    return [wall, *(_bodies(maker, 0.3) if rng.chance(0.4) else [])]


_LAYOUTS: dict[Kind, Callable[[PatchMaker], list[Patch]]] = {
    "room": _room,
    "open": _open,
    "planes": _planes,
    "clutter": _clutter,
    "tabletop": _tabletop,
    "relief": _relief,
    "layers": _layers,
    "slant": _slant,
}
