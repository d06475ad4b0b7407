"""Events as sortable integers: sorting in time order, and conversion to records."""

from typing import Any

import numpy as np
from numba import njit

TIME_SHIFT = 29
"""An event is one sortable uint64: µs since the origin << 29 | pixel index << 1 | polarity."""
MAX_PIXELS = 1 << (TIME_SHIFT - 1)

_DIGIT_BITS = 11  # as many counters as the fastest cache holds


def sort_keys(keys: np.ndarray) -> np.ndarray:
    """Keys (N,) uint64 in rising order; `keys` is overwritten.

    Radix sort, from the lowest digit up (Knuth, TAOCP 3, §5.2.5), of as few digits as the keys' range has.
    """
    if not len(keys):
        return keys
    least, greatest = keys.min(), keys.max()
    bits = int(greatest - least).bit_length()
    return _sort(keys, np.empty_like(keys), least, max(1, -(-bits // _DIGIT_BITS)), bits)


@njit(nogil=True, cache=True)
def _sort(keys: Any, other: Any, least: Any, digits: int, bits: int) -> Any:
    width = -(-bits // digits)
    mask = np.uint64((1 << width) - 1)
    places = np.zeros((digits, 1 << width), np.int64)
    for key in keys:
        rest = key - least
        for digit in range(digits):
            places[digit, rest & mask] += 1
            rest >>= np.uint64(width)
    for digit in range(digits):
        place, shift, start = places[digit], np.uint64(digit * width), 0
        for value in range(place.size):
            start, place[value] = start + place[value], start
        for key in keys:
            value = ((key - least) >> shift) & mask
            other[place[value]] = key
            place[value] += 1
        keys, other = other, keys
    return keys


@njit(nogil=True, cache=True)
def read_out(
    keys: np.ndarray,  # (N,) uint64, sorted
    width: int,
    origin_us: int,
    slot_us: float,  # time that the bus takes for an event; 0: none
    free_us: float,  # time from which the bus is free, µs since the origin
    events: np.ndarray,  # (N,) EVENT_DTYPE, filled
) -> float:
    """Convert keys to events in the order of the readout bus; returns the time from which the bus is free."""
    columns = np.uint32(width)
    delay = -np.inf
    for i in range(len(keys)):
        key = keys[i]
        pixel = np.uint32(key >> np.uint64(1)) & np.uint32(MAX_PIXELS - 1)
        row = pixel // columns
        stamp = np.int64(key >> np.uint64(TIME_SHIFT))
        if slot_us > 0:
            turn = i * slot_us
            delay = max(delay, max(stamp - turn, free_us))
            stamp = np.int64(turn + delay)
        events[i].timestamp = stamp + origin_us
        events[i].x = pixel - row * columns
        events[i].y = row
        events[i].polarity = key & np.uint64(1)
    return (len(keys) - 1) * slot_us + delay + slot_us if slot_us > 0 and len(keys) else free_us
