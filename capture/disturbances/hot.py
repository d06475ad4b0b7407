"""Hot pixels in a stream: pixels that fire far more than their neighbours, with polarities that no scene causes.

As blur changes, brightness rises through several thresholds and then falls through several, so a pixel that sees a
scene seldom alternates in polarity and has as many ON as OFF events. The polarities of a hot pixel are random or all
the same.
"""

import numpy as np

from .kernels import FLIPS, OFF, ON

HOT_FACTOR = 5.0
"""A hot pixel fires more than this many times as often as the median of its eight neighbours …"""

HOT_HZ = 40.0
"""… and at least at this rate: eight events in a sweep of 0.2 s do little harm."""

MIN_FLIPS = 0.6
"""Least number of changes of polarity, relative to that of random polarities. Isolated details of simulated scenes
reached 0.35; hot pixels, simulated and of a DAVIS346, had 0.83 and more."""

MIN_BALANCE = 0.05
"""Share of the rarer polarity below which a pixel counts as stuck: its brightness would only ever rise or fall."""

MAX_HOT_SHARE = 0.005
"""Largest share of a sensor's pixels taken for hot; if more look hot, the scene is the cause."""


def find_suspects(
    tally: np.ndarray,  # (H, W, 4) int32, by `observe`
    seconds: float,
) -> np.ndarray:  # (N, 2) int64: x, y
    """Find pixels that look hot over a stretch of time."""
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
        # At the border, the pixel on the opposite side stands in.
        u = np.where((x + dx < 0) | (x + dx >= width), x - dx, x + dx)
        v = np.where((y + dy < 0) | (y + dy >= height), y - dy, y + dy)
        around.append(count[v.clip(0, height - 1), u.clip(0, width - 1)])
    alone = n > HOT_FACTOR * np.median(np.array(around), axis=0)
    if np.count_nonzero(alone) > MAX_HOT_SHARE * count.size:
        alone[:] = False
    return np.stack([x[alone], y[alone]], axis=1)
