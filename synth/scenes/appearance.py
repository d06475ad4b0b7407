"""Random textures, materials and light for procedural scenes."""

import math
from collections.abc import Mapping

from .frustum import Frustum
from .random_source import RandomSource
from .scene import Lamp, LampKind, Material, Sky, Texture, TextureKind

TEXTURES: dict[TextureKind, float] = {
    "noise": 6, "patches": 3, "cells": 2, "cracks": 2, "marble": 2, "waves": 1, "rings": 1, "checker": 1, "bricks": 1,
}  # fmt: skip
REGULAR: dict[TextureKind, float] = {"checker": 3, "waves": 2, "bricks": 2, "rings": 1}
SURFACES = {"textured": 66, "glossy": 10, "plain": 12, "dark": 6, "metal": 6}
WALLS = {"textured": 55, "glossy": 5, "plain": 35, "dark": 5}
"""Walls, floors and tables: a third have no texture, as indoors. None is metallic: reflected lamps are mostly noise."""
LIGHTS = {"overcast": 3, "sun": 3, "lamps": 4, "spots": 1}

FINEST_PX = 2.0
COARSEST_PX = 160.0
"""Size of the coarsest detail of a texture in pixels; finer octaves are added."""
OCTAVES = 8.0
"""Most octaves of finer detail, each with half the amplitude: the 1/f spectrum of natural images (Field, JOSA A 1987),
from the coarsest detail down to the pixel."""


def texture(rng: RandomSource, feature_m: float, kinds: dict[TextureKind, float] = TEXTURES) -> Texture:
    """A random texture whose coarsest detail has size `feature_m`."""
    dark = rng.log_uniform(0.02, 0.4)
    light = min(0.9, dark * rng.log_uniform(1.5, 30.0))
    if rng.chance(0.3):
        dark, light = light, dark
    return Texture(
        kind=rng.weighted(kinds),
        feature_m=feature_m,
        dark=dark,
        light=light,
        sharpness=rng.uniform(0.0, 1.0),
        octaves=rng.uniform(0.0, OCTAVES),
        distortion=rng.uniform(0.0, 1.5) if rng.chance(0.4) else 0.0,
        offset=(rng.uniform(0, 100), rng.uniform(0, 100), rng.uniform(0, 100)),
    )


def plain(rng: RandomSource, low: float = 0.05, high: float = 0.8) -> Texture:
    """A surface without texture."""
    grey = rng.log_uniform(low, high)
    return Texture(dark=grey, light=grey)


def material(
    rng: RandomSource,
    frustum: Frustum,
    diopters: float,
    regular: bool = False,
    surfaces: Mapping[str, float] = SURFACES,
) -> Material:
    """A random material for a surface at an inverse depth, with detail sizes chosen in pixels."""
    feature = frustum.metres(rng.log_uniform(FINEST_PX, COARSEST_PX), diopters)
    if regular:
        return Material(texture=texture(rng, feature, REGULAR), roughness=0.9)
    pattern = texture(rng, feature)
    surface = rng.weighted(surfaces)
    if surface == "glossy":
        return Material(texture=pattern, roughness=rng.uniform(0.05, 0.35))
    if surface == "plain":
        return Material(texture=plain(rng), roughness=rng.uniform(0.3, 1.0))
    if surface == "dark":
        return Material(texture=plain(rng, 0.004, 0.03), roughness=rng.uniform(0.2, 1.0))
    if surface == "metal":
        return Material(texture=pattern, roughness=rng.uniform(0.15, 0.5), metallic=1.0)
    return Material(texture=pattern, roughness=rng.uniform(0.5, 1.0))


def backdrop(rng: RandomSource, feature_m: float, radiance: float) -> Material:
    """An emissive background: a hazy or cloudy sky."""
    base = texture(rng, feature_m, {"noise": 3, "marble": 1}) if rng.chance(0.7) else plain(rng, 0.3, 0.8)
    return Material(texture=base, emission=radiance)


def mirror() -> Material:
    """A flat mirror."""
    return Material(texture=Texture(dark=0.9, light=0.9), roughness=0.0, metallic=1.0)


def glass(rng: RandomSource) -> Material:
    """Clear or frosted glass, or a partly transparent veil."""
    grey = rng.uniform(0.5, 0.95)
    base = Texture(dark=grey, light=grey)
    if rng.chance(0.5):
        return Material(texture=base, roughness=0.9, opacity=rng.uniform(0.15, 0.6))
    return Material(texture=base, roughness=rng.pick([0.0, 0.0, 0.2]), transmission=1.0)


def light(rng: RandomSource, frustum: Frustum) -> tuple[tuple[Lamp, ...], Sky]:
    """Random lamps and sky: flat or contrasty, soft or hard, from any side that lights the view.

    Only ratios matter, since the scene's `key` sets the exposure; the sky's radiance is of order 1.
    """
    scheme = rng.weighted(LIGHTS)
    below = rng.uniform(0.1, 1.0)
    sky = Sky(below=below, above=1.0)
    if scheme == "overcast":
        return (), sky
    depth = 1.0 / rng.uniform(frustum.far + 0.2 * frustum.range, frustum.near)
    target = (rng.uniform(-0.2, 0.2) * depth, rng.uniform(-0.2, 0.2) * depth, -depth)
    contrast = rng.log_uniform(2.0, 12.0)
    if scheme == "sun":
        height, turn = rng.uniform(0.25, 1.3), rng.uniform(-2.2, 2.2)
        across = math.cos(height)
        side = (across * math.sin(turn), math.sin(height), across * math.cos(turn))
        position = (target[0] + side[0], target[1] + side[1], target[2] + side[2])
        sun = Lamp(
            kind="sun", power=math.pi * contrast, position=position, target=target, size=rng.log_uniform(0.009, 0.2)
        )
        return (sun,), sky
    lamps: list[Lamp] = []
    kinds: list[LampKind] = ["area", "area", "point"] if scheme == "lamps" else ["spot", "point"]
    count = rng.integer(1, 3)
    for _ in range(count):
        kind = rng.pick(kinds)
        reach = rng.uniform(0.4, 1.2) * depth
        angle = rng.uniform(0, 2 * math.pi)
        position = (reach * math.cos(angle), reach * math.sin(angle), rng.uniform(-0.6, 0.5) * depth)
        squared = sum((p - t) ** 2 for p, t in zip(position, target, strict=True))
        # Irradiance at the target: P / (π r²) in front of a flat emitter; a bulb emits over the whole sphere.
        spread = math.pi if kind == "area" else 4 * math.pi**2
        lamps.append(
            Lamp(
                kind=kind,
                power=math.pi * contrast / count * spread * squared,
                position=position,
                target=target,
                size=depth * rng.log_uniform(0.03, 0.5) * (1.0 if kind == "area" else 0.3),
            )
        )
    dim = rng.log_uniform(0.05, 0.5) if scheme == "spots" else rng.uniform(0.3, 1.0)
    return tuple(lamps), Sky(below=sky.below * dim, above=sky.above * dim)
