"""Image motion between sweeps, from where their events are, and the memory of earlier sweeps moved along with it.

Sweeps in one direction over a still scene have their events in the same places. The displacement of these places is the
least-squares solution of the brightness constancy equation in a window around each block (Lucas and Kanade, "An
iterative image registration technique with an application to stereo vision", IJCAI 1981). Sweeps in opposite directions
differ without any motion, so the latest one in the same direction is compared.
"""

import numba
import numpy as np
from scipy.ndimage import gaussian_filter, uniform_filter

_SMOOTH, _WINDOW = 1.0, 17  # blocks
_RIDGE = 0.02  # of the mean squared gradient: without structure, nothing moves
_DARK = 1e-3


def activity(stack: np.ndarray, blocks: tuple[int, int]) -> np.ndarray:
    """How much happens in each block of 2×2 pixels during a sweep.

    Args:
        stack: (…, H, W), of the sweep.
        blocks: (h, w), numbers of blocks, at least H/2 and W/2: distributions have more where frames were padded.

    Returns:
        (h, w) float32, 0 in the padding.
    """
    total = np.abs(stack).reshape(-1, *stack.shape[-2:]).sum(axis=0)
    height, width = blocks
    total = np.pad(total, [(0, 2 * n - size) for n, size in zip(blocks, total.shape, strict=True)])
    counts = total.reshape(height, 2, width, 2).sum(axis=(1, 3))
    return np.sqrt(counts).astype(np.float32)  # the square root, since counts vary with their mean


def image_motion(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The displacement of the image between two sweeps in the same direction.

    Args:
        before: (h, w), the activity in the earlier sweep.
        after: (h, w), in the later one.

    Returns:
        (2, h, w) float32: to the right and down, in blocks of 2×2 pixels; reliable up to about three.
    """
    first, second = (_even(gaussian_filter(image, _SMOOTH)) for image in (before, after))
    down, right = np.gradient((first + second) / 2)
    change = second - first
    xx, xy, yy = _pooled(right * right), _pooled(right * down), _pooled(down * down)
    xt, yt = _pooled(right * change), _pooled(down * change)
    ridge = _RIDGE * float((xx + yy).mean()) + np.float32(1e-12)
    xx, yy = xx + ridge, yy + ridge
    determinant = xx * yy - xy * xy
    return np.stack([(xy * yt - yy * xt) / determinant, (xy * xt - xx * yt) / determinant])


@numba.njit(nogil=True, cache=True)
def moved(volume: np.ndarray, motion: np.ndarray) -> np.ndarray:
    """A volume (C, h, w) displaced by `motion` (2, h, w), bilinearly interpolated; the border is repeated."""
    count, height, width = volume.shape
    out = np.empty_like(volume)
    for y in range(height):
        for x in range(width):
            u = min(max(x - motion[0, y, x], 0.0), width - 1.0)
            v = min(max(y - motion[1, y, x], 0.0), height - 1.0)
            left, top = min(int(u), max(width - 2, 0)), min(int(v), max(height - 2, 0))
            right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
            a, b = np.float32(u - left), np.float32(v - top)
            for c in range(count):
                above = (1 - a) * volume[c, top, left] + a * volume[c, top, right]
                below = (1 - a) * volume[c, bottom, left] + a * volume[c, bottom, right]
                out[c, y, x] = (1 - b) * above + b * below
    return out


def _even(image: np.ndarray) -> np.ndarray:
    """The image relative to its surroundings, since light and direction change how many events there are."""
    return image / (_pooled(image) + np.float32(_DARK))


def _pooled(image: np.ndarray) -> np.ndarray:
    return uniform_filter(uniform_filter(image, _WINDOW, mode="nearest"), _WINDOW, mode="nearest")
