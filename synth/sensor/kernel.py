"""Compiled simulation of an event sensor's pixel array, including its noise; `reference` is the same in NumPy.

Comparing logarithms is comparing ratios, so no logarithm is computed: a pixel with threshold θ and reference
photocurrent M (its memory) fires ON when its response reaches M·exp(θ_on), and OFF when it falls to M·exp(−θ_off). A
step in which no level is reached costs two comparisons.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import njit, types
from numba.extending import intrinsic

TIME_SHIFT = 29
"""Events are encoded as sortable uint64 keys: µs since the origin << 29 | pixel index << 1 | polarity."""
MAX_PIXELS = 1 << (TIME_SHIFT - 1)
_NONE = np.uint64(0xFFFFFFFFFFFFFFFF)  # no event

BRIGHT_NOISE = np.float32(0.25)
"""Shot noise rate at white relative to that in the dark (v2e: SHOT_NOISE_INTEN_FACTOR)."""
HELD = np.float32(-np.inf)
"""Level of a pixel held in reset: always reached, so that the pixel is processed in every step."""
MAX_DECAY = np.float32(80.0)
"""Number of time constants after which the past is ignored; e⁸⁰ still fits a float32."""
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Increment of SplitMix64."""

_TILE = 2048  # pixels processed together, whose state stays in cache


class Pixels(NamedTuple):
    """Constants of each pixel, with mismatch; all (P,), in row order."""

    gain_on: np.ndarray  # float32, exp(θ_on)
    gain_off: np.ndarray  # float32, exp(−θ_off)
    leak: np.ndarray  # float32, drift of the response relative to the memory, 1/µs
    noise: np.ndarray  # float64, largest rate of noise events, 1/µs
    hot: np.ndarray  # uint8, 1: fires at every noise candidate, independent of light


class State(NamedTuple):
    """State of each pixel at the time of the last frame; all (P,), changed in place."""

    drive: np.ndarray  # float32, photocurrent and dark current; white in the bright office is 1
    response: np.ndarray  # float32, the photoreceptor's output, as a current
    memory: np.ndarray  # float32, the response stored at the last event
    high: np.ndarray  # float32, ON level; `HELD` in reset
    low: np.ndarray  # float32, OFF level
    release: np.ndarray  # float64, µs, end of the reset of a held pixel
    candidate: np.ndarray  # float64, µs, next time at which noise may fire
    draws: np.ndarray  # uint32, random numbers used so far


class Settings(NamedTuple):
    """Constants shared by all pixels."""

    gain: np.float32  # radiance → drive: drive = gain · radiance + offset
    offset: np.float32
    bandwidth: np.float32  # 2π · cutoff frequency at drive 1, in 1/µs; 0: the response is the drive
    refractory_us: float
    delay_us: float  # σ of the half-normal delay until a pixel is read and its reset begins
    resolution_us: int  # of timestamps
    seed: np.uint64
    origin_us: int  # sensor time at which times here start, since float64 cannot resolve µs since 1970
    quiet: bool  # whether no pixel has leak or noise


def _address(typingctx: Any, array: Any) -> Any:
    """A raw pointer to an array's elements, indexed like it. Numba counts references to arrays passed to functions,
    which in `_next_event` cost more than the event itself; the array must outlive the pointer."""

    def codegen(context: Any, builder: Any, signature: Any, args: Any) -> Any:
        return context.make_array(signature.args[0])(context, builder, args[0]).data

    return types.CPointer(array.dtype)(array), codegen


_pointer: Any = intrinsic(_address)


# Photoreceptor: a photodiode current I charges the node of a logarithmic load, C dv/dt = I − exp(v); with w = exp(v)
# that is dw/dt = w (I − w) / C, a logistic equation: bandwidth proportional to the light, faster up than down
# (Delbruck and Mead, ISCAS 1994; large-signal form in Graça and Delbruck, arXiv 2505.07386). For constant I it is
# solved by w₁ = I·a / (a + I − w₀), a = w₀ exp(x), x = I·t/C. Over a step in which I rises linearly from I₀ to I₁ the
# constant that gives the same linear response is I₀ + α(I₁ − I₀), α = 1/(1 − e^−x) − 1/x.


@njit(nogil=True, cache=True, error_model="numpy")
def _respond(drive: Any, drive1: Any, response: Any, response1: Any, rate: Any) -> None:
    """Response at the end of a step from drives at both ends; all (n,) float32, `rate` = bandwidth · duration."""
    for i in range(drive.size):
        x = min(MAX_DECAY, rate * np.float32(0.5) * (drive[i] + drive1[i]))
        weight = (np.float32(12) + x * (np.float32(5) + x)) / (np.float32(24) + x * (np.float32(6) + x))
        mean = drive[i] + weight * (drive1[i] - drive[i])
        y = x * np.float32(0.125)
        root = np.float32(1) + y * (
            np.float32(1) + y * (np.float32(0.5) + y * (np.float32(1 / 6) + y * np.float32(1 / 24)))
        )
        square = root * root
        square = square * square
        grown = response[i] * (square * square)
        response1[i] = mean * grown / (grown + (mean - response[i]))


@njit(nogil=True, cache=True, error_model="numpy")
def _lighten(frame: Any, gain: Any, offset: Any, drive: Any) -> None:
    for i in range(frame.size):
        drive[i] = gain * frame[i] + offset


@njit(nogil=True, cache=True, error_model="numpy")
def _copy(source: Any, target: Any) -> None:
    for i in range(target.size):
        target[i] = source[i]


@njit(nogil=True, cache=True, error_model="numpy")
def _reached(response: Any, high: Any, low: Any, due: Any) -> None:
    """Mark pixels that have reached a level; sufficient without leak and noise."""
    for i in range(high.size):
        due[i] = (response[i] >= high[i]) | (response[i] <= low[i])


@njit(nogil=True, cache=True, error_model="numpy")
def _due(response: Any, high: Any, low: Any, leak: Any, since: Any, candidate: Any, end: float, due: Any) -> None:
    """Mark pixels that have reached a level, drift included, or have a noise candidate."""
    for i in range(high.size):
        level = response[i] * (np.float32(1) + leak[i] * since)
        due[i] = (level >= high[i]) | (level <= low[i]) | (candidate[i] <= end)


@njit(nogil=True, cache=True, error_model="numpy")
def _uniform(seed: Any, pixel: int, draw: int) -> Any:
    """Random number in (0, 1) number `draw` of a pixel: SplitMix64's finaliser over a counter (Steele et al. 2014)."""
    z = seed + GOLDEN * ((np.uint64(pixel) << np.uint64(32)) + np.uint64(draw) + np.uint64(1))
    for _ in range(2):
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    return (np.float64(z >> np.uint64(11)) + 0.5) * (1.0 / 9007199254740992.0)


@njit(nogil=True, cache=True, error_model="numpy")
def _draw(settings: Any, state: Any, pixel: int) -> Any:
    draw = state.draws[pixel]
    state.draws[pixel] = draw + np.uint32(1)
    return _uniform(settings.seed, pixel, draw)


@njit(nogil=True, cache=True, error_model="numpy")
def _remember(pixels: Any, state: Any, pixel: int, level: Any) -> None:
    state.memory[pixel] = level
    state.high[pixel] = level * pixels.gain_on[pixel]
    state.low[pixel] = level * pixels.gain_off[pixel]


@njit(nogil=True, cache=True, error_model="numpy")
def _key(settings: Any, pixel: int, time: Any, on: bool) -> Any:
    stamp = np.int64(np.floor(time)) + settings.origin_us
    stamp += -stamp % settings.resolution_us
    key = (np.uint64(stamp - settings.origin_us) << np.uint64(TIME_SHIFT)) | (np.uint64(pixel) << np.uint64(1))
    return key | np.uint64(on)


@njit(nogil=True, cache=True, error_model="numpy")
def _larger(keys: Any) -> Any:
    larger = np.empty(2 * keys.size, np.uint64)
    larger[: keys.size] = keys
    return larger


@njit(nogil=True, cache=True, error_model="numpy", inline="always")
def _next_event(
    pixel: int,
    y0: Any,  # float32, response with drift at t0
    y1: Any,  # and at t1; linear in between
    t0: float,
    t1: float,
    pixels: Any,
    state: Any,
    settings: Any,
) -> Any:
    """Key of the next event of one pixel in one step, or `_NONE`; updates the pixel's state."""
    slope = (np.float64(y1) - np.float64(y0)) / (t1 - t0)
    if state.high[pixel] == HELD:
        if state.release[pixel] >= t1:
            return _NONE
        freed = max(t0, state.release[pixel])
        _remember(pixels, state, pixel, np.float32(y0 + slope * (freed - t0)))
    t = max(t0, state.release[pixel])

    on = y1 >= state.high[pixel]
    level = state.high[pixel] if on else state.low[pixel]
    crossing = np.inf
    if on or y1 <= level:
        crossing = min(max(t0 + (np.float64(level) - np.float64(y0)) / slope, t), t1) if slope != 0.0 else t
    while True:
        noise = state.candidate[pixel]
        if noise > min(crossing, t1):
            break
        state.candidate[pixel] = noise - np.log(_draw(settings, state, pixel)) / pixels.noise[pixel]
        if noise < t:
            continue
        noise_level = np.float32(y0 + slope * (noise - t0))
        chance = np.float32(1) - (np.float32(1) - BRIGHT_NOISE) * min(np.float32(1), noise_level)
        if _draw(settings, state, pixel) < chance or pixels.hot[pixel] != 0:
            on = _draw(settings, state, pixel) < 0.5
            level, crossing = noise_level, noise
            break
    if crossing > t1:
        return _NONE

    read = crossing
    if settings.delay_us > 0:
        radius = np.sqrt(-2.0 * np.log(_draw(settings, state, pixel)))
        read += settings.delay_us * radius * abs(np.cos(2.0 * np.pi * _draw(settings, state, pixel)))
    state.release[pixel] = read + settings.refractory_us
    if state.release[pixel] > crossing:
        state.high[pixel] = HELD
    else:
        _remember(pixels, state, pixel, level)
    return _key(settings, pixel, read, on)


@njit(nogil=True, cache=True, error_model="numpy")
def _fire(
    start: int,  # first pixel of the tile
    response: Any,  # (size,) float32 at t0
    response1: Any,  # and at t1
    since0: Any,
    since1: Any,
    t0: float,
    t1: float,
    due: Any,  # (_TILE,) bool, False past the end of the tile
    places: Any,  # (_TILE,) int32, overwritten
    pixels: Any,
    state: Any,
    settings: Any,
    keys: Any,  # pointer to `room` keys, `count` of them in use
    count: int,
    room: int,
) -> int:
    """Append the events of all due pixels of a tile in one step; call again with more room when full."""
    listed = 0
    words = due.view(np.uint64)  # skip eight pixels at once
    for word in range(words.size):
        if words[word] != 0:
            for i in range(8 * word, 8 * word + 8):  # branch-free, since a branch would be unpredictable
                places[listed] = i
                listed += due[i]
    for place in range(listed):
        i = places[place]
        pixel = start + i
        y0 = response[i] * (np.float32(1) + pixels.leak[pixel] * since0)
        y1 = response1[i] * (np.float32(1) + pixels.leak[pixel] * since1)
        while y1 >= state.high[pixel] or y1 <= state.low[pixel] or state.candidate[pixel] <= t1:
            if count == room:
                return count
            key = _next_event(pixel, y0, y1, t0, t1, pixels, state, settings)
            if key == _NONE:
                break
            keys[count] = key
            count += 1
    return count


def expose(
    frames: np.ndarray,  # (K, P) float32, linear radiance at times[1:]
    times: np.ndarray,  # (K + 1,) float64, µs since the origin, increasing; `state` is at times[0]
    drift_start: np.ndarray,  # (K + 1,) float64, µs, start of drift: in `state`, then in each step
    pixels: Pixels,
    state: State,  # changed in place
    settings: Settings,
) -> np.ndarray:  # (N,) uint64, unsorted
    """Keys of the events of K steps."""
    scratch, due = np.empty((4, _TILE), np.float32), np.zeros(_TILE, np.bool_)
    places = np.empty(_TILE, np.int32)
    return _expose(frames, times, drift_start, pixels, state, settings, scratch, due, places)


@njit(nogil=True, cache=True, error_model="numpy")
def _expose(
    frames: Any,
    times: Any,
    drift_start: Any,
    pixels: Any,
    state: Any,
    settings: Any,
    scratch: Any,
    due: Any,
    places: Any,
) -> Any:
    """Process the frames tile by tile, so that a tile's state stays in cache."""
    constant = Pixels(
        _pointer(pixels.gain_on),
        _pointer(pixels.gain_off),
        _pointer(pixels.leak),
        _pointer(pixels.noise),
        _pointer(pixels.hot),
    )
    now = State(
        _pointer(state.drive),
        _pointer(state.response),
        _pointer(state.memory),
        _pointer(state.high),
        _pointer(state.low),
        _pointer(state.release),
        _pointer(state.candidate),
        _pointer(state.draws),
    )
    filtered = settings.bandwidth > 0
    keys = np.empty(1024, np.uint64)
    count = 0
    for start in range(0, frames.shape[1], _TILE):
        size = min(_TILE, frames.shape[1] - start)
        stop = start + size
        due[size:] = False
        high, low = state.high[start:stop], state.low[start:stop]
        leak, candidate = pixels.leak[start:stop], state.candidate[start:stop]
        drive, drive1 = scratch[0, :size], scratch[1, :size]
        response, response1 = (scratch[2, :size], scratch[3, :size]) if filtered else (drive, drive1)
        _copy(state.drive[start:stop], drive)
        _copy(state.response[start:stop], response)
        for k in range(len(frames)):
            t0, t1 = times[k], times[k + 1]
            if drift_start[k + 1] != drift_start[k]:
                elapsed = np.float32(drift_start[k + 1] - drift_start[k])
                for i in range(start, stop):
                    if now.high[i] != HELD:
                        _remember(constant, now, i, now.memory[i] / (np.float32(1) + constant.leak[i] * elapsed))
            since0, since1 = np.float32(t0 - drift_start[k + 1]), np.float32(t1 - drift_start[k + 1])

            _lighten(frames[k, start:stop], settings.gain, settings.offset, drive1)
            if filtered:
                _respond(drive, drive1, response, response1, np.float32(settings.bandwidth * (t1 - t0)))
            if settings.quiet:
                _reached(response1, high, low, due)
            else:
                _due(response1, high, low, leak, since1, candidate, t1, due)

            while True:
                room = _pointer(keys)
                count = _fire(
                    start,
                    response,
                    response1,
                    since0,
                    since1,
                    t0,
                    t1,
                    due,
                    places,
                    constant,
                    now,
                    settings,
                    room,
                    count,
                    keys.size,
                )
                if count < keys.size:
                    break
                keys = _larger(keys)
            drive, drive1 = drive1, drive
            response, response1 = response1, response
        _copy(drive, state.drive[start:stop])
        _copy(response, state.response[start:stop])
    return keys[:count]


@njit(nogil=True, cache=True)
def unpack(
    keys: np.ndarray,  # (N,) uint64
    width: int,
    events: np.ndarray,  # (N,) EVENT_DTYPE, filled; timestamps in µs since the origin
) -> None:
    """Decode keys to events."""
    columns = np.uint32(width)
    for i in range(len(keys)):
        key = keys[i]
        pixel = np.uint32(key >> np.uint64(1)) & np.uint32(MAX_PIXELS - 1)
        row = pixel // columns
        events[i].timestamp = key >> np.uint64(TIME_SHIFT)
        events[i].x = pixel - row * columns
        events[i].y = row
        events[i].polarity = key & np.uint64(1)
