"""Compiled kernels of `evidence`: an image pyramid of the stack, matched with the template curves row by row."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numba
import numpy as np

LEVELS = 4

FIRST_TAPS = np.array([0.1065, 0.787, 0.1065], np.float32)
"""Gaussian of 0.5 px, to suppress noise of single pixels."""

BLUR_TAPS = np.array([0.0321, 0.237, 0.4618, 0.237, 0.0321], np.float32)
"""Gaussian of 0.87 px, which increases the blur of a level from about 0.5 px to 1 px."""

_LARGEST_PRODUCT = 1 << 18
"""Multiplications of a matrix product that OpenBLAS still does in one thread (interface/gemm.c)."""

_SHARE_FLOOR = np.float32(0.05)
_LEAST, _MARGIN = np.float32(1e-6), np.float32(1e-3)
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
    bins, height, width = stack.shape
    count = curves.shape[2]
    half = np.empty((8, count, height // 2, width // 2), np.float32)
    quarter = np.empty((6, count, height // 4, width // 4), np.float32)
    totals = np.empty((LEVELS, height // 4, width // 4), np.float32)
    moved = np.square(motion)

    with ThreadPoolExecutor(1) as beside:

        def share(work: Callable[[int, int], object], n: int) -> None:
            """Do work on 0 to n in two halves at once."""
            other = beside.submit(work, 0, n // 2)
            work(n // 2, n)
            other.result()

        share(lambda a, b: event_rate(stack, rates, a, b, half[6]), height // 2)
        fine = np.empty_like(stack)
        share(lambda a, b: _filter(stack[a:b], FIRST_TAPS, fine[a:b]), bins)
        for level in range(LEVELS):
            pool, out, at = (2, 1, 1, 0)[level], half if level < 2 else quarter, level % 2
            coarse = np.empty_like(fine)
            share(partial(_filter_some, fine, BLUR_TAPS, coarse), bins)
            energy = np.empty((2, count, *out.shape[2:]), np.float32)
            whole = np.zeros(out.shape[2:], np.float32)
            shapes = np.ascontiguousarray(curves[level].reshape(-1, bins))
            share(partial(match, fine, coarse, shapes, pool, energy.reshape(-1, *whole.shape), whole),
                  fine.shape[1] // max(pool, 1))  # fmt: skip
            here = moved if level < 2 else moved[::2, ::2]
            share(partial(weigh, energy, whole, sizes[level], here, out, at), count)
            whole /= noise_power(shapes)
            totals[level] = whole if level >= 2 else _halved(whole[None])[0]
            if level < LEVELS - 1:
                fine = _halved(coarse)
        share(partial(_combine, half, quarter), count)
        greatest = half[7].max(axis=0)
        half[7] /= np.maximum(greatest, _LEAST) + _MARGIN
    return half, quarter, totals


def pyramid(stack: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the detail (B, h, w) removed by each level's blur; each level has half the size of the previous."""
    fine = np.empty_like(stack)
    _filter(stack, FIRST_TAPS, fine)
    for level in range(LEVELS):
        coarse = np.empty_like(fine)
        _filter(fine, BLUR_TAPS, coarse)
        yield fine - coarse
        if level < LEVELS - 1:
            fine = _halved(coarse)


def _filter_some(images: np.ndarray, taps: np.ndarray, out: np.ndarray, first: int, last: int) -> None:
    _filter(images[first:last], taps, out[first:last])


@numba.njit(nogil=True, cache=True, fastmath=True)
def _filter(images, taps, out):
    """Convolve each image (h, w) along both axes, repeating borders."""
    count, height, width = images.shape
    radius = taps.size // 2
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
def match(fine, coarse, shapes, pool, energy, whole, first, last):
    """Match what the blur of a level takes away with shapes (K, B): energies (K, rows, columns), and their sum over
    all bins; in some lines of the volume, or of the level where that is coarser.

    `pool`: 2 if the band's pixels are half as large as the volume's (energies are averaged over 2×2), 1 if they are
    equally large, 0 if twice as large (energies are repeated).
    """
    bins, _, width = fine.shape
    lines = max(pool, 1)
    noise = noise_power(shapes)
    # Larger products would be shared among threads by BLAS, which adds up in another order then.
    columns = min(max(_LARGEST_PRODUCT // (shapes.size * lines) // 16 * 16, 16), width)
    block = np.empty((bins, lines * columns), np.float32)
    responses = np.empty((len(shapes), lines * columns), np.float32)
    response = np.empty(lines * columns, np.float32)
    for y in range(first * lines, last * lines, lines):
        for start in range(0, width, columns):
            n = min(columns, width - start)
            for b in range(bins):
                for k in range(lines):
                    target = block[b, k * columns : (k + 1) * columns]
                    above, below = fine[b, y + k, start : start + n], coarse[b, y + k, start : start + n]
                    for x in range(n):
                        target[x] = above[x] - below[x]
                    target[n:] = np.float32(0)
            np.dot(shapes, block, responses)
            for k in range(len(shapes)):
                _keep(responses[k], columns, n, pool, y, start, energy[k])
            response[:] = np.float32(0)
            for b in range(bins):
                line = block[b]
                for x in range(response.size):
                    response[x] += line[x] * line[x]
            for x in range(response.size):
                response[x] = np.sqrt(response[x] * noise)
            _keep(response, columns, n, pool, y, start, whole)


@numba.njit(nogil=True, cache=True, fastmath=True)
def noise_power(shapes):
    """The squared length of the scaled shapes, which is the power of noise in a band."""
    noise = np.float32(0)
    for k in range(len(shapes)):
        size = np.float32(0)
        for b in range(shapes.shape[1]):
            size += shapes[k, b] * shapes[k, b]
        noise = max(noise, size)
    return noise


@numba.njit(nogil=True, cache=True, fastmath=True)
def weigh(energy, whole, sizes, moved, out, at, first, last):
    """Fill some candidates of one band: matched energy in out[at], fractions of odd and even energy in out[at + 2] and
    out[at + 4]."""
    rows, columns = whole.shape
    scale = np.empty_like(whole)
    _smooth(whole, scale)
    for y in range(rows):
        for x in range(columns):
            scale[y, x] = np.float32(1) / (scale[y, x] + _SHARE_FLOOR)
    for c in range(first, last):
        odd, even = sizes[0, c], sizes[1, c]
        for y in range(rows):
            for x in range(columns):
                matched = odd * energy[0, c, y, x] + even * moved[y, x] * energy[1, c, y, x]
                out[at, c, y, x] = min(matched, _GREATEST)
        for part in range(2):
            share = out[at + 2 * (1 + part), c]
            _smooth(energy[part, c], share)
            for y in range(rows):
                for x in range(columns):
                    share[y, x] *= scale[y, x]


@numba.njit(nogil=True, cache=True, fastmath=True)
def _combine(half, quarter, first, last):
    """Fill some candidates of half[7] with the matched energy of all bands in a neighbourhood."""
    rows, columns = half.shape[2:]
    sum_ = np.empty((rows, columns), np.float32)
    for c in range(first, last):
        for y in range(rows):
            for x in range(columns):
                sum_[y, x] = (
                    half[0, c, y, x] + half[1, c, y, x] + quarter[0, c, y // 2, x // 2] + quarter[1, c, y // 2, x // 2]
                )
        _smooth(sum_, half[7, c])


@numba.njit(nogil=True, cache=True, fastmath=True)
def _keep(response, stride, n, pool, y, start, out):
    """Write squares of responses in n columns of one or two rows, `stride` apart, into the volume, pooled or
    repeated."""
    rows = len(out)
    if pool == 2:
        line, upper, lower = out[y // 2, start // 2 :], response, response[stride:]
        for x in range(n // 2):
            a, b, c, d = upper[2 * x], upper[2 * x + 1], lower[2 * x], lower[2 * x + 1]
            line[x] = np.float32(0.25) * (a * a + b * b + c * c + d * d)
    elif pool == 1:
        line = out[y, start:]
        for x in range(n):
            line[x] = response[x] * response[x]
    else:
        for k in range(2):
            if 2 * y + k < rows:
                line = out[2 * y + k, 2 * start :]
                for x in range(min(2 * n, line.size)):
                    line[x] = response[x // 2] * response[x // 2]


@numba.njit(nogil=True, cache=True, fastmath=True)
def _smooth(image, out):
    """Mean over 3×3 pixels; borders are repeated."""
    height, width = image.shape
    line = np.empty(width + 2, np.float32)
    for y in range(height):
        above, here, below, target = image[max(y - 1, 0)], image[y], image[min(y + 1, height - 1)], out[y]
        for x in range(width):
            line[x + 1] = above[x] + here[x] + below[x]
        line[0], line[width + 1] = line[1], line[width]
        for x in range(width):
            target[x] = (line[x] + line[x + 1] + line[x + 2]) * np.float32(1 / 9)


@numba.njit(nogil=True, cache=True, fastmath=True)
def event_rate(stack, rates, first, last, out):
    """Events per 2×2 pixels and bin around each candidate, (C, H/2, W/2)."""
    bins, _, width = stack.shape
    count = rates.shape[0]
    line = np.empty((bins, width // 2), np.float32)
    for y in range(first, last):
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
