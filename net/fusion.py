"""Fusion of sweeps: multiplies the distributions of several sweeps over one scene.

Each sweep gives a distribution over candidate distances for every pixel. Their logarithms are averaged over the fused
sweeps, and the result is scaled as if the square root of their number were independent, since successive sweeps share
the scene, the lens calibration and the network's systematic errors. With "auto", the earlier ones follow the motion of
the image and are discarded where a new distribution contradicts them.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from scipy.ndimage import uniform_filter

from ..capture.stack import EventFocalStack, Polarity
from ..capture.sweeps import Sweep
from .distribution import Distribution, normalised
from .estimate import Estimate
from .motion import activity, image_motion, moved
from .network import EventNetwork

MOST_SWEEPS = 64
AUTO_SWEEPS = 8
"""Most sweeps fused with "auto"."""

INDEPENDENCE = 0.5
"""N sweeps count as N to the power of this independent ones."""

_LEAST = 1e-6  # lower bound on probability, so that no candidate is excluded forever
_AGREE = 0.75  # overlap above which distributions agree
_FAST = 1.0  # block of 2×2 pixels per sweep, at which two thirds are forgotten
_REACH = 5  # window of averaging agreement, in blocks of 2×2 pixels


@dataclass
class FusedNetwork:
    """A network with memory: an `Estimator` that fuses the latest sweeps.

    Args:
        estimator: the network, which must predict distributions.
        sweeps: most sweeps to fuse; "auto" moves earlier sweeps with the image, and discards, for each pixel, those
            that a new one contradicts.
    """

    estimator: EventNetwork
    sweeps: int | Literal["auto"]
    _mean: np.ndarray | None = field(default=None, init=False)  # (C, h, w) mean logarithm of the probability
    _count: np.ndarray = field(default_factory=lambda: np.zeros((1, 1), np.float32), init=False)  # (h, w)
    _seen: deque[tuple[Sweep, np.ndarray]] = field(default_factory=lambda: deque(maxlen=4), init=False)
    """With "auto": the latest sweeps with events, and the activity in them."""
    _last_us: int = field(default=0, init=False)

    @property
    def name(self) -> str:
        """Name of the network's estimator."""
        return self.estimator.name

    @property
    def bins(self) -> int:
        """Of the stack it wants."""
        return self.estimator.bins

    @property
    def polarity(self) -> Polarity:
        """Of the stack it wants."""
        return self.estimator.polarity

    def __call__(self, stack: EventFocalStack) -> Estimate:
        """Estimate depth from this sweep and the previous ones."""
        alone = self.estimator(stack)
        assert alone.distribution is not None
        if not stack.data.any():  # without events, the memory is kept and the answer is empty
            return alone
        fused = self._fuse(alone.distribution, stack)
        return self.estimator.network.read(fused, stack.sweep, alone.quality)

    def _fuse(self, new: Distribution, stack: EventFocalStack) -> Distribution:
        sweep = stack.sweep
        duration_us = sweep.end_us - sweep.start_us
        logarithm = np.log(np.maximum(new.probability, _LEAST))
        active = activity(stack.data, new.probability.shape[1:]) if self.sweeps == "auto" else None
        missed = not 0 <= sweep.start_us - self._last_us + duration_us // 2 <= 2 * duration_us
        if self._mean is None or self._mean.shape != logarithm.shape or missed:
            self._mean, self._count = logarithm, np.ones(logarithm.shape[1:], np.float32)
            self._seen.clear()
        else:
            if self.sweeps == "auto":
                assert active is not None
                self._follow(sweep, active)
                overlap = np.sqrt(new.probability * normalised(self._mean)).sum(axis=0)
                agreement = np.clip(uniform_filter(overlap, _REACH) / _AGREE, 0, 1)
                before = np.minimum(self._count, AUTO_SWEEPS - 1) * agreement**4
            else:
                before = np.minimum(self._count, self.sweeps - 1)
            self._count = before + 1
            self._mean = self._mean + (logarithm - self._mean) / self._count
        if active is not None:
            self._seen.append((sweep, active))
        self._last_us = sweep.end_us
        return Distribution(normalised(self._mean * self._count**INDEPENDENCE), new.size)

    def _follow(self, sweep: Sweep, active: np.ndarray) -> None:
        """Move the memory with the image since the previous sweep, and forget the more of it the faster that is."""
        assert self._mean is not None
        earlier, before = self._compared(sweep)
        motion = image_motion(before, active) / _sweeps_between(earlier, sweep)  # per sweep
        motion *= _sweeps_between(self._seen[-1][0], sweep)
        self._mean, self._count = moved(self._mean, motion), moved(self._count[None], motion)[0]
        self._count *= np.exp(-np.square(motion / _FAST).sum(axis=0))

    def _compared(self, sweep: Sweep) -> tuple[Sweep, np.ndarray]:
        """The latest sweep in the same direction, but for the previous one, from which motion is too small to measure
        well. If there is none yet, the previous one: in the other direction, it overstates motion; more is forgotten.
        """
        same = (
            seen
            for seen in reversed(self._seen)
            if seen[0].direction is sweep.direction and _sweeps_between(seen[0], sweep) > 1
        )
        return next(same, self._seen[-1])


def _sweeps_between(earlier: Sweep, later: Sweep) -> int:
    """How many sweeps later one started than the other, with those without events."""
    return max(1, round((later.start_us - earlier.start_us) / (later.end_us - later.start_us)))
