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
    cells = bin_table.size - 1

    lost = 0
    cell_start, cell_end = np.int64(1), np.int64(0)
    b_start = b_slope = 0.0
    shrink = shift_x = shift_y = np.int64(0)
    for i in range(timestamp.size):
        t = timestamp[i]
        if t < cell_start or t >= cell_end:
            cell = int(np.floor((t - start_us) * cells_per_us))
            if 0 <= cell < cells:
                cell_start = start_us + np.int64(np.ceil(cell / cells_per_us))
                cell_end = start_us + np.int64(np.ceil((cell + 1) / cells_per_us))
                b_slope = (bin_table[cell + 1] - bin_table[cell]) * cells_per_us
                b_middle = (bin_table[cell] + bin_table[cell + 1]) / 2
                cell_start, cell_end = min(cell_start, t), max(cell_end, t + 1)
                b_start = bin_table[cell] + (cell_start - start_us - cell / cells_per_us) * b_slope
            else:
                cell_start, cell_end = t, t + 1
                b_start = b_middle = bin_table[0 if cell < 0 else cells]
                b_slope = 0.0
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


@numba.njit(nogil=True, cache=True, error_model="numpy")
def accumulate_interpolated(
    b: np.ndarray,  # (N,) float64 in [0, B−1): b* of each event, in time order
    x: np.ndarray,  # (N,) int16
    y: np.ndarray,  # (N,) int16
    sign: np.ndarray,  # (N,) int8: +1 brighter, −1 darker, as the sensor saw it
    first_b: float,  # b* at the start of the sweep
    direction: float,  # +1 far→near, −1 near→far (time reversed, so signs swap)
    magnification_per_bin: float,
    cx: float,
    cy: float,
    last_b: np.ndarray,  # (H, W) float64: b* of each pixel's latest event, updated
    last_sign: np.ndarray,  # (H, W) int8: its sign, 0 before the first, updated
    out: np.ndarray,  # (B, H, W) float32, added to
) -> int:
    """Spread each event over the stretch of the sweep since the same pixel's event before it; see `interpolate_event`.

    Returns how many events ended off the sensor when breathing was undone.
    """
    lost = 0
    for i in range(b.size):
        px, py, s = x[i], y[i], sign[i]
        before, previous = last_b[py, px], last_sign[py, px]
        last_b[py, px], last_sign[py, px] = b[i], s
        value = np.float32(s * direction)
        if previous == 0:
            on = _spread(first_b, b[i], px, py, FIRST_EVENT * value, magnification_per_bin, cx, cy, out)
        elif previous == s:
            on = _spread(before, b[i], px, py, value, magnification_per_bin, cx, cy, out)
        else:
            turn = before + REVERSAL_AT * (b[i] - before)
            over = REVERSAL_AT / (1 - 2 * REVERSAL_AT)
            _spread(before, turn, px, py, -over * value, magnification_per_bin, cx, cy, out)
            on = _spread(turn, b[i], px, py, (1 + over) * value, magnification_per_bin, cx, cy, out)
        lost += not on
    return lost


FIRST_EVENT = 0.5
"""Before a pixel's first event its brightness was anywhere within one threshold: half a step is the mean."""

REVERSAL_AT = 0.25
"""Between events of opposite sign brightness overshot by half a step in the mean: up ½ and down 1½ at one slope."""


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _spread(b_from, b_to, x, y, value, magnification_per_bin, cx, cy, out):
    """Add `value` evenly over [b_from, b_to] in steps of half a bin at most; False where it fell off the sensor."""
    _, height, width = out.shape
    steps = int(2 * abs(b_to - b_from)) + 1
    share = np.float32(value / steps)
    on_sensor = True
    for k in range(steps):
        b = b_from + (b_to - b_from) * ((k + 0.5) / steps)
        shrink = 1.0 / (1.0 + magnification_per_bin * b)
        px = int(np.floor(cx + (x + 0.5 - cx) * shrink))
        py = int(np.floor(cy + (y + 0.5 - cy) * shrink))
        on_sensor = 0 <= px < width and 0 <= py < height
        if on_sensor:
            lower = int(b)
            upper_share = np.float32(b - lower)
            out[lower, py, px] += share * (np.float32(1.0) - upper_share)
            out[lower + 1, py, px] += share * upper_share
    return on_sensor


def interpolate_event(
    before: tuple[float, int] | None,  # b* and sign of the pixel's previous event, None for its first in the sweep
    b: float,
    sign: int,
    first_b: float,
) -> list[tuple[float, float, float]]:
    """How `accumulate_interpolated` spreads one event: (from b*, to b*, amount) pieces.

    A pixel's log brightness is known exactly only at its events, to one threshold; in between it is interpolated
    linearly. Counting a step where the event fires instead is a play (backlash) in the direction of time: every
    reversal seems late, by up to a tenth of the range, and later in one sweep direction than in the other.
    """
    if before is None:
        return [(first_b, b, FIRST_EVENT * sign)]
    before_b, before_sign = before
    if before_sign == sign:
        return [(before_b, b, float(sign))]
    turn = before_b + REVERSAL_AT * (b - before_b)
    over = REVERSAL_AT / (1 - 2 * REVERSAL_AT)
    return [(before_b, turn, -over * sign), (turn, b, (1 + over) * sign)]
