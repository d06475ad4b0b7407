"""Compiled kernels of `evidence`: an image pyramid of the stack, matched with the template curves row by row."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np

LEVELS = 4

FIRST_TAPS = np.array([0.1065, 0.787, 0.1065], np.float32)
"""Gaussian of 0.5 px, to suppress noise of single pixels."""

BLUR_TAPS = np.array([0.0321, 0.237, 0.4618, 0.237, 0.0321], np.float32)
"""Gaussian of 0.87 px, which increases the blur of a level from about 0.5 px to 1 px."""

_SHARE_FLOOR = np.float32(0.05)
_GREATEST = np.float32(3e4)
"""Upper bound on energies, to fit half precision."""


def level_filters(level: int) -> tuple[np.ndarray, np.ndarray]:
    """Filters from stack pixels to a level's pixels along one axis, before and after the level's blur.

    The number of taps is odd, or even if the pixel's centre is between stack pixels.
    """
    fine = FIRST_TAPS.astype(np.float64)
    spacing = 1
    for at in range(level + 1):
        wide = np.zeros(4 * spacing + 1)
        wide[::spacing] = BLUR_TAPS
        coarse = np.convolve(fine, wide)
        if at == level:
            return fine, coarse
        pair = np.zeros(spacing + 1)
        pair[[0, -1]] = 0.5
        fine = np.convolve(coarse, pair)
        spacing *= 2
    raise AssertionError


def make_volume(
    stack: np.ndarray,  # (B, H, W) float32
    curves: np.ndarray,  # (LEVELS, 2, C, B) float32
    sizes: np.ndarray,  # (LEVELS, 2, C) float32
    motion: np.ndarray,  # (H/2, W/2) float32, px over the range
    rates: np.ndarray,  # (C, B) float32
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute the volumes (8, C, H/2, W/2) and (6, C, H/4, W/4), and the energy of each band (LEVELS, H/4, W/4),
    float32.

    Frames are zero-padded to multiples of 4.
    """
    height, width = stack.shape[1:]
    bottom, right = -height % 4, -width % 4
    if bottom or right:
        stack = np.pad(stack, ((0, 0), (0, bottom), (0, right)))
    height, width = stack.shape[1:]
    count = curves.shape[2]
    half = np.empty((8, count, height // 2, width // 2), np.float32)
    quarter = np.empty((6, count, height // 4, width // 4), np.float32)
    totals = np.empty((LEVELS, height // 4, width // 4), np.float32)
    moved = np.square(motion)

    def finish(level: int, detail: np.ndarray) -> None:
        volume = half if level < 2 else quarter
        energy = level_volume(
            detail,
            curves[level],
            sizes[level],
            moved if level < 2 else moved[::2, ::2],
            (2, 1, 1, 0)[level],
            volume,
            level % 2,
        )
        totals[level] = energy if level >= 2 else _halved(energy[None])[0]

    details = pyramid(stack)
    with ThreadPoolExecutor(1) as beside:  # the finest level takes as long as all others together
        finest = beside.submit(finish, 0, next(details))
        for level, detail in enumerate(details, 1):
            finish(level, detail)
        event_rate(stack, rates, half[6])
        finest.result()
    _combined(half, quarter)
    return half, quarter, totals


def pyramid(stack: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the detail (B, h, w) removed by each level's blur; each level has half the size of the previous."""
    now = _filtered(stack, FIRST_TAPS)
    for level in range(LEVELS):
        blurred = _filtered(now, BLUR_TAPS)
        yield _difference(now, blurred)
        if level < LEVELS - 1:
            now = _halved(blurred)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _filtered(images, taps):
    """Convolve each image (h, w) along both axes, repeating borders."""
    count, height, width = images.shape
    radius = taps.size // 2
    out = np.empty_like(images)
    rows = np.empty((taps.size, width), np.float32)
    padded = np.empty(width + 2 * radius, np.float32)
    for n in range(count):
        for y in range(-radius, height + radius):
            source = min(max(y, 0), height - 1)
            slot = (y + radius) % taps.size
            padded[:radius] = images[n, source, 0]
            padded[radius : radius + width] = images[n, source]
            padded[radius + width :] = images[n, source, width - 1]
            line = rows[slot]
            if radius == 1:
                for x in range(width):
                    line[x] = taps[1] * padded[x + 1] + taps[0] * (padded[x] + padded[x + 2])
            else:
                for x in range(width):
                    line[x] = (
                        taps[2] * padded[x + 2]
                        + taps[1] * (padded[x + 1] + padded[x + 3])
                        + taps[0] * (padded[x] + padded[x + 4])
                    )
            at = y - radius
            if at < 0:
                continue
            target = out[n, at]
            if radius == 1:
                above, middle, below = rows[(slot + 1) % 3], rows[(slot + 2) % 3], rows[slot]
                for x in range(width):
                    target[x] = taps[1] * middle[x] + taps[0] * (above[x] + below[x])
            else:
                first, second, third = rows[(slot + 1) % 5], rows[(slot + 2) % 5], rows[(slot + 3) % 5]
                fourth, fifth = rows[(slot + 4) % 5], rows[slot]
                for x in range(width):
                    target[x] = taps[2] * third[x] + taps[1] * (second[x] + fourth[x]) + taps[0] * (first[x] + fifth[x])
    return out


@numba.njit(nogil=True, cache=True, fastmath=True)
def _difference(fine, coarse):
    out = np.empty_like(fine)
    a, b, c = fine.reshape(-1), coarse.reshape(-1), out.reshape(-1)
    for i in range(a.size):
        c[i] = a[i] - b[i]
    return out


@numba.njit(nogil=True, cache=True, fastmath=True)
def _halved(images):
    """Means of 2×2 pixels; an odd last row or column is repeated."""
    count, height, width = images.shape
    out = np.empty((count, (height + 1) // 2, (width + 1) // 2), np.float32)
    for n in range(count):
        for y in range(out.shape[1]):
            upper, lower = images[n, 2 * y], images[n, min(2 * y + 1, height - 1)]
            for x in range(out.shape[2]):
                right = min(2 * x + 1, width - 1)
                out[n, y, x] = np.float32(0.25) * (upper[2 * x] + upper[right] + lower[2 * x] + lower[right])
    return out


@numba.njit(nogil=True, cache=True, fastmath=True)
def level_volume(detail, curves, sizes, moved, pool, out, at):
    """Compute one band: matched energy in out[at], fractions of odd and even energy in out[at + 2] and out[at + 4].

    Returns the energy of the band over all bins, at the volume's resolution.

    `pool`: 2 if the band's pixels are half as large as the volume's (energies are averaged over 2×2), 1 if they are
    equally large, 0 if twice as large (energies are repeated).
    """
    bins, height, width = detail.shape
    count = curves.shape[1]
    rows, columns = out.shape[2], out.shape[3]
    energy = np.empty((2, count, rows, columns), np.float32)
    whole = np.zeros((rows, columns), np.float32)
    lines = max(pool, 1)
    response = np.empty(lines * width, np.float32)
    block = np.empty((bins, lines * width), np.float32)
    noise = np.float32(0)  # the squared length of the scaled curve is the noise power
    for c in range(count):
        size = np.float32(0)
        for b in range(bins):
            size += curves[0, c, b] * curves[0, c, b]
        noise = max(noise, size)
    for y in range(0, height - lines + 1, lines):
        for b in range(bins):
            for k in range(lines):
                block[b, k * width : (k + 1) * width] = detail[b, y + k]
        for part in range(2):
            for c in range(count):
                weights = curves[part, c]
                response[:] = np.float32(0)
                for b in range(0, bins - bins % 4, 4):
                    w0, w1, w2, w3 = weights[b], weights[b + 1], weights[b + 2], weights[b + 3]
                    d0, d1, d2, d3 = block[b], block[b + 1], block[b + 2], block[b + 3]
                    for x in range(response.size):
                        response[x] += w0 * d0[x] + w1 * d1[x] + w2 * d2[x] + w3 * d3[x]
                for b in range(bins - bins % 4, bins):
                    for x in range(response.size):
                        response[x] += weights[b] * block[b, x]
                _keep(response, width, pool, y, energy[part, c])
        response[:] = np.float32(0)
        for b in range(bins):
            line = block[b]
            for x in range(response.size):
                response[x] += line[x] * line[x]
        for x in range(response.size):
            response[x] = np.sqrt(response[x] * noise)
        _keep(response, width, pool, y, whole)
    floor = _smoothed(whole)
    for part in range(2):
        for c in range(count):
            smooth = _smoothed(energy[part, c])
            share = out[at + 2 * (1 + part), c]
            for y in range(rows):
                for x in range(columns):
                    share[y, x] = smooth[y, x] / (floor[y, x] + _SHARE_FLOOR)
    for c in range(count):
        odd, even = sizes[0, c], sizes[1, c]
        for y in range(rows):
            for x in range(columns):
                matched = odd * energy[0, c, y, x] + even * moved[y, x] * energy[1, c, y, x]
                out[at, c, y, x] = min(matched, _GREATEST)
    return whole / noise


@numba.njit(nogil=True, cache=True, fastmath=True)
def _combined(half, quarter):
    """Fill half[7]: matched energy of all bands in a neighbourhood, relative to its maximum over the candidates."""
    count, rows, columns = half.shape[1:]
    greatest = np.full((rows, columns), np.float32(1e-6), np.float32)
    sum_ = np.empty((rows, columns), np.float32)
    for c in range(count):
        for y in range(rows):
            for x in range(columns):
                sum_[y, x] = (
                    half[0, c, y, x] + half[1, c, y, x] + quarter[0, c, y // 2, x // 2] + quarter[1, c, y // 2, x // 2]
                )
        smooth = _smoothed(sum_)
        out = half[7, c]
        for y in range(rows):
            for x in range(columns):
                out[y, x] = smooth[y, x]
                greatest[y, x] = max(greatest[y, x], smooth[y, x])
    for c in range(count):
        for y in range(rows):
            for x in range(columns):
                half[7, c, y, x] /= greatest[y, x] + np.float32(1e-3)


@numba.njit(nogil=True, cache=True, fastmath=True)
def _keep(response, width, pool, y, out):
    """Square one or two rows of responses, and pool or repeat them into the volume."""
    rows, columns = out.shape
    if pool == 2:
        line = out[y // 2]
        for x in range(columns):
            a, b = response[2 * x], response[2 * x + 1]
            c, d = response[width + 2 * x], response[width + 2 * x + 1]
            line[x] = np.float32(0.25) * (a * a + b * b + c * c + d * d)
    elif pool == 1:
        line = out[y]
        for x in range(columns):
            line[x] = response[x] * response[x]
    else:
        for k in range(2):
            if 2 * y + k < rows:
                line = out[2 * y + k]
                for x in range(columns):
                    line[x] = response[x // 2] * response[x // 2]


@numba.njit(nogil=True, cache=True, fastmath=True)
def _smoothed(image):
    """Mean over 3×3 pixels, repeating borders."""
    height, width = image.shape
    out = np.empty_like(image)
    line = np.empty(width + 2, np.float32)
    for y in range(height):
        above, here, below = image[max(y - 1, 0)], image[y], image[min(y + 1, height - 1)]
        for x in range(width):
            line[x + 1] = above[x] + here[x] + below[x]
        line[0], line[width + 1] = line[1], line[width]
        for x in range(width):
            out[y, x] = (line[x] + line[x + 1] + line[x + 2]) * np.float32(1 / 9)
    return out


@numba.njit(nogil=True, cache=True, fastmath=True)
def event_rate(stack, rates, out):
    """Events per 2×2 pixels and bin around each candidate, (C, H/2, W/2)."""
    bins, height, width = stack.shape
    count = rates.shape[0]
    line = np.empty((bins, width // 2), np.float32)
    for y in range(height // 2):
        for b in range(bins):
            upper, lower = stack[b, 2 * y], stack[b, 2 * y + 1]
            for x in range(width // 2):
                line[b, x] = abs(upper[2 * x]) + abs(upper[2 * x + 1]) + abs(lower[2 * x]) + abs(lower[2 * x + 1])
        for c in range(count):
            target = out[c, y]
            target[:] = np.float32(0)
            for b in range(bins):
                weight = rates[c, b]
                if weight != 0:
                    for x in range(width // 2):
                        target[x] += weight * line[b, x]
