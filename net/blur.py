"""Gaussian blur of many images, with the result of SciPy's (see the test) in a tenth of the time."""

import numba
import numpy as np

TRUNCATE = 3.0
"""Kernel radius in standard deviations."""


def gaussian_blur(
    images: np.ndarray,  # (N, H, W) float32
    sigma_px: float,
) -> np.ndarray:
    """Blur each image, mirroring the borders. Returns (N, H, W) float32."""
    radius = int(TRUNCATE * sigma_px + 0.5)
    kernel = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma_px) ** 2)
    kernel /= kernel.sum()
    return _blur(np.ascontiguousarray(images, np.float32), kernel.astype(np.float32))


@numba.njit(nogil=True, cache=True, fastmath={"contract", "reassoc"})
def _blur(images, kernel):
    count, height, width = images.shape
    radius = kernel.size // 2
    out = np.zeros_like(images)
    across = np.empty((height, width), np.float32)
    padded = np.empty(width + 2 * radius, np.float32)
    for n in range(count):
        for y in range(height):
            for x in range(-radius, width + radius):
                padded[x + radius] = images[n, y, _mirrored(x, width)]
            across[y] = 0
            for k in range(kernel.size):
                for x in range(width):
                    across[y, x] += kernel[k] * padded[x + k]
        for y in range(height):
            for k in range(kernel.size):
                row = _mirrored(y + k - radius, height)
                for x in range(width):
                    out[n, y, x] += kernel[k] * across[row, x]
    return out


@numba.njit(nogil=True, cache=True)
def _mirrored(i, size):
    """Index i mirrored at the borders, edge pixels repeated."""
    period = 2 * size
    i %= period
    return i if i < size else period - 1 - i
