"""Kernels of the detectors: compiled loops over events, each beside a plain NumPy reference."""

import numba
import numpy as np

ON, OFF, FLIPS, LAST = range(4)
"""Columns of `tally_pixels`."""

LEVEL, AREA, UPS, DOWNS, START, BEFORE, MEMORY, OFF_STEP = range(8)
"""Columns of `step_levels` and `close_cycle`, one record per pixel for locality. In units of the ON threshold: the
level, its value at the cycle's start, its mean in the previous cycle, the level of the last event fired, and the OFF
threshold. In ON thresholds times µs: the area that the cycle's events add to that under the initial level. And the
numbers of ON and OFF events."""


@numba.njit(nogil=True, cache=True)
def count_signs(
    timestamp: np.ndarray,  # (N,) int64, µs, never decreasing
    polarity: np.ndarray,  # (N,) int8 in {0, 1}
    start_us: int,  # of the window; no event is before it
    slot_us: int,
    on: np.ndarray,  # (S,) int64, added to: ON events in slots of time
    off: np.ndarray,  # (S,) int64, added to: OFF events
) -> int:
    """Count events up to the end of a window of S slots; returns their number."""
    end_us = start_us + slot_us * len(on)
    i, n = 0, len(timestamp)
    while i < n and timestamp[i] < end_us:
        slot = (timestamp[i] - start_us) // slot_us
        slot_end = start_us + (slot + 1) * slot_us
        first, ups = i, 0
        while i < n and timestamp[i] < slot_end:
            ups += polarity[i]
            i += 1
        on[slot] += ups
        off[slot] += i - first - ups
    return i


def count_signs_numpy(
    timestamp: np.ndarray, polarity: np.ndarray, start_us: int, slot_us: int, on: np.ndarray, off: np.ndarray
) -> int:
    """`count_signs` in plain NumPy."""
    n = int(np.searchsorted(timestamp, start_us + slot_us * len(on)))
    slot, up = (timestamp[:n] - start_us) // slot_us, polarity[:n] > 0
    np.add.at(on, slot[up], 1)
    np.add.at(off, slot[~up], 1)
    return n


@numba.njit(nogil=True, cache=True)
def tally_pixels(
    x: np.ndarray,  # (N,) int16
    y: np.ndarray,  # (N,) int16
    polarity: np.ndarray,  # (N,) int8 in {0, 1}
    tally: np.ndarray,  # (H, W, 4) int32, added to: ON and OFF events, changes of sign, the last sign
) -> None:
    """Count each pixel's events. The last sign is 1 for ON, −1 for OFF, and 0 before a pixel's first event."""
    for i in range(len(x)):
        pixel = tally[y[i], x[i]]
        sign = 2 * polarity[i] - 1
        pixel[ON if sign > 0 else OFF] += 1
        pixel[FLIPS] += pixel[LAST] == -sign
        pixel[LAST] = sign


def tally_pixels_numpy(x: np.ndarray, y: np.ndarray, polarity: np.ndarray, tally: np.ndarray) -> None:
    """`tally_pixels` in plain NumPy."""
    sign = 2 * polarity.astype(np.int32) - 1
    for row, column in np.unique(np.stack([y, x], axis=1), axis=0):
        signs, pixel = sign[(y == row) & (x == column)], tally[row, column]
        pixel[ON] += np.count_nonzero(signs > 0)
        pixel[OFF] += np.count_nonzero(signs < 0)
        pixel[FLIPS] += np.count_nonzero(np.diff(np.concatenate([pixel[LAST:], signs]))) - (pixel[LAST] == 0)
        pixel[LAST] = signs[-1]


@numba.njit(nogil=True, cache=True)
def sum_signs(
    x: np.ndarray,  # (N,) int16
    y: np.ndarray,  # (N,) int16
    polarity: np.ndarray,  # (N,) int8 in {0, 1}
    digits: int,
    counts: np.ndarray,  # (⌈H/2^digits⌉, ⌈W/2^digits⌉, 2) int32, added to: ON and OFF events
) -> None:
    """Count ON and OFF events of the pixels whose coordinates are both multiples of 2^digits."""
    rest = (1 << digits) - 1
    for i in range(len(x)):
        if (x[i] | y[i]) & rest == 0:
            counts[y[i] >> digits, x[i] >> digits, 0 if polarity[i] else 1] += 1


def sum_signs_numpy(x: np.ndarray, y: np.ndarray, polarity: np.ndarray, digits: int, counts: np.ndarray) -> None:
    """`sum_signs` in plain NumPy."""
    chosen = (x % 2**digits == 0) & (y % 2**digits == 0)
    np.add.at(counts, (y[chosen] // 2**digits, x[chosen] // 2**digits, np.where(polarity[chosen], 0, 1)), 1)


@numba.njit(nogil=True, cache=True)
def select(
    events: np.ndarray,  # (N,) EVENT_DTYPE
    x: np.ndarray,  # (N,) int16
    y: np.ndarray,  # (N,) int16
    masked: np.ndarray,  # (H, W) bool
    out: np.ndarray,  # (N,) EVENT_DTYPE, written to
) -> int:
    """Copy the events of unmasked pixels; returns their number."""
    n = 0
    for i in range(len(events)):
        if not masked[y[i], x[i]]:
            out[n] = events[i]
            n += 1
    return n


def select_numpy(events: np.ndarray, x: np.ndarray, y: np.ndarray, masked: np.ndarray, out: np.ndarray) -> int:
    """`select` in plain NumPy."""
    kept = np.flatnonzero(~masked[y, x])
    out[: len(kept)] = events[kept]
    return len(kept)


@numba.njit(nogil=True, cache=True)
def step_levels(
    timestamp: np.ndarray,  # (N,) int64, µs, all within the cycle
    x: np.ndarray,  # (N,) int16
    y: np.ndarray,  # (N,) int16
    polarity: np.ndarray,  # (N,) int8 in {0, 1}
    end_us: int,  # of the cycle
    pixels: np.ndarray,  # (H, W, 8) float32, changed
) -> None:
    """Step each event's pixel by its threshold, and count the event."""
    for i in range(len(timestamp)):
        pixel = pixels[y[i], x[i]]
        if polarity[i]:
            step = np.float32(1)
            pixel[UPS] += np.float32(1)
        else:
            step = -pixel[OFF_STEP]
            pixel[DOWNS] += np.float32(1)
        pixel[LEVEL] += step
        pixel[AREA] += step * np.float32(end_us - timestamp[i])


def step_levels_numpy(
    timestamp: np.ndarray, x: np.ndarray, y: np.ndarray, polarity: np.ndarray, end_us: int, pixels: np.ndarray
) -> None:
    """`step_levels` in plain NumPy."""
    step = np.where(polarity > 0, np.float32(1), -pixels[y, x, OFF_STEP])
    np.add.at(pixels[..., LEVEL], (y, x), step)
    np.add.at(pixels[..., AREA], (y, x), step * (end_us - timestamp).astype(np.float32))
    np.add.at(pixels, (y, x, np.where(polarity > 0, UPS, DOWNS)), np.float32(1))


@numba.njit(nogil=True, cache=True)
def close_cycle(
    pixels: np.ndarray,  # (H, W, 8) float32, changed
    cycle_us: int,
    slots: np.ndarray,  # (cycle_us,) int64, added to: events by the µs they are in
    at: np.ndarray,  # (capacity,) int64: time of each event in µs after the middle of the previous cycle
    where: np.ndarray,  # (capacity,) int64: pixel, row by row
    sign: np.ndarray,  # (capacity,) int8 in {0, 1}
) -> int:
    """Compute every pixel's mean level over the cycle and the events between it and the previous mean; returns their
    number.

    The mean is interpolated linearly between the middles of the cycles. Events beyond the capacity wait for the next
    cycle.
    """
    flat = pixels.reshape(-1, 8)
    per_us = np.float32(1) / np.float32(cycle_us)
    n = 0
    for i in range(len(flat)):
        pixel = flat[i]
        mean = pixel[START] + pixel[AREA] * per_us
        first, held, step = pixel[BEFORE], pixel[MEMORY], pixel[OFF_STEP]
        if mean - held >= np.float32(1) or held - mean >= step:
            way = mean - first
            while n < len(at):
                if mean - held >= np.float32(1):
                    held += np.float32(1)
                    up = 1
                elif held - mean >= step:
                    held -= step
                    up = 0
                else:
                    break
                share = (held - first) / way if way != 0 else np.float32(1)
                when = int(cycle_us * min(max(share, np.float32(0)), np.float32(1)))
                at[n], where[n], sign[n] = min(when, cycle_us - 1), i, up
                slots[at[n]] += 1
                n += 1
            pixel[MEMORY] = held
        pixel[BEFORE] = mean
        pixel[START] = pixel[LEVEL]
        pixel[AREA] = np.float32(0)
    return n


def close_cycle_numpy(
    pixels: np.ndarray, cycle_us: int, slots: np.ndarray, at: np.ndarray, where: np.ndarray, sign: np.ndarray
) -> int:
    """`close_cycle` in plain NumPy, with events in another order and unlimited capacity."""
    level, area, start, before, memory, step = (
        pixels[..., column].ravel() for column in (LEVEL, AREA, START, BEFORE, MEMORY, OFF_STEP)
    )
    mean = start + area * (np.float32(1) / np.float32(cycle_us))
    n = 0
    while True:
        up, down = mean - memory >= 1, memory - mean >= step
        fired = np.flatnonzero(up | down)
        if not len(fired):
            break
        memory = np.where(up, memory + np.float32(1), np.where(down, memory - step, memory))
        way = (mean - before)[fired]
        share = np.divide((memory - before)[fired], way, out=np.ones_like(way), where=way != 0)
        when = np.minimum((cycle_us * np.clip(share, 0, 1).astype(np.float64)).astype(np.int64), cycle_us - 1)
        np.add.at(slots, when, 1)
        at[n : n + len(fired)], where[n : n + len(fired)], sign[n : n + len(fired)] = when, fired, up[fired]
        n += len(fired)
    shape = pixels.shape[:2]
    pixels[..., MEMORY], pixels[..., BEFORE] = memory.reshape(shape), mean.reshape(shape)
    pixels[..., START], pixels[..., AREA] = level.reshape(shape), 0
    return n


@numba.njit(nogil=True, cache=True)
def scatter(
    at: np.ndarray,  # (N,) int64
    where: np.ndarray,  # (N,) int64
    sign: np.ndarray,  # (N,) int8
    slots: np.ndarray,  # (S,) int64: how many have each time; used up
    width: int,
    origin_us: int,
    timestamp: np.ndarray,  # (N,) int64, written to, as are the others
    x: np.ndarray,
    y: np.ndarray,
    polarity: np.ndarray,
) -> None:
    """Write events in time order: a counting sort."""
    place = 0
    for slot in range(len(slots)):
        here = slots[slot]
        slots[slot] = place
        place += here
    for i in range(len(at)):
        j = slots[at[i]]
        slots[at[i]] += 1
        timestamp[j] = origin_us + at[i]
        x[j] = where[i] % width
        y[j] = where[i] // width
        polarity[j] = sign[i]
