"""Hot pixels in a stream: those that fire far more than the pixels around them, and not as brightness does.

Where blur comes and goes, brightness rises through several thresholds and then falls through several: a pixel that
sees a scene seldom changes its sign from one event to the next, and its ON and OFF events balance. A hot pixel's signs
are drawn anew each time, or are all the same.
"""

import numpy as np

from .kernels import FLIPS, OFF, ON

HOT_FACTOR = 5.0
"""A hot pixel fires more than so many times the median of the eight pixels around it …"""

HOT_HZ = 40.0
"""… and so often at least: eight events in a sweep of a fifth of a second do little harm."""

MIN_FLIPS = 0.6
"""Changes of sign, of those that signs drawn by chance would have: lone details of simulated scenes reached 0.35; hot
pixels, simulated ones and a DAVIS346's, had 0.83 and more."""

MIN_BALANCE = 0.05
"""Of the rarer sign, below which a pixel's brightness would never come back."""

MAX_HOT_SHARE = 0.005
"""Of a sensor. More than that are no hot pixels."""


def find_suspects(
    tally: np.ndarray,  # (H, W, 4) int32, by `observe`
    seconds: float,
) -> np.ndarray:  # (N, 2) int64: x, y
    """Pixels that look hot in a stretch of time."""
    count = tally[..., ON] + tally[..., OFF]
    height, width = count.shape
    y, x = np.nonzero(count > max(HOT_HZ * seconds, HOT_FACTOR * float(count.mean())))
    n = count[y, x]
    balance = np.minimum(tally[y, x, ON], tally[y, x, OFF]) / n
    flips = tally[y, x, FLIPS] / np.maximum(2 * n * balance * (1 - balance), 1e-9)
    hot = (flips > MIN_FLIPS) | (balance < MIN_BALANCE)
    x, y, n = x[hot], y[hot], n[hot]
    around = []
    for dx, dy in ((-1, -1), (0, -1), (1, -1), (-1, 0), (1, 0), (-1, 1), (0, 1), (1, 1)):
        # Beyond the border stands the pixel on the other side.
        u = np.where((x + dx < 0) | (x + dx >= width), x - dx, x + dx)
        v = np.where((y + dy < 0) | (y + dy >= height), y - dy, y + dy)
        around.append(count[v.clip(0, height - 1), u.clip(0, width - 1)])
    alone = n > HOT_FACTOR * np.median(np.array(around), axis=0)
    if np.count_nonzero(alone) > MAX_HOT_SHARE * count.size:
        alone[:] = False
    return np.stack([x[alone], y[alone]], axis=1)
