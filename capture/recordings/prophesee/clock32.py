"""Unwrapping of 32-bit event times, as in DAT and AEDAT 2 files."""

import numpy as np
from numba import from_dtype, njit, types

from .clock import CLOCK_32, FOLLOWING, NEAR_US, STATE_DTYPE, PlainClock, advance

_TIMES = types.Array(types.uint32, 1, "A", readonly=True)
_STATE = types.Array(from_dtype(STATE_DTYPE), 1, "C")
_LIMITS = types.Array(types.int64, 1, "C")


@njit(types.int64(_TIMES, types.int64, types.Array(types.int64, 1, "C"), _STATE, _LIMITS), nogil=True, cache=True)
def extend_times(
    times: np.ndarray,  # (N,) uint32, µs
    stop: int,
    out: np.ndarray,  # (≥ stop,) int64, µs; −1 for outliers
    state: np.ndarray,  # (1,) STATE_DTYPE
    limits: np.ndarray,  # (6,) int64, of CLOCK_32
) -> int:
    """Unwrap `times[:stop]`; later times only help to interpret those. Returns the number of outliers.

    Steps of less than half the range are accepted, and so are steps of less than a second across an overflow in either
    direction, so that disorder is preserved. Others are interpreted by the times that follow.
    """
    s = state[0]
    following = np.empty(FOLLOWING, np.int64)
    before = s.stale
    for i in range(stop):
        time = np.int64(times[i])
        step = time - s.high
        passes = s.high < 0 or -limits[2] < step < limits[2]
        if not passes:
            across = (step + limits[2]) % limits[1] - limits[2]
            passes = -limits[3] <= across <= limits[3] and (across > 0 or s.wraps > 0)
            if passes:
                s.wraps += 1 if across > 0 else -1
        if passes:
            s.high = time
            s.base = s.wraps * limits[1] + time + limits[5]
            s.valid = 1
        else:
            k = 0
            for ahead in range(i + 1, min(len(times), i + 1 + FOLLOWING)):
                following[k] = times[ahead]
                k += 1
            advance(state, time, following, k, limits)
        if s.valid:
            out[i] = s.base
        else:
            out[i] = -1
            s.stale += 1
    return s.stale - before


def extend_times_plainly(times: list[int], clock: PlainClock) -> list[int]:
    """The readable reference of `extend_times`."""
    half = CLOCK_32.period // 2
    found = []
    for i, time in enumerate(times):
        across = (time - clock.high + half) % CLOCK_32.period - half
        if clock.high < 0 or abs(time - clock.high) < half:
            clock.set(time)
        elif abs(across) <= NEAR_US and (across > 0 or clock.wraps > 0):
            clock.wraps += 1 if across > 0 else -1
            clock.set(time)
        else:
            clock.read(time, times[i + 1 : i + 1 + FOLLOWING])
        found.append(clock.base if clock.valid else -1)
    return found
