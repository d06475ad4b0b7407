"""Interpolated stacks: the brightness of each pixel as a line from event to event, cut into bins.

A pixel's log brightness is known exactly only at its events, to one threshold; in between it is interpolated linearly.
Counting a step where the event fires instead is a play (backlash) in the direction of time: every reversal seems late,
by up to a tenth of the range, and later in one sweep direction than in the other.

What such a line adds to bin b is its slope under the bin's hat max(0, 1 − |b − b*|). The slope changes at events only,
and a change at b* adds the same quadratic B-spline to the difference between each bin and the one before it, wherever
it is: three numbers, (1 − f)²/2, ½ + f − f² and f²/2 from bin ⌊b*⌋ on, f = b* − ⌊b*⌋ (Unser, "Splines: a perfect fit
for signal and image processing", IEEE Signal Processing Magazine 1999). So an event costs three additions, six where
the sign has turned, however long ago the event before it was. Differences are summed over the bins once, when the stack
is wanted, and breathing is undone then: each bin is taken from where the sensor saw it at the bin's focus, nearest
pixel.

Events wait in drawers, one for each stretch of `DRAWER_PIXELS` pixels, until there are several for each pixel, so that
what they are added to is fetched from memory once for all of them. An event takes four bytes in its drawer: the pixel,
the sign, and the place to `2^-PLACE_BITS` of the pass, 0.4 µs of 0.2 s.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numba
import numpy as np

from .kernel import FIXED, find_cell, undo_breathing

FIRST_EVENT = 0.5
"""Before a pixel's first event its brightness was anywhere within one threshold: half a step is the mean."""

REVERSAL_AT = 0.25
"""Between events of opposite sign brightness overshot by half a step in the mean: up ½ and down 1½ at one slope."""

CLOSEST = 1 / 256
"""Least distance in bins between two events of a pixel; closer ones are moved apart so that slopes stay finite."""

DRAWER_PIXELS, DRAWER_EVENTS = 4096, 16384

PLACE_BITS = 19

_NEARLY_LEVEL = np.float32(1e-20)
"""Slope of a line that comes from the pass before: it adds nothing. Only from there may the next event lie behind."""

_PIXEL_BITS = 12
_FINER_BITS = 20
"""Digits below those of a place while it is computed."""

_SORTED = 1024
"""Events that are sorted in before it is seen which drawers are full; each has room for as many more."""

_F32 = np.float32
_U32 = numba.uint32
_U64 = numba.uint64
_CLOSEST = np.float32(CLOSEST)
_FIRST = np.float32(FIRST_EVENT)
_TURN = np.float32(REVERSAL_AT)
_OVER = np.float32(1 / (1 - 2 * REVERSAL_AT))
"""Slope on either side of a turn, for each slope that there would be without one."""


class _State(NamedTuple):
    differences: np.ndarray  # (B+2, H, W) float32, between each bin and the one before
    lines: np.ndarray  # (H, W, 2) float32: place of each pixel's latest event, with its sign, and slope; 0 before any
    carried: bool  # whether lines come from the pass before
    waiting: np.ndarray  # (D,) int64, events in each drawer
    drawers: np.ndarray  # (D, N) uint32, from the highest bit: place, pixel of the drawer, 1 for a rise


class Interpolation:
    """The differences of a stack under way, and where each pixel's line has got to.

    Places are along the pass: from 0 at its beginning to B − 1 at its end, whichever way it goes.
    """

    def __init__(self, bins: int, height: int, width: int) -> None:
        drawers = -(-height * width // DRAWER_PIXELS)
        self._state = _State(
            np.zeros((bins + 2, height, width), np.float32),
            np.zeros((height, width, 2), np.float32),
            False,
            np.zeros(drawers, np.int64),
            np.empty((drawers, DRAWER_EVENTS + _SORTED), np.uint32),
        )

    def add(
        self,
        events: np.ndarray,  # (N,) EVENT_DTYPE, in time order
        start_us: int,
        cells_per_us: float,
        places: np.ndarray,  # (M+1,) float64, rising in [0, B−1): place at the borders of M equal cells of the time
        rise: float,  # what an ON event adds
        magnification: tuple[float, float],  # at place 0, and what each bin adds to it
        cx: float,  # breathing centre, pixels
        cy: float,
    ) -> int:
        """Put events into the drawers; returns how many of them undoing the breathing moves off the sensor."""
        lost = _sort_in(
            np.ascontiguousarray(events),
            start_us,
            cells_per_us,
            places,
            rise,
            *magnification,
            cx,
            cy,
            self._state,
        )
        return int(lost)

    def write(self, out: np.ndarray, backward: bool, magnification_per_bin: float, cx: float, cy: float) -> None:
        """Write the stack as of now to `out`, (B, H, W) float32 in canonical order."""
        height, drawers = out.shape[1], self._state.waiting.size
        given = self._state.differences, self._state.lines, backward, magnification_per_bin, cx, cy
        with ThreadPoolExecutor(1) as beside:
            emptied = beside.submit(_empty, self._state, 0, drawers // 2)
            _empty(self._state, drawers // 2, drawers)
            emptied.result()
            upper = beside.submit(write_stack, *given, 0, height // 2, out)
            write_stack(*given, height // 2, height, out)
            upper.result()

    def carry_on(self, before: "Interpolation") -> None:
        """Begin where the pass just before this one left each pixel, the lens having turned."""
        _empty(before._state, 0, before._state.waiting.size)
        signed, slope = np.moveaxis(before._state.lines, -1, 0)
        place = np.maximum(len(self._state.differences) - 3 - np.abs(signed), CLOSEST)
        self._state.lines[..., 0] = np.where(slope == 0, 0, np.copysign(place, signed))
        self._state.lines[..., 1] = np.where(slope == 0, 0, _NEARLY_LEVEL)
        self._state = self._state._replace(carried=True)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _sort_in(
    events, start_us, cells_per_us, places, rise, magnification, magnified, cx, cy, state
):  # fmt: skip
    height, width = np.int64(state.lines.shape[0]), np.int64(state.lines.shape[1])
    columns, falling, capacity = _U32(width), _U32(rise < 0), _U64(state.drawers.shape[1])
    lost = 0
    cell_start, cell_end = np.int64(1), np.int64(0)
    unit = 2.0 ** (PLACE_BITS + _FINER_BITS) / (state.differences.shape[0] - 2)
    at_start = per_us = np.int64(0)
    left, right, top, bottom = np.int64(0), width, np.int64(0), height
    waiting, drawers = state.waiting, state.drawers.reshape(-1)
    for first in range(0, events.size, _SORTED):
        for i in range(first, min(first + _SORTED, events.size)):
            event = events[_U64(i)]
            t, x, y = event.timestamp, np.int64(event.x), np.int64(event.y)
            if t < cell_start or t >= cell_end:
                cell_start, cell_end, begin, slope, middle = find_cell(t, start_us, cells_per_us, places)
                at_start, per_us = np.int64(begin * unit), np.int64(slope * unit)
                if magnified != 0.0:
                    left, right, top, bottom = _seen(magnification + magnified * middle, cx, cy, width, height)
            if magnified != 0.0:
                lost += (_U64(x - left) >= _U64(right - left)) | (_U64(y - top) >= _U64(bottom - top))
            place = _U32((at_start + (t - cell_start) * per_us) >> _FINER_BITS)
            pixel = _U32(y) * columns + _U32(x)
            drawer = _U64(pixel >> _U32(_PIXEL_BITS))
            at = drawer * capacity + _U64(waiting[drawer])
            waiting[drawer] += 1
            within = pixel & _U32(DRAWER_PIXELS - 1)
            drawers[at] = ((place << _U32(_PIXEL_BITS) | within) << _U32(1)) | (_U32(event.polarity) ^ falling)
        for full in range(waiting.size):
            if waiting[full] >= DRAWER_EVENTS:
                _empty(state, full, full + 1)
    return lost


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _seen(magnification, cx, cy, width, height):
    """The pixels that undoing the breathing leaves on the sensor: left, right, top, bottom, the ends excluded."""
    shrink, shift_x, shift_y = undo_breathing(magnification, cx, cy)
    left, right = -(shift_x // shrink), -((shift_x - (width << FIXED)) // shrink)
    top, bottom = -(shift_y // shrink), -((shift_y - (height << FIXED)) // shrink)
    return max(left, 0), min(right, width), max(top, 0), min(bottom, height)


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _empty(state, first, last):
    """Empty some drawers."""
    for drawer in range(first, last):
        _extend(state.drawers[drawer, : state.waiting[drawer]], _U32(drawer * DRAWER_PIXELS), state)
        state.waiting[drawer] = 0


_BLOCK = 512
_LINE = 16
"""Numbers in a line of the cache."""


@numba.njit(nogil=True, cache=True)
def _touch(differences, lines, plane, first, from_bin, to_bin):
    """Bring what a drawer's events will be added to into the cache, in order, which is faster than as they come."""
    end = min(first + _U32(DRAWER_PIXELS), plane)
    sum_ = _F32(0)
    for i in range(2 * first, 2 * end, _LINE):
        sum_ += lines[_U64(i)]
    for k in range(from_bin, to_bin):
        for i in range(k * plane + first, k * plane + end, _LINE):
            sum_ += differences[_U64(i)]
    return sum_  # else nothing would be read


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _extend(drawer, first_pixel, state):
    """Extend the lines of pixels to their next events; no branch depends on what comes from memory."""
    planes, height, width = state.differences.shape
    plane = _U32(height * width)
    flat, ends = state.differences.reshape(-1), state.lines.reshape(-1)
    where = np.empty(2 * _BLOCK, np.uint32)
    fraction, change = np.empty(2 * _BLOCK, np.float32), np.empty(2 * _BLOCK, np.float32)
    half, one, last = _F32(0.5), _F32(1), _F32(planes - 2) - _CLOSEST
    unit = _F32((planes - 2) * 2.0**-PLACE_BITS)
    if drawer.size > DRAWER_EVENTS // 4:
        earliest = np.int64(unit * _F32(drawer[0] >> _U32(_PIXEL_BITS + 1)))
        latest = np.int64(unit * _F32(drawer[-1] >> _U32(_PIXEL_BITS + 1)))
        fraction[0] = _touch(flat, ends, plane, first_pixel, max(earliest - 1, 0), latest + 3)
    for first in range(0, drawer.size, _BLOCK):
        n = _U64(0)
        for i in range(first, min(first + _BLOCK, drawer.size)):
            event = drawer[_U64(i)]
            pixel = first_pixel + (event >> _U32(1) & _U32(DRAWER_PIXELS - 1))
            rise = _F32(2) * _F32(event & _U32(1)) - one
            place = unit * _F32(event >> _U32(_PIXEL_BITS + 1))
            at = _U64(pixel) << _U64(1)
            signed, old = ends[at], ends[at + _U64(1)]
            before = abs(signed)
            way = place - before
            if not (state.carried and old == _NEARLY_LEVEL and way <= -_CLOSEST):
                way = max(way, _CLOSEST)
            slope = rise / way
            slope = _FIRST * slope if old == 0 else slope
            turns = signed * rise < 0
            outer = _OVER * slope if turns else slope
            bin_ = _U32(before)
            where[n] = bin_ * plane + pixel
            fraction[n] = before - _F32(bin_)
            change[n] = (-outer if turns else outer) - old
            n += _U64(1)
            turn = before + _TURN * way
            bin_ = _U32(turn)
            where[n] = bin_ * plane + pixel
            fraction[n] = turn - _F32(bin_)
            change[n] = outer + outer
            n += _U64(turns)
            ends[at], ends[at + _U64(1)] = rise * min(before + way, last), outer
        for i in range(n):
            j = _U64(i)
            at, f, a = where[j], fraction[j], change[j]
            square = half * f * f
            flat[at] += a * (half - f + square)
            flat[at + plane] += a * (half + f - square - square)
            flat[at + plane + plane] += a * square


@numba.njit(nogil=True, cache=True, error_model="numpy")
def write_stack(
    differences: np.ndarray,  # (B+2, H, W) float32
    lines: np.ndarray,  # (H, W, 2) float32
    backward: bool,
    magnification_per_bin: float,
    cx: float,
    cy: float,
    first: int,  # rows of the sensor that are looked at; all together write all of the stack
    last: int,
    out: np.ndarray,  # (B, H, W) float32, canonical
) -> None:
    """Sum the differences over the bins, every line being level after its last event, and undo the breathing.

    A pixel of the stack is the pixel of the sensor that its centre is seen in, nothing where that lies beside it.
    """
    bins, height, width = out.shape
    seen_at = np.empty((bins, height + 1), np.int64)  # the row of the sensor that a row of the stack is taken from
    column = np.empty((bins, width), np.int32)
    next_row = np.zeros(bins, np.int64)
    for b in range(bins):
        magnification = 1.0 + magnification_per_bin * b
        for y in range(height):
            seen_at[b, y] = np.int64(np.floor(cy + magnification * (y + 0.5 - cy)))
        seen_at[b, height] = height
        for x in range(width):
            column[b, x] = np.int32(np.floor(cx + magnification * (x + 0.5 - cx)))
        while seen_at[b, next_row[b]] < first:
            next_row[b] += 1
        if first == 0:
            out[b, : next_row[b]] = 0
    half = _F32(0.5)
    row = np.empty((bins + 2, width), np.float32)
    for y in range(first, last):
        for b in range(bins):
            row[b] = differences[b, y]
        for x in range(width):
            slope = lines[y, x, 1]
            if slope != 0:
                place = abs(lines[y, x, 0])
                bin_ = _U32(place)
                f = place - _F32(bin_)
                square = half * f * f
                row[bin_, x] -= slope * (half - f + square)
                row[bin_ + 1, x] -= slope * (half + f - square - square)
                row[bin_ + 2, x] -= slope * square
        for at in range(bins):
            here = row[at]
            if at:
                before = row[at - 1]
                for x in range(width):
                    here[x] += before[x]
            b = bins - 1 - at if backward else at
            while seen_at[b, next_row[b]] == y and next_row[b] < height:
                target, source = out[b, next_row[b]], column[b]
                for x in range(width):
                    target[x] = here[source[x]] if 0 <= source[x] < width else _F32(0)
                next_row[b] += 1
    if last == height:
        for b in range(bins):
            out[b, next_row[b] :] = 0


def extend_plainly(
    before: tuple[float, int] | None,  # place and sign of the pixel's previous event, None for its first in the sweep
    place: float,
    sign: int,
) -> tuple[float, list[tuple[float, float, float]]]:
    """What one event does to its pixel's line, plainly: the line's new end, and (from, to, rise) pieces."""
    if before is None:
        before, first = (0.0, sign), FIRST_EVENT
    else:
        first = 1.0
    start, sign_before = before
    if place - start < CLOSEST:
        place = start + CLOSEST
    if sign_before == sign:
        return place, [(start, place, first * sign)]
    turn = start + REVERSAL_AT * (place - start)
    over = REVERSAL_AT / (1 - 2 * REVERSAL_AT)
    return place, [(start, turn, -over * sign), (turn, place, (1 + over) * sign)]
