"""Outlines of patches as radius over direction: boxes, discs, polygons, leaves and blobs."""

import numpy as np

from ..scenes.random_source import RandomSource
from .scene import OUTLINE_STEPS, outline_directions


def outline(rng: RandomSource) -> np.ndarray:
    """Draw a random outline.

    Args:
        rng: random source.

    Returns:
        (OUTLINE_STEPS + 1,) float32, in half lengths and widths of the patch, at `outline_directions`.
    """
    makers = {_superellipse: 6, _polygon: 2, _wavy: 2, _blob: 3}
    return rng.weighted(makers)(rng).astype(np.float32)


def full() -> np.ndarray:
    """The trivial outline, for patches without one."""
    return np.ones(OUTLINE_STEPS + 1, np.float32)


def _superellipse(rng: RandomSource) -> np.ndarray:
    """A superellipse, from rhombus through disc to box: |cos|ᵖ + |sin|ᵖ = r⁻ᵖ."""
    power = rng.pick([1.0, 2.0, 2.0, 2.0, 4.0, 30.0, 30.0, 30.0])
    angle = outline_directions()
    return (np.abs(np.cos(angle)) ** power + np.abs(np.sin(angle)) ** power) ** (-1 / power)


def _polygon(rng: RandomSource) -> np.ndarray:
    """A polygon with 3 to 8 corners, regular up to scale, or a star."""
    corners = rng.integer(3, 8)
    turn = 2 * np.pi / corners
    angle = np.abs((outline_directions() % turn) - turn / 2)
    deep = rng.uniform(0.3, 0.7) if rng.chance(0.25) else np.cos(turn / 2)
    # The side from the corner (1, 0) to its midpoint (deep, turn / 2), in polar coordinates.
    x, y = np.cos(turn / 2), np.sin(turn / 2)
    return deep * y / (np.cos(angle) * y + np.sin(angle) * (deep - x))


def _wavy(rng: RandomSource) -> np.ndarray:
    wobble, lobes = rng.uniform(0.05, 0.45), rng.integer(2, 10)
    return _superellipse(rng) * (1 + wobble * np.sin(lobes * outline_directions())) ** 0.5


def _blob(rng: RandomSource) -> np.ndarray:
    """Waves of all frequencies with decreasing amplitude: an organic shape."""
    angle, radius = outline_directions(), np.zeros(OUTLINE_STEPS + 1)
    strength, slope = rng.uniform(0.1, 0.5), rng.uniform(1.0, 2.0)
    for lobes in range(2, 20):
        radius += strength * lobes**-slope * np.sin(lobes * angle + rng.uniform(0, 2 * np.pi))
    return np.exp(radius)
