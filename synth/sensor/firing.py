"""Events of those pixels of a tile that may fire in a step: one per pixel and iteration, as in `reference`. The pixels
are stored contiguously, so that most work is vectorised, without branches.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit

from .keys import TIME_SHIFT
from .pixels import BRIGHT_NOISE, CELL, GOLDEN, HELD
from .pointers import trailing_zeros

FLOATS = CELL.itemsize // 4  # from a pixel's cell to the next one's
_DOUBLES = CELL.itemsize // 8
_LOG_2 = np.log(2.0)
_SQRT_HALF_BITS = np.sqrt(0.5).view(np.int64)
_GATHER_BITS = np.uint64(0x0102040810204080)  # times eight bytes of 0 or 1: their bits in the highest byte


class Firing(NamedTuple):
    """Candidate pixels of a tile, stored contiguously; only the first elements of each array are in use."""

    place: np.ndarray  # int32, in the tile
    y0: np.ndarray  # float32, response with drift at the start of the step
    y1: np.ndarray  # float32, at its end; linear in between
    gain_on: np.ndarray  # float32, as in `Pixels`
    gain_off: np.ndarray
    memory: np.ndarray  # float32, as in `State`
    high: np.ndarray
    low: np.ndarray
    release: np.ndarray  # float64
    draws: np.ndarray  # uint32
    level: np.ndarray  # float32, response at the event
    crossing: np.ndarray  # float64, µs, of the event; ∞: none
    read: np.ndarray  # float64, µs, when it is read
    on: np.ndarray  # uint8, its polarity
    fires: np.ndarray  # uint8, whether there is one
    again: np.ndarray  # uint8, whether there may be another in this step


def room_for(pixels: int) -> Firing:
    """Allocate arrays for a number of pixels."""
    kinds = {"place": np.int32, "draws": np.uint32, "release": np.float64, "crossing": np.float64, "read": np.float64}
    kinds |= dict.fromkeys(("on", "fires", "again"), np.uint8)
    return Firing(*(np.empty(pixels, kinds.get(name, np.float32)) for name in Firing._fields))


@njit(nogil=True, cache=True, error_model="numpy")
def list_due(due: Any, place: Any) -> int:
    """Write the indices of marked pixels, (n,) uint8 of 0 or 1 with n divisible by 64; returns their number."""
    listed = 0
    words = due.view(np.uint64)
    for first in range(0, words.size, 8):  # 64 pixels at once, as the bits of one number
        marked = np.uint64(0)
        for word in range(8):
            marked |= ((words[first + word] * _GATHER_BITS) >> np.uint64(56)) << np.uint64(8 * word)
        while marked != 0:
            place[listed] = 8 * first + trailing_zeros(marked)
            listed += 1
            marked &= marked - np.uint64(1)
    return listed


@njit(nogil=True, cache=True, error_model="numpy")
def fire(
    start: int,  # first pixel of the tile
    listed: int,
    response: Any,  # (tile,) float32 at t0
    response1: Any,  # and at t1
    since0: Any,  # float32, duration of the drift up to t0 in µs
    since1: Any,  # and at t1
    t0: float,
    t1: float,
    noisy: bool,  # whether noise may be due
    pixels: Any,
    state: Any,
    settings: Any,
    firing: Any,
    keys: Any,  # pointer to at least `listed` free keys
) -> Any:
    """One iteration: the next event of each listed pixel. Returns the numbers of events, and of pixels that may fire
    again."""
    _gather(start, listed, response, response1, since0, since1, pixels, state, firing)
    _cross(listed, t0, t1, firing)
    if noisy:
        _disturb(start, listed, t0, t1, pixels, state, settings, firing)
    if settings.delay_us > 0:
        _delay(start, listed, settings.delay_us, settings.seed, firing)
    else:
        for j in range(listed):
            firing.read[j] = firing.crossing[j]
    _reset(listed, t0, t1, settings.refractory_us, firing)
    return _scatter(start, listed, t1, state, settings, firing, keys)


@njit(nogil=True, cache=True, error_model="numpy")
def _gather(
    start: int,
    listed: int,
    response: Any,
    response1: Any,
    since0: Any,
    since1: Any,
    pixels: Any,
    state: Any,
    firing: Any,
) -> None:
    for j in range(listed):
        i = firing.place[j]
        pixel = start + i
        leak = pixels.leak[pixel]
        firing.y0[j] = response[i] * (np.float32(1) + leak * since0)
        firing.y1[j] = response1[i] * (np.float32(1) + leak * since1)
        firing.high[j], firing.low[j] = state.high[pixel], state.low[pixel]
        cell = FLOATS * pixel
        firing.gain_on[j], firing.gain_off[j] = pixels.gain_on[cell], pixels.gain_off[cell]
        firing.memory[j], firing.draws[j] = state.memory[cell], state.draws[cell]
        firing.release[j] = state.release[_DOUBLES * pixel]


@njit(nogil=True, cache=True, error_model="numpy")
def _cross(listed: int, t0: float, t1: float, firing: Any) -> None:
    """Release pixels whose reset ends, and find the time when each reaches a level."""
    for j in range(listed):
        y0, y1 = np.float64(firing.y0[j]), firing.y1[j]
        slope = (np.float64(y1) - y0) / (t1 - t0)
        held, ends = firing.high[j] == HELD, firing.release[j] < t1
        t = max(t0, firing.release[j])
        seen = np.float32(y0 + slope * (t - t0))
        freed = held & ends
        memory = seen if freed else firing.memory[j]
        high = seen * firing.gain_on[j] if freed else firing.high[j]
        low = seen * firing.gain_off[j] if freed else firing.low[j]
        on = y1 >= high
        level = high if on else low
        crossing = min(max(t0 + (np.float64(level) - y0) / slope, t), t1) if slope != 0.0 else t
        reached = (on | (y1 <= low)) & (ends | (not held))
        firing.memory[j], firing.high[j], firing.low[j] = memory, high, low
        firing.on[j], firing.level[j] = np.uint8(on), level
        firing.crossing[j] = crossing if reached else np.inf


@njit(nogil=True, cache=True, error_model="numpy")
def _disturb(
    start: int, listed: int, t0: float, t1: float, pixels: Any, state: Any, settings: Any, firing: Any
) -> None:
    """Replace a crossing by an earlier noise event."""
    for j in range(listed):
        pixel = start + firing.place[j]
        if firing.high[j] == HELD:
            continue
        y0 = np.float64(firing.y0[j])
        slope = (np.float64(firing.y1[j]) - y0) / (t1 - t0)
        t, draw = max(t0, firing.release[j]), firing.draws[j]
        while True:
            noise = state.candidate[pixel]
            if noise > min(firing.crossing[j], t1):
                break
            state.candidate[pixel] = noise - _log(_uniform(settings.seed, pixel, draw)) / pixels.noise[pixel]
            draw += np.uint32(1)
            if noise < t:
                continue
            level = np.float32(y0 + slope * (noise - t0))
            chance = np.float32(1) - (np.float32(1) - BRIGHT_NOISE) * min(np.float32(1), level)
            accepted = _uniform(settings.seed, pixel, draw) < chance or pixels.hot[pixel] != 0
            draw += np.uint32(1)
            if accepted:
                firing.on[j] = np.uint8(_uniform(settings.seed, pixel, draw) < 0.5)
                draw += np.uint32(1)
                firing.level[j], firing.crossing[j] = level, noise
                break
        firing.draws[j] = draw


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"contract"})
def _delay(start: int, listed: int, delay_us: float, seed: Any, firing: Any) -> None:
    """Readout times of events: a half-normal delay after the crossing (Box and Muller 1958)."""
    for j in range(listed):
        bits = _random(seed, start + firing.place[j], firing.draws[j])
        distance = (np.float64(np.int64(bits >> np.uint64(32))) + 0.5) * (1.0 / 4294967296.0)
        turns = (np.float64(np.int64(bits & np.uint64(0xFFFFFFFF))) + 0.5) * (1.0 / 4294967296.0)
        firing.read[j] = firing.crossing[j] + delay_us * np.sqrt(-2.0 * _log(distance)) * _abs_cos(turns)
        firing.draws[j] += np.uint32(1) if firing.crossing[j] < np.inf else np.uint32(0)


@njit(nogil=True, cache=True, error_model="numpy")
def _reset(listed: int, t0: float, t1: float, refractory_us: float, firing: Any) -> None:
    """Update the state of pixels after their events."""
    for j in range(listed):
        y0, y1, crossing = np.float64(firing.y0[j]), firing.y1[j], firing.crossing[j]
        slope = (np.float64(y1) - y0) / (t1 - t0)
        fires = crossing <= t1
        release = firing.read[j] + refractory_us
        held = release > crossing
        waits = held & (release >= t1)
        seen = np.float32(y0 + slope * (max(t0, release) - t0))
        level = seen if held else firing.level[j]
        high, low = level * firing.gain_on[j], level * firing.gain_off[j]
        moves = fires & (not waits)
        firing.fires[j], firing.again[j] = np.uint8(fires), np.uint8(moves & ((y1 >= high) | (y1 <= low)))
        firing.release[j] = release if fires else firing.release[j]
        firing.memory[j] = level if moves else firing.memory[j]
        firing.low[j] = low if moves else firing.low[j]
        firing.high[j] = high if moves else (HELD if fires else firing.high[j])


@njit(nogil=True, cache=True, error_model="numpy")
def _scatter(start: int, listed: int, t1: float, state: Any, settings: Any, firing: Any, keys: Any) -> Any:
    events, again = 0, 0
    for j in range(listed):
        i, fires = firing.place[j], firing.fires[j]
        pixel = start + i
        state.high[pixel], state.low[pixel] = firing.high[j], firing.low[j]
        state.memory[FLOATS * pixel], state.draws[FLOATS * pixel] = firing.memory[j], firing.draws[j]
        state.release[_DOUBLES * pixel] = firing.release[j]
        keys[events] = _key(settings, pixel, firing.read[j], firing.on[j])
        events += fires
        firing.place[again] = i
        again += firing.again[j] | (fires & np.uint8(state.candidate[pixel] <= t1))
    return events, again


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _key(settings: Any, pixel: int, time: Any, on: Any) -> Any:
    stamp = np.int64(np.floor(time)) + settings.origin_us
    if settings.resolution_us > 1:
        stamp += -stamp % settings.resolution_us
    key = (np.uint64(stamp - settings.origin_us) << np.uint64(TIME_SHIFT)) | (np.uint64(pixel) << np.uint64(1))
    return key | np.uint64(on)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _random(seed: Any, pixel: Any, draw: Any) -> Any:
    """64 random bits number `draw` of a pixel: SplitMix64's finaliser over a counter (Steele et al. 2014)."""
    z = seed + GOLDEN * ((np.uint64(pixel) << np.uint64(32)) + np.uint64(draw) + np.uint64(1))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _uniform(seed: Any, pixel: Any, draw: Any) -> Any:
    """Random number in (0, 1) number `draw` of a pixel."""
    bits = _random(seed, pixel, draw)
    return (np.float64(np.int64(bits >> np.uint64(11))) + 0.5) * (1.0 / 9007199254740992.0)


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _log(x: Any) -> Any:
    """Natural logarithm of a positive number, to 2e-15: x = 2ᵉ · m, 2 artanh((m − 1) / (m + 1)) as a series."""
    bits = np.float64(x).view(np.int64)
    exponent = (bits - _SQRT_HALF_BITS) >> 52
    mantissa = np.int64(bits - (exponent << 52)).view(np.float64)
    s = (mantissa - 1.0) / (mantissa + 1.0)
    w, series = s * s, 0.0
    for k in range(9, -1, -1):
        series = series * w + 1.0 / (2 * k + 1)
    return exponent * _LOG_2 + 2.0 * s * series


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _abs_cos(turns: Any) -> Any:
    """|cos(2π · turns)| for 0 to 1 turn, to 1e-15: the sine of the complement to a quarter turn, as a series."""
    x = np.pi * (0.5 - abs(2.0 * turns - np.rint(2.0 * turns)))
    w, series = x * x, 1.0
    for k in range(9, 0, -1):
        series = 1.0 - series * w * (1.0 / (2 * k * (2 * k + 1)))
    return x * series
