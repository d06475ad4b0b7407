"""Distributions over candidate distances: from scores to trimmed mean and deviation at full resolution.

Unlike a mean, a distribution can have two peaks, where a neighbourhood has two surfaces, and can be multiplied with
that of another sweep. Blocks of 2×2 pixels share one.
"""

from dataclasses import dataclass

import numba
import numpy as np

from .evidence import CANDIDATES

TRIMMED = 0.2
"""Fraction of the probability trimmed at either end before taking the mean. The untrimmed mean is biased towards the
middle of the range by small probabilities far away, while the median jumps between two peaks."""

SMOOTH_STEP = 0.06
"""Positions of neighbours that differ by less than this, as a fraction of the range, are interpolated; larger steps are
edges."""


@dataclass(frozen=True)
class Distribution:
    """Probability of each candidate distance, for each block of 2×2 pixels of a frame."""

    probability: np.ndarray  # (C, H/2, W/2) float32, sums to 1 over the candidates, far to near
    size: tuple[int, int]  # (H, W) of the frame

    @property
    def positions(self) -> np.ndarray:
        """(C,) float32: positions of the candidates in the sweep range; some lie beyond its ends."""
        return CANDIDATES

    def at(self, x: int, y: int) -> np.ndarray:
        """(C,) float32: the distribution of a pixel."""
        return self.probability[:, y // 2, x // 2]

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Trimmed mean of the position inside the range and its standard deviation, each (H, W) float32."""
        position, deviation = moments(self.probability, CANDIDATES)
        return enlarged(position, deviation, *self.size)


def normalised(scores: np.ndarray, temperature: float = 1.0) -> np.ndarray:
    """Softmax over the first axis of scores (C, h, w); a temperature above 1 widens the distribution.

    Returns:
        (C, h, w) float32.
    """
    scores = scores / np.float32(temperature)
    probability = np.exp(scores - scores.max(axis=0))
    probability /= probability.sum(axis=0)
    return probability


@numba.njit(nogil=True, cache=True, fastmath=True)
def moments(probability: np.ndarray, candidates: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Trimmed mean of the position and standard deviation of distributions.

    A candidate's probability is distributed uniformly up to halfway to its neighbours; positions are clipped to the
    range.

    Args:
        probability: (C, h, w) float32.
        candidates: (C,) float32, their positions, evenly spaced.

    Returns:
        Each (h, w) float32: the mean between the quantiles `TRIMMED` and 1 − `TRIMMED`, and the standard deviation of
        the whole distribution.
    """
    count, height, width = probability.shape
    step, low, high = candidates[1] - candidates[0], np.float32(TRIMMED), np.float32(1 - TRIMMED)
    position, deviation = np.zeros((height, width), np.float32), np.empty((height, width), np.float32)
    below, mean, square = np.zeros((3, width), np.float32)
    for y in range(height):
        below[:], mean[:], square[:] = 0, 0, 0
        for c in range(count):
            at = candidates[c]
            inside = min(max(at, np.float32(0)), np.float32(1))
            for x in range(width):
                p = probability[c, y, x]
                mean[x] += p * inside
                square[x] += p * inside * inside
                first = min(max(low - below[x], np.float32(0)), p)
                last = min(max(high - below[x], np.float32(0)), p)
                middle = at + step * ((first + last) / (2 * p + np.float32(1e-12)) - np.float32(0.5))
                position[y, x] += (last - first) * min(max(middle, np.float32(0)), np.float32(1))
                below[x] += p
        for x in range(width):
            position[y, x] /= high - low
            deviation[y, x] = np.sqrt(max(square[x] - mean[x] * mean[x], np.float32(1e-6)))
    return position, deviation


@numba.njit(nogil=True, cache=True)
def enlarged(mean: np.ndarray, deviation: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Upsample positions to (H, W), interpolating within surfaces but not across edges; the same for deviations."""
    rows, columns = mean.shape
    out, spread = np.empty((height, width), np.float32), np.empty((height, width), np.float32)
    for y in range(height):
        i = y // 2
        up = min(max(i - 1 + 2 * (y % 2), 0), rows - 1)
        for x in range(width):
            j = x // 2
            side = min(max(j - 1 + 2 * (x % 2), 0), columns - 1)
            here = mean[i, j]
            low = min(here, mean[up, j], mean[i, side], mean[up, side])
            high = max(here, mean[up, j], mean[i, side], mean[up, side])
            spread[y, x] = deviation[i, j]
            if high - low < SMOOTH_STEP:
                out[y, x] = (9 * here + 3 * (mean[up, j] + mean[i, side]) + mean[up, side]) / 16
            else:
                out[y, x] = here
    return out, spread
