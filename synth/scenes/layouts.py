"""Samples procedural scenes from a seed, a number and a configuration."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy.spatial.transform import Rotation

from ...capture.calibration import Calibration
from ...capture.errors import SweepdepthError
from . import appearance
from .bodies import BODIES, THIN, SceneContext, body, body_at, wall
from .frustum import Frustum
from .random_source import RandomSource
from .scene import Adversity, BlendFile, Lamp, Scene, SceneKind, Shape, Thing

_SCENE = 10  # random stream
_ASSET_SUFFIXES = {".gltf", ".glb", ".obj"}

KINDS: dict[SceneKind, float] = {"room": 4, "open": 3, "planes": 3, "clutter": 4, "tabletop": 3, "relief": 2}


class SceneConfig(BaseModel):
    """Distributions of procedural scenes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    beyond: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Extension of depth beyond either end of the sweep, as a fraction of its range."""
    farthest_m: Annotated[float, Field(gt=0, le=1000)] = 95.0
    """Largest depth, where the sky is."""
    objects: tuple[Annotated[int, Field(ge=0)], Annotated[int, Field(le=1000)]] = (8, 40)
    """Range of the number of loose objects."""
    adversarial: Annotated[float, Field(ge=0, le=1)] = 0.04
    """Fraction of scenes with a repetitive texture, transparent objects or mirrors."""
    key: tuple[Annotated[float, Field(gt=0)], float] = (0.09, 0.36)
    """Exposure: geometric mean of radiance, relative to about 1 for a white sheet (0.18: Reinhard et al. 2002)."""
    assets: tuple[Path, ...] = ()
    """Folder of models used as objects; see `find_assets`."""
    asset_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Fraction of objects that are models, if there are any."""
    blend: Path | None = None
    """A Blender file whose scene is rendered instead of procedural ones."""
    viewpoint: Literal["camera", "sampled"] = "camera"
    """Viewpoint in a Blender file."""

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name, (low, high) in (("objects", self.objects), ("key", self.key)):
            if high < low:
                raise ValueError(f"{name}: the range [{low}, {high}] must go from the lowest value to the highest")
        return self


def find_assets(folder: Path) -> tuple[Path, ...]:
    """All glTF, GLB and OBJ models in a folder and its subfolders, sorted by name.

    Raises:
        SweepdepthError: there are none.
    """
    found = sorted(p.resolve() for p in folder.rglob("*") if p.suffix.lower() in _ASSET_SUFFIXES)
    if not found:
        raise SweepdepthError(f"{folder}: holds no models; expected .gltf, .glb or .obj files")
    return tuple(found)


def sample_scene(seed: int, index: int, config: SceneConfig, calibration: Calibration) -> Scene:
    """Sample scene number `index` of a dataset, which depends only on these arguments.

    Depths are uniform in diopters over the calibration's sweep and a little beyond; sizes and textures are chosen in
    pixels.
    """
    rng = RandomSource(seed, index, _SCENE)
    key = rng.log_uniform(*config.key)
    if config.blend is not None:
        blend = BlendFile(path=config.blend, viewpoint=config.viewpoint)
        return Scene(seed=seed, index=index, key=key, blend=blend)
    frustum = Frustum.of(calibration, config.beyond, config.farthest_m)
    kind = rng.weighted(KINDS)
    adversities: list[Adversity] = ["repetition", "transparency", "mirror"]
    adversity = rng.pick(adversities) if rng.chance(config.adversarial) else None
    lamps, sky = appearance.light(rng, frustum)
    repeated = appearance.material(rng, frustum, frustum.middle, regular=True) if adversity == "repetition" else None
    low, high = config.objects
    crowd = round(rng.log_uniform(low, high)) if low else rng.integer(low, high)
    context = SceneContext(rng, frustum, crowd, config.assets, config.asset_share, repeated)
    things = [_sky_shell(rng, frustum, config.farthest_m, sky.above), *_LAYOUTS[kind](context)]
    if rng.chance(0.4):
        things += [body(context, rng.weighted(THIN)) for _ in range(rng.integer(1, 4))]
    if adversity == "transparency":
        things += [body(context, solid, appearance.glass(rng)) for solid in ("card", "sphere", "box", "blob")]
    if adversity == "mirror":
        things += [body(context, "card", appearance.mirror()) for _ in range(rng.integer(1, 3))]
    return Scene(
        seed=seed,
        index=index,
        kind=kind,
        adversity=adversity,
        key=key,
        things=tuple(things),
        lamps=tuple(_moved_inside(lamp, things) for lamp in lamps),
        sky=sky,
    )


def _moved_inside(lamp: Lamp, things: list[Thing]) -> Lamp:
    """Move a lamp towards the camera until it is in front of all walls, so that they do not block it."""
    if lamp.kind == "sun":
        return lamp
    walls = [t for t in things if t.scenery and isinstance(t.body, Shape) and t.body.kind == "plane"]
    normals = [Rotation.from_euler("xyz", wall.rotation).as_matrix()[:, 2] for wall in walls]
    at = np.array(lamp.position)
    for part in np.linspace(1.0, 0.0, 21):
        margin = 0.1 * np.linalg.norm(np.subtract(lamp.target, at * part))
        if all((at * part - wall.position) @ normal > margin for wall, normal in zip(walls, normals, strict=True)):
            break
    x, y, z = (float(c) for c in at * part)
    return lamp.model_copy(update={"position": (x, y, z)})


def _sky_shell(rng: RandomSource, frustum: Frustum, farthest_m: float, radiance: float) -> Thing:
    """A sphere around the scene at the farthest depth, so that depth is finite everywhere."""
    radius = 0.999 * farthest_m
    feature = frustum.metres(rng.log_uniform(8.0, appearance.COARSEST_PX), 1 / radius)
    return Thing(
        body=Shape(kind="shell", size=(2 * radius, 2 * radius, 2 * radius)),
        position=(0.0, 0.0, 0.0),
        material=appearance.backdrop(rng, feature, radiance),
        scenery=True,
    )


def _bodies(context: SceneContext, share: float = 1.0) -> list[Thing]:
    return [body(context) for _ in range(round(share * context.crowd))]


def _room(context: SceneContext) -> list[Thing]:
    """Walls, floor and perhaps a ceiling that meet at a back wall, with objects between them."""
    rng = context.rng
    back = context.diopters(0.0, 0.45)
    tilt = 0.3 * context.frustum.range

    def side() -> float:
        return rng.uniform(0.0, 1.1) * (context.frustum.near - back)

    things = [wall(context, *(max(back + rng.uniform(-tilt, tilt), 0.5 * back) for _ in range(4)))]
    # Each of the other surfaces meets the back wall off-centre and gets nearer towards one edge.
    slopes = {"left": side(), "right": side(), "bottom": side(), "top": side() if rng.chance(0.5) else None}
    for edge, slope in slopes.items():
        if slope is None:
            continue
        rise = back + slope
        fall = back - slope * rng.uniform(0.5, 1.5) - 0.1 * context.frustum.range
        across = (rise + fall) / 2
        edges = {"left": across, "right": across, "top": across, "bottom": across}
        opposite = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}[edge]
        edges[edge], edges[opposite] = rise, fall
        things.append(wall(context, edges["left"], edges["right"], edges["top"], edges["bottom"]))
    return things + _bodies(context, 0.7)


def _open(context: SceneContext) -> list[Thing]:
    """Ground to the horizon under an open sky."""
    rng, f = context.rng, context.frustum
    bottom = context.diopters(0.5, 1.1)
    horizon = rng.uniform(-0.1, 0.6)  # of the frame's height, from the top
    top = bottom - bottom / (1.0 - horizon)  # 1/z = 0 at the horizon
    roll = rng.uniform(-0.15, 0.15) * f.range
    middle = (top + bottom) / 2
    bumps = f.metres(rng.log_uniform(2, 20), bottom) if rng.chance(0.5) else 0.0
    return [wall(context, middle - roll, middle + roll, top, bottom, bumps), *_bodies(context)]


def _planes(context: SceneContext) -> list[Thing]:
    """Large tilted planes in front of each other."""
    rng = context.rng
    things = [wall(context, *(context.diopters(0.0, 0.5) for _ in range(4)))]
    for _ in range(rng.integer(3, 9)):
        f, diopters = context.frustum, context.diopters()
        where = f.point(rng.uniform(0, f.width), rng.uniform(0, f.height), diopters)
        kind = "sheet" if rng.chance(0.3) else "card"
        things.append(body_at(context, kind, where, rng.log_uniform(0.2, 0.7) * f.width, diopters))
    return things + _bodies(context, 0.2)


def _clutter(context: SceneContext) -> list[Thing]:
    """Objects of all sizes at all depths in front of a tilted wall."""
    return [wall(context, *(context.diopters(0.0, 0.3) for _ in range(4))), *_bodies(context, 1.4)]


def _tabletop(context: SceneContext) -> list[Thing]:
    """A table at a grazing angle with objects on it, and perhaps a wall behind."""
    rng, f = context.rng, context.frustum
    top, bottom = context.diopters(-0.2, 0.35), context.diopters(0.75, 1.1)
    roll = rng.uniform(-0.15, 0.15) * f.range
    middle = (top + bottom) / 2
    things = [wall(context, middle - roll, middle + roll, top, bottom)]
    if rng.chance(0.6):
        things.append(wall(context, *(context.diopters(0.0, 0.4) for _ in range(4))))
    for _ in range(context.crowd):
        y = rng.uniform(0.05, 0.95)
        diopters = min(max(top + (bottom - top) * y, f.far), f.near)
        pixels = rng.log_uniform(0.05, 0.3) * f.width
        # It stands on the table at y, so its centre is half its height above.
        where = f.point(rng.uniform(0, f.width), y * f.height - 0.4 * pixels, diopters)
        things.append(body_at(context, rng.weighted(BODIES), where, pixels, diopters))
    return things


def _relief(context: SceneContext) -> list[Thing]:
    """A wavy surface that fills the view, with a few objects in front."""
    rng, f = context.rng, context.frustum
    middle = context.diopters(0.15, 0.75)
    edges = [max(middle + rng.uniform(-0.2, 0.2) * f.range, f.far) for _ in range(4)]
    height = min(rng.uniform(0.2, 1.0) * f.range / middle**2, 0.5 / middle)
    return [wall(context, *edges, bumps_m=height), *_bodies(context, 0.3)]


_LAYOUTS: dict[SceneKind, Callable[[SceneContext], list[Thing]]] = {
    "room": _room,
    "open": _open,
    "planes": _planes,
    "clutter": _clutter,
    "tabletop": _tabletop,
    "relief": _relief,
}
