"""The binning kernels: one pass over a sweep's events, beside the plain references."""

import numba
import numpy as np

FIXED = 24
"""Binary digits after the point of positions: a sixteen-millionth of a pixel."""


@numba.njit(nogil=True, cache=True)
def undo_breathing(magnification: float, cx: float, cy: float) -> tuple[int, int, int]:
    """(shrink, shift x, shift y) in fixed point: pixel x at magnification m is floor(x · shrink + shift) at m = 1.

    That is the pixel's centre, cx + (x + ½ − cx)/m, floored.
    """
    one = 1 << FIXED
    shrink = 1.0 / magnification
    return (
        np.int64(round(shrink * one)),
        np.int64(round((cx + (0.5 - cx) * shrink) * one)),
        np.int64(round((cy + (0.5 - cy) * shrink) * one)),
    )


@numba.njit(nogil=True, cache=True, error_model="numpy")
def find_cell(t: int, start_us: int, cells_per_us: float, bin_table: np.ndarray):
    """The cell of the sweep's time that a time is in: start and end in µs, b* at its start, its slope per µs, and b*
    in its middle. A time outside the sweep has a cell of its own, at the sweep's end."""
    cells = bin_table.size - 1
    cell = int(np.floor((t - start_us) * cells_per_us))
    if cell < 0 or cell >= cells:
        b = bin_table[0 if cell < 0 else cells]
        return t, t + 1, b, 0.0, b
    start = start_us + np.int64(np.ceil(cell / cells_per_us))
    end = start_us + np.int64(np.ceil((cell + 1) / cells_per_us))
    slope = (bin_table[cell + 1] - bin_table[cell]) * cells_per_us
    start, end = min(start, t), max(end, t + 1)
    at_start = bin_table[cell] + (start - start_us - cell / cells_per_us) * slope
    return start, end, at_start, slope, (bin_table[cell] + bin_table[cell + 1]) / 2


@numba.njit(nogil=True, cache=True, error_model="numpy")
def accumulate(
    timestamp: np.ndarray,  # (N,) int64, µs
    x: np.ndarray,  # (N,) int16
    y: np.ndarray,  # (N,) int16
    polarity: np.ndarray,  # (N,) int8 in {0, 1}
    start_us: int,
    cells_per_us: float,
    bin_table: np.ndarray,  # (M+1,) float64 in [0, B−1): b* at the borders of M equal cells of the sweep's time
    channel: np.ndarray,  # (2,) int64: channel of OFF and of ON events
    weight: np.ndarray,  # (2,) float32: what an OFF and an ON event add
    magnification_per_bin: float,  # m = 1 + magnification_per_bin · b*
    cx: float,  # breathing centre, pixels
    cy: float,
    out: np.ndarray,  # (C, B, H, W) float32, added to
) -> int:
    """Add each event to its two bins with weight max(0, 1 − |b − b*|); returns how many fell off the sensor.

    While time stays in its cell an event costs no division and no table lookup: there b* is linear and m is taken as
    constant (a thousandth of its whole change), in fixed point. Time-ordered events touch two neighbouring bins only,
    so the hot part of `out` stays in cache. Events off the sensor are those that undoing the breathing moved there.
    Times outside the sweep count as its ends.
    """
    bins, height, width = out.shape[1], np.uint32(out.shape[2]), np.uint32(out.shape[3])
    plane = np.uint32(out.shape[2] * out.shape[3])
    flat = out.reshape(-1)
    off_base, on_base = channel[0] * bins * plane, channel[1] * bins * plane
    off_weight, on_weight = weight[0], weight[1]

    lost = 0
    cell_start, cell_end = np.int64(1), np.int64(0)
    b_start = b_slope = 0.0
    shrink = shift_x = shift_y = np.int64(0)
    for i in range(timestamp.size):
        t = timestamp[i]
        if t < cell_start or t >= cell_end:
            cell_start, cell_end, b_start, b_slope, b_middle = find_cell(t, start_us, cells_per_us, bin_table)
            shrink, shift_x, shift_y = undo_breathing(1.0 + magnification_per_bin * b_middle, cx, cy)
        b = b_start + (t - cell_start) * b_slope
        lower = np.uint32(b)

        if magnification_per_bin == 0.0:
            px, py = np.uint32(x[i]), np.uint32(y[i])
        else:
            px = np.uint32((x[i] * shrink + shift_x) >> FIXED)
            py = np.uint32((y[i] * shrink + shift_y) >> FIXED)
            if px >= width or py >= height:  # negative ones have wrapped around
                lost += 1
                continue

        if polarity[i]:
            base, value = on_base, on_weight
        else:
            base, value = off_base, off_weight
        at = base + (lower * plane + py * width + px)
        upper_value = value * np.float32(b - np.float64(lower))
        flat[at] += value - upper_value
        flat[at + plane] += upper_value
    return lost


def accumulate_numpy(
    timestamp: np.ndarray,
    x: np.ndarray,
    y: np.ndarray,
    polarity: np.ndarray,
    start_us: int,
    cells_per_us: float,
    bin_table: np.ndarray,
    channel: np.ndarray,
    weight: np.ndarray,
    magnification_per_bin: float,
    cx: float,
    cy: float,
    out: np.ndarray,
) -> int:
    """`accumulate` in plain NumPy."""
    _, height, width = out.shape[1:]
    cell = (timestamp - start_us) * cells_per_us
    b = np.interp(cell, np.arange(bin_table.size), bin_table)
    lower = b.astype(int)
    inside = (cell >= 0) & (cell < bin_table.size - 1)
    middle = np.where(inside, np.floor(cell) + 0.5, cell)
    b_middle = np.interp(middle, np.arange(bin_table.size), bin_table)
    inverse, one = 1 / (1 + magnification_per_bin * b_middle), 1 << FIXED
    shrink = np.rint(inverse * one).astype(int)
    shift_x = np.rint((cx + (0.5 - cx) * inverse) * one).astype(int)
    shift_y = np.rint((cy + (0.5 - cy) * inverse) * one).astype(int)
    px = (x * shrink + shift_x) >> FIXED
    py = (y * shrink + shift_y) >> FIXED
    kept = (px >= 0) & (py >= 0) & (px < width) & (py < height)
    for step, share in ((0, 1 - (b - lower)), (1, b - lower)):
        index = (channel[polarity], lower + step, py, px)
        np.add.at(out, tuple(i[kept] for i in index), (weight[polarity] * share)[kept])
    return int(np.count_nonzero(~kept))
