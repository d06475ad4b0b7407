"""A seeded random source with the distributions that scene sampling uses."""

from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

T = TypeVar("T")


class RandomSource:
    """A seeded source of plain Python numbers; the same seeds give the same numbers for the same NumPy version."""

    def __init__(self, *seeds: int) -> None:
        self._rng = np.random.default_rng(seeds)

    def uniform(self, low: float, high: float) -> float:
        """A number, uniform between two bounds."""
        return float(self._rng.uniform(low, high))

    def log_uniform(self, low: float, high: float) -> float:
        """A positive number whose logarithm is uniform between those of two bounds."""
        return float(np.exp(self._rng.uniform(np.log(low), np.log(high))))

    def integer(self, low: int, high: int) -> int:
        """A whole number from low to high, both included."""
        return int(self._rng.integers(low, high, endpoint=True))

    def chance(self, probability: float) -> bool:
        """True with the given probability."""
        return bool(self._rng.random() < probability)

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, uniformly."""
        return items[int(self._rng.integers(len(items)))]

    def weighted(self, weights: Mapping[T, float]) -> T:
        """One of the keys, with probability proportional to its weight."""
        names = list(weights)
        share = np.cumsum([weights[name] for name in names])
        return names[int(np.searchsorted(share, self._rng.uniform(0.0, share[-1]), side="right"))]

    def seed(self) -> int:
        """A seed for another random generator."""
        return int(self._rng.integers(2**31))

    def direction(self) -> np.ndarray:
        """A unit vector, uniform over the sphere."""
        v = self._rng.normal(size=3)
        return v / np.linalg.norm(v)

    def angles(self) -> tuple[float, float, float]:
        """Random XYZ Euler angles, radians."""
        return (self.uniform(-np.pi, np.pi), self.uniform(-np.pi / 2, np.pi / 2), self.uniform(-np.pi, np.pi))
