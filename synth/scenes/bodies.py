"""Random objects for procedural scenes: walls that fill the view, and loose objects of any kind, size and place."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.spatial.transform import Rotation

from . import appearance
from .frustum import Frustum
from .random_source import RandomSource
from .scene import Asset, Material, Shape, Thing, Vector

BODIES = {
    "box": 4, "sphere": 3, "blob": 4, "cylinder": 3, "cone": 2, "torus": 2, "knot": 2, "star": 2, "card": 4,
    "sheet": 2, "wire": 2, "grille": 1, "leaves": 2,
}  # fmt: skip
THIN = {"wire": 3, "grille": 2, "leaves": 2, "rod": 3}

_DEEPEST = 0.4
"""Largest size of solid objects relative to their distance, so that the camera is never inside them."""
_WIDEST = 1.5
"""The same for flat objects."""


@dataclass(frozen=True)
class SceneContext:
    """Shared state of the object makers: random source, view, and available materials and models."""

    rng: RandomSource
    frustum: Frustum
    crowd: int  # approximate number of loose objects
    assets: tuple[Path, ...] = ()
    asset_share: float = 0.0
    repeated: Material | None = None  # a single material for all objects

    def material(self, diopters: float, surfaces: Mapping[str, float] = appearance.SURFACES) -> Material:
        """A random material for a surface at an inverse depth."""
        return self.repeated or appearance.material(self.rng, self.frustum, diopters, surfaces=surfaces)

    def diopters(self, low: float = 0.0, high: float = 1.0) -> float:
        """A uniform inverse depth within a part of the range (0: far, 1: near)."""
        return self.frustum.far + self.frustum.range * self.rng.uniform(low, high)


def wall(context: SceneContext, left: float, right: float, top: float, bottom: float, bumps_m: float = 0.0) -> Thing:
    """A plane with these inverse depths at the frame's edges, large enough to fill the view where it is in range."""
    f, rng = context.frustum, context.rng
    normal, distance = f.plane(left, right, top, bottom)
    x, y = np.meshgrid(np.linspace(-0.1, 1.1, 25) * f.width, np.linspace(-0.1, 1.1, 25) * f.height)
    rays = np.stack([(x - f.cx) / f.fx, -(y - f.cy) / f.fy, -np.ones_like(x)], axis=-1).reshape(-1, 3)
    diopters = rays @ -normal / distance
    seen = rays[diopters >= 0.9 * f.far] / diopters[diopters >= 0.9 * f.far, None]
    centre = (seen.min(axis=0) + seen.max(axis=0)) / 2 if len(seen) else -normal * distance
    centre -= normal * (normal @ centre + distance)
    radius = np.linalg.norm(seen - centre, axis=1).max() if len(seen) else distance
    size = 3.0 * float(radius)
    shape = Shape(
        kind="plane",
        size=(size, size, max(bumps_m, 1e-3)),
        bumps=0.5 if bumps_m else 0.0,
        bump_scale=rng.log_uniform(0.05, 0.3),
        seed=rng.seed(),
    )
    middle = min(max((left + right + top + bottom) / 4, f.far), f.near)
    px, py, pz = (float(c) for c in centre)
    return Thing(
        body=shape,
        position=(px, py, pz),
        rotation=facing(rng, normal),
        material=context.material(middle, appearance.WALLS),
        scenery=True,
    )


def body(context: SceneContext, kind: str | None = None, material: Material | None = None) -> Thing:
    """A loose object of random kind, size and place."""
    f, rng = context.frustum, context.rng
    diopters = context.diopters()
    x, y = rng.uniform(-0.05, 1.05) * f.width, rng.uniform(-0.05, 1.05) * f.height
    pixels = rng.log_uniform(0.05, 0.45) * f.width
    return body_at(context, kind or rng.weighted(BODIES), f.point(x, y, diopters), pixels, diopters, material)


def body_at(
    context: SceneContext, kind: str, position: Vector, pixels: float, diopters: float, material: Material | None = None
) -> Thing:
    """An object of a kind at a place, with a size of about `pixels` at an inverse depth."""
    f, rng = context.frustum, context.rng
    length = f.metres(pixels, diopters)
    if context.assets and kind not in THIN and rng.chance(context.asset_share):
        model = Asset(path=rng.pick(context.assets), size_m=min(length, _DEEPEST / diopters))
        return Thing(body=model, position=position, rotation=rng.angles(), material=material)
    material = material or context.material(diopters)
    if kind in _FLAT:
        length = min(length * rng.uniform(1.0, 2.5), _WIDEST / diopters)
        # Depth difference between its ends: a fraction of the sweep's range.
        slope = min(0.8, 0.2 * f.range / (diopters**2 * length))
        shape, rotation = _FLAT[kind](rng, length, slope, f.metres(rng.log_uniform(1.0, 5.0), diopters) / length)
    else:
        length = min(length, _DEEPEST / diopters)
        thin = min(max(f.metres(rng.log_uniform(1.0, 5.0), diopters) / length, 0.005), 0.3)
        shape, rotation = _SOLID.get(kind, _named(kind))(rng, length, thin)
    return Thing(body=shape, position=position, rotation=rotation, material=material)


def facing(rng: RandomSource, normal: np.ndarray) -> Vector:
    """Euler angles that rotate +z to a unit normal, with random spin about it."""
    spin = Rotation.from_rotvec(rng.uniform(-np.pi, np.pi) * normal)
    tilt = Rotation.align_vectors(normal[None], np.array([[0.0, 0.0, 1.0]]))[0]
    x, y, z = (spin * tilt).as_euler("xyz")
    return (float(x), float(y), float(z))


def _leaning(rng: RandomSource, slope: float) -> Vector:
    """Euler angles of a flat object that faces the camera up to a slope, with random spin."""
    lean = slope * rng.direction()
    normal = np.array([lean[0], lean[1], 1.0])
    return facing(rng, normal / np.linalg.norm(normal))


def _box_edges(rng: RandomSource, length: float) -> tuple[float, float, float]:
    return (length * rng.uniform(0.5, 1.0), length * rng.uniform(0.5, 1.0), length * rng.uniform(0.5, 1.0))


def _card(rng: RandomSource, length: float, slope: float, _thin: float) -> tuple[Shape, Vector]:
    shape = Shape(kind="plane", size=(length, length * rng.uniform(0.4, 1.0), 1e-3))
    return shape, _leaning(rng, slope)


def _sheet(rng: RandomSource, length: float, slope: float, _thin: float) -> tuple[Shape, Vector]:
    shape = Shape(
        kind="plane",
        size=(length, length * rng.uniform(0.4, 1.0), length * rng.uniform(0.02, 0.1)),
        bumps=0.5,
        bump_scale=rng.uniform(0.15, 0.6),
        seed=rng.seed(),
    )
    return shape, _leaning(rng, slope)


def _grille(rng: RandomSource, length: float, slope: float, thin: float) -> tuple[Shape, Vector]:
    bars = rng.integer(3, 14)
    thickness = min(max(thin, 0.002), 0.5 / bars)
    shape = Shape(kind="grille", size=(length, length, length), thickness=thickness, pieces=bars, seed=rng.seed())
    return shape, _leaning(rng, slope)


def _blob(rng: RandomSource, length: float, _thin: float) -> tuple[Shape, Vector]:
    shape = Shape(
        kind="sphere",
        size=_box_edges(rng, length),
        bumps=rng.uniform(0.03, 0.15),
        bump_scale=rng.uniform(0.2, 0.8),
        seed=rng.seed(),
    )
    return shape, rng.angles()


def _wire(rng: RandomSource, length: float, thin: float) -> tuple[Shape, Vector]:
    size = (length * rng.uniform(1.0, 2.5), length, 0.3 * length)
    shape = Shape(kind="wire", size=size, thickness=thin, pieces=rng.integer(1, 6), seed=rng.seed())
    return shape, (0.0, 0.0, rng.uniform(-np.pi, np.pi))


def _rod(rng: RandomSource, length: float, thin: float) -> tuple[Shape, Vector]:
    size = (thin * length, length * rng.uniform(1.0, 3.0), thin * length)
    shape = Shape(kind="cylinder", size=size, taper=rng.uniform(-0.4, 0.4))
    return shape, (rng.uniform(-0.4, 0.4), 0.0, rng.uniform(-np.pi, np.pi))


def _leaves(rng: RandomSource, length: float, _thin: float) -> tuple[Shape, Vector]:
    shape = Shape(
        kind="leaves",
        size=_box_edges(rng, length),
        thickness=rng.uniform(0.08, 0.25),
        pieces=rng.integer(20, 120),
        seed=rng.seed(),
    )
    return shape, rng.angles()


def _named(kind: str) -> Callable[[RandomSource, float, float], tuple[Shape, Vector]]:
    """Maker of objects that are a shape of the same name, sometimes twisted or tapered."""

    def make(rng: RandomSource, length: float, _thin: float) -> tuple[Shape, Vector]:
        shape = Shape(
            kind=kind,  # pyright: ignore[reportArgumentType]
            size=_box_edges(rng, length),
            twist=rng.uniform(-2, 2) if rng.chance(0.2) else 0.0,
            taper=rng.uniform(-0.6, 0.6) if rng.chance(0.2) else 0.0,
            thickness=rng.uniform(0.08, 0.35),
            pieces=rng.integer(3, 9),
            seed=rng.seed(),
        )
        return shape, rng.angles()

    return make


_FLAT = {"card": _card, "sheet": _sheet, "grille": _grille}
_SOLID = {"blob": _blob, "wire": _wire, "rod": _rod, "leaves": _leaves}
