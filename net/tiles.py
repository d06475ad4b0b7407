"""Frames in tiles: a network that was trained on small frames answers a large one piece by piece.

A U-Net's deepest layers see much of a frame at once, and learn how large things are in frames of the size they were
trained on. Shown a larger frame whole they err; shown overlapping tiles of that size they do not.
"""

from collections.abc import Callable

import numpy as np

OVERLAP_PX = 16
"""Neighbouring tiles share at least so much, over which the one fades into the other."""

Run = Callable[[np.ndarray], np.ndarray]


def tile_starts(length: int, tile: int) -> list[int]:
    """Where tiles begin along one side of a frame: as few as reach, evenly spread; one at 0 if the frame is smaller."""
    if length <= tile:
        return [0]
    count = -(-(length - OVERLAP_PX) // (tile - OVERLAP_PX))
    return [round(i * (length - tile) / (count - 1)) for i in range(count)]


def run_tiled(
    run: Run,  # (C, h, w) → (K, h, w), for tiles
    channels: np.ndarray,  # (C, H, W) float32
    tile: tuple[int, int],  # (h, w), neither larger than the frame
) -> np.ndarray:
    """(K, H, W) float32: the answers for all tiles, each weighted by how far from its border it is."""
    (height, width), (h, w) = channels.shape[1:], tile
    weight = np.minimum(_ramp(h)[:, None], _ramp(w)[None, :])
    total = np.zeros((height, width), np.float32)
    out: np.ndarray | None = None
    for y in tile_starts(height, h):
        for x in tile_starts(width, w):
            window = slice(y, y + h), slice(x, x + w)
            answer = run(np.ascontiguousarray(channels[:, *window]))
            if out is None:
                out = np.zeros((len(answer), height, width), np.float32)
            out[:, *window] += answer * weight
            total[window] += weight
    assert out is not None
    return out / total


def _ramp(length: int) -> np.ndarray:
    """(length,) float32: rises from the border over the overlap, then stays."""
    at = np.arange(length)
    return np.minimum(np.minimum(at, at[::-1]) + 1, OVERLAP_PX).astype(np.float32)
