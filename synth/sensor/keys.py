"""Events as sortable integers: sorting in time order, and conversion to records."""

from typing import Any

import numpy as np
from numba import njit

TIME_SHIFT = 29
"""An event is one sortable uint64: µs since the origin << 29 | pixel index << 1 | polarity."""
MAX_PIXELS = 1 << (TIME_SHIFT - 1)

_DIGIT_BITS = 11  # as many counters as the fastest cache holds
_MAX_BUCKET_BITS = 16  # as many as the second cache holds
_MAX_BUCKET = 64  # keys, beyond which insertion is slower


def sort_keys(keys: np.ndarray) -> np.ndarray:
    """Keys (N,) uint64 in rising order; `keys` is overwritten.

    Events are spread over time, so their highest bits divide them into small buckets, which are sorted by insertion.
    If many have the same time, as with scans of the array: radix sort, from the lowest digit up, of as few digits as
    the keys' range has (Knuth, TAOCP 3, §5.2.5 and §5.2.1).
    """
    if not len(keys):
        return keys
    least, greatest = keys.min(), keys.max()
    bits = int(greatest - least).bit_length()
    other = np.empty_like(keys)
    bucket_bits = min(bits, _MAX_BUCKET_BITS, len(keys).bit_length())
    if _sort_in_buckets(keys, other, least, bits - bucket_bits, 1 << bucket_bits):
        return other
    return _sort(keys, other, least, max(1, -(-bits // _DIGIT_BITS)), bits)


@njit(nogil=True, cache=True)
def _sort_in_buckets(keys: Any, other: Any, least: Any, shift: int, buckets: int) -> bool:
    """Sort into `other`; False, without a result, if a bucket is too large for insertion."""
    places = np.zeros(buckets + 1, np.int32)
    for key in keys:
        places[np.int64((key - least) >> np.uint64(shift)) + 1] += 1
    largest = 0
    for bucket in range(buckets):
        largest = max(largest, places[bucket + 1])
        places[bucket + 1] += places[bucket]
    if largest > _MAX_BUCKET:
        return False
    for key in keys:
        bucket = np.int64((key - least) >> np.uint64(shift))
        other[places[bucket]] = key
        places[bucket] += 1
    for i in range(1, other.size):
        key, at = other[i], i
        while at > 0 and other[at - 1] > key:
            other[at] = other[at - 1]
            at -= 1
        other[at] = key
    return True


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
    delay: Any = -np.inf
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
