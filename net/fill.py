"""Filling of gaps in an estimate, with edges where the event density changes."""

import numba
import numpy as np
from scipy.ndimage import gaussian_filter

from ..capture.stack import EventFocalStack
from .estimate import Estimate

PASSES = 4
"""Number of passes over rows and columns; each halves the reach of the previous."""

SMOOTHNESS = 200.0
"""Weight of smoothness relative to evidence with a deviation of 1 % of the range; sets how far values spread."""

EDGE_EVENTS = 0.1
"""Difference in events per pixel between neighbours at which smoothness falls to 1/e."""

FILLED_STD = 0.2
"""Lower bound on the deviation of filled pixels, as a fraction of the sweep range, since they have no evidence."""

TRACE = 1e-12
"""Weight of the mean of all evidence, negligible next to any other evidence."""


def fill(estimate: Estimate, stack: EventFocalStack) -> Estimate:
    """Make an estimate dense: known pixels are kept, gaps take the depth of their surroundings up to the next edge.

    Solves a weighted least-squares problem along rows and columns alternately (Min et al., Fast Global Image Smoothing,
    IEEE TIP 2014): evidence is weighted by its inverse variance, and smoothness is reduced where the event density
    changes. The deviation of a filled pixel is that of the evidence that reached it, but at least FILLED_STD.

    Args:
        estimate: with gaps, (H, W).
        stack: the stack of the estimate, whose event density gives the edges.

    Returns:
        An estimate without gaps; `estimate` itself if it has no known pixel.
    """
    known = np.isfinite(estimate.diopters)
    if not known.any():
        return estimate
    span = stack.sweep.calibration.sweep.range_diopters
    density = gaussian_filter(np.abs(stack.signed()).sum(axis=0), 1.0)
    across = SMOOTHNESS * np.exp(-np.abs(np.diff(density, axis=1)) / EDGE_EVENTS)
    down = SMOOTHNESS * np.exp(-np.abs(np.diff(density, axis=0)) / EDGE_EVENTS)

    weight = np.where(known, (0.01 * span / np.where(known, estimate.std, 1.0)) ** 2, 0.0)
    value = weight * np.where(known, estimate.diopters, 0.0)
    squared_std = weight * np.where(known, estimate.std, 0.0) ** 2
    layers = np.stack([value, weight, squared_std])
    for k in range(PASSES):
        strength = 0.25**k
        layers = _smooth_rows(layers, across * strength)
        layers = _smooth_rows(layers.transpose(0, 2, 1), down.T * strength).transpose(0, 2, 1)
    value, weight, squared_std = layers

    # The mean of all evidence fills pixels that no other evidence reaches.
    diopters = (value + TRACE * estimate.diopters[known].mean(dtype=float)) / (weight + TRACE)
    std = np.hypot(np.sqrt(squared_std / (weight + TRACE)), FILLED_STD * span)
    return Estimate(
        np.where(known, estimate.diopters, diopters).astype(np.float32),
        np.where(known, estimate.std, std).astype(np.float32),
        estimate.quality,
    )


@numba.njit(nogil=True, cache=True)
def _smooth_rows(layers: np.ndarray, link: np.ndarray) -> np.ndarray:
    """Solve (1 + L) u = f along every row, L the Laplacian with weights `link` (H, W−1), by elimination."""
    count, height, width = layers.shape
    out = np.empty_like(layers)
    ratio = np.empty(width)
    for y in range(height):
        previous_ratio = 0.0
        for x in range(width):
            left = link[y, x - 1] if x > 0 else 0.0
            right = link[y, x] if x < width - 1 else 0.0
            pivot = 1.0 + left + right - left * previous_ratio
            previous_ratio = right / pivot
            ratio[x] = previous_ratio
            for c in range(count):
                before = out[c, y, x - 1] if x > 0 else 0.0
                out[c, y, x] = (layers[c, y, x] + left * before) / pivot
        for x in range(width - 2, -1, -1):
            for c in range(count):
                out[c, y, x] += ratio[x] * out[c, y, x + 1]
    return out
