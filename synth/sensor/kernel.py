"""Compiled simulation of an event sensor's pixel array, including its noise; `reference` is the same in NumPy.

Comparing logarithms is comparing ratios, so no logarithm is computed: a pixel with threshold θ and reference
photocurrent M (its memory) fires ON when its response reaches M·exp(θ_on), and OFF when it falls to M·exp(−θ_off). A
step in which no level is reached costs two comparisons.
"""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numba import njit

from .firing import FLOATS, fire, list_due, room_for
from .pixels import HELD, MAX_DECAY, Pixels, Settings, State
from .pointers import address, addresses, prefetch

_TILE = 2048  # pixels processed together, whose state stays in cache
_PORTION = (
    512  # of them, during which as many of the next frame are prefetched: hardware does not foresee strides of a frame
)
_LINE = 16  # float32 in a cache line


def expose(
    frames: np.ndarray,  # (K, P) float32, linear radiance at times[1:]
    times: np.ndarray,  # (K + 1,) float64, µs since the origin, increasing; `state` is at times[0]
    drift_start: np.ndarray,  # (K + 1,) float64, µs, start of drift: in `state`, then in each step
    pixels: Pixels,
    state: State,  # changed in place
    settings: Settings,
    threads: int = 1,
) -> np.ndarray:  # (N,) uint64, unsorted
    """Keys of the events of K steps. Threads share the pixels; their number does not change the events."""
    backwards = frames.strides[0] < 0  # for the return sweep of the lens; not copied
    frames = np.ascontiguousarray(frames[::-1] if backwards else frames)
    edges = np.minimum(np.linspace(0, -(-frames.shape[1] // _TILE), threads + 1).astype(int) * _TILE, frames.shape[1])

    def work(first: int, last: int) -> np.ndarray:
        scratch, due, firing = np.empty((4, _TILE), np.float32), np.zeros(_TILE, np.uint8), room_for(_TILE)
        return _expose(
            frames, backwards, first, last, times, drift_start, pixels, state, settings, scratch, due, firing
        )

    if threads == 1:
        return work(0, frames.shape[1])
    with ThreadPoolExecutor(threads) as pool:
        return np.concatenate(list(pool.map(work, edges[:-1], edges[1:])))


@njit(nogil=True, cache=True, error_model="numpy")
def _expose(
    frames: Any,  # (K, P), of which the pixels [first, last) are shown
    backwards: bool,
    first: int,
    last: int,
    times: Any,
    drift_start: Any,
    pixels: Any,
    state: Any,
    settings: Any,
    scratch: Any,  # (4, _TILE) float32
    due: Any,  # (_TILE,) uint8
    firing: Any,  # for _TILE pixels
) -> Any:
    """Process the frames tile by tile, so that a tile's state stays in cache."""
    constant, now, side_by_side, marks = addresses(pixels), addresses(state), addresses(firing), address(due)
    filtered = settings.bandwidth > 0
    keys, used = np.empty(2 * _TILE, np.uint64), 0
    for start in range(first, last, _TILE):
        stop = min(start + _TILE, last)
        size = stop - start
        due[size:] = 0
        candidate = state.candidate[start:stop]
        high, low, leak = (
            address(state.high[start:stop]),
            address(state.low[start:stop]),
            address(pixels.leak[start:stop]),
        )
        drive, drive1, response, response1 = (
            address(scratch[0]),
            address(scratch[1]),
            address(scratch[2]),
            address(scratch[3]),
        )
        if not filtered:
            response, response1 = drive, drive1
        for i in range(size):
            drive[i], response[i] = now.drive[start + i], now.response[start + i]
        soonest = _soonest(candidate)
        for k in range(len(frames)):
            t0, t1 = times[k], times[k + 1]
            if drift_start[k + 1] != drift_start[k]:
                _take_over_drift(start, stop, np.float32(drift_start[k + 1] - drift_start[k]), constant, now)
            since0, since1 = np.float32(t0 - drift_start[k + 1]), np.float32(t1 - drift_start[k + 1])

            following = min(k + 1, len(frames) - 1)
            frame = address(frames[len(frames) - 1 - k if backwards else k, start:stop])
            ahead = address(frames[len(frames) - 1 - following if backwards else following, start:stop])
            for a in range(0, size, _PORTION):
                b = min(a + _PORTION, size)
                for i in range(a, b, _LINE):
                    prefetch(ahead, i)
                _lighten(a, b, frame, settings.gain, settings.offset, drive1)
                if filtered:
                    _respond(a, b, drive, drive1, response, response1, np.float32(settings.bandwidth * (t1 - t0)))
                _reached(a, b, response1, high, low, leak, since1, marks)
            noisy = soonest <= t1
            if noisy:
                _listen(candidate, t1, due)

            listed = list_due(due, firing.place)
            while listed > 0:
                if used + listed > keys.size:
                    keys = _larger(keys)
                events, listed = fire(
                    start,
                    listed,
                    response,
                    response1,
                    since0,
                    since1,
                    t0,
                    t1,
                    noisy,
                    constant,
                    now,
                    settings,
                    side_by_side,
                    address(keys[used:]),
                )
                used += events
            if noisy:
                soonest = _soonest(candidate)
            drive, drive1 = drive1, drive
            response, response1 = response1, response
        for i in range(size):
            now.drive[start + i], now.response[start + i] = drive[i], response[i]
    return keys[:used]


# Photoreceptor: a photodiode current I charges the node of a logarithmic load, C dv/dt = I − exp(v); with w = exp(v)
# that is dw/dt = w (I − w) / C, a logistic equation: bandwidth proportional to the light, faster up than down
# (Delbruck and Mead, ISCAS 1994; large-signal form in Graça and Delbruck, arXiv 2505.07386). For constant I it is
# solved by w₁ = I·a / (a − w₀ + I), a = w₀ exp(x), x = I·t/C. Over a step in which I rises linearly from I₀ to I₁ the
# constant that gives the same linear response is I = I₀ + α(I₁ − I₀), α = 1/(1 − e^−x) − 1/x ≈ n/d, a Padé approximant.
# Numerator and denominator of w₁ are multiplied by d, since divisions are slow: w₁ = I·d·a / ((a − w₀)·d + I·d).


@njit(nogil=True, cache=True, error_model="numpy")
def _respond(first: int, last: int, drive: Any, drive1: Any, response: Any, response1: Any, rate: Any) -> None:
    """Response at the end of a step from drives at both ends; all (n,) float32, `rate` = bandwidth · duration."""
    for i in range(first, last):
        x = min(MAX_DECAY, rate * np.float32(0.5) * (drive[i] + drive1[i]))
        divisor = np.float32(24) + x * (np.float32(6) + x)
        mean = drive[i] * divisor + (np.float32(12) + x * (np.float32(5) + x)) * (drive1[i] - drive[i])  # times divisor
        y = x * np.float32(0.125)
        root = np.float32(1) + y * (
            np.float32(1) + y * (np.float32(0.5) + y * (np.float32(1 / 6) + y * np.float32(1 / 24)))
        )
        square = root * root
        square = square * square
        grown = response[i] * (square * square)
        response1[i] = mean * grown / ((grown - response[i]) * divisor + mean)


@njit(nogil=True, cache=True, error_model="numpy")
def _lighten(first: int, last: int, frame: Any, gain: Any, offset: Any, drive: Any) -> None:
    for i in range(first, last):
        drive[i] = gain * frame[i] + offset


@njit(nogil=True, cache=True, error_model="numpy")
def _reached(first: int, last: int, response: Any, high: Any, low: Any, leak: Any, since: Any, due: Any) -> None:
    """Mark pixels that have reached a level, drift included."""
    for i in range(first, last):
        level = response[i] * (np.float32(1) + leak[i] * since)
        due[i] = np.uint8((level >= high[i]) | (level <= low[i]))


@njit(nogil=True, cache=True, error_model="numpy")
def _listen(candidate: Any, end: float, due: Any) -> None:
    """Also mark pixels that have a noise candidate."""
    for i in range(candidate.size):
        due[i] |= np.uint8(candidate[i] <= end)


@njit(nogil=True, cache=True, error_model="numpy", fastmath={"nnan", "nsz"})
def _soonest(candidate: Any) -> float:
    soonest = np.inf
    for i in range(candidate.size):
        soonest = min(soonest, candidate[i])
    return soonest


@njit(nogil=True, cache=True, error_model="numpy")
def _take_over_drift(start: int, stop: int, elapsed: Any, pixels: Any, state: Any) -> None:
    for i in range(start, stop):
        if state.high[i] != HELD:
            cell = FLOATS * i
            level = state.memory[cell] / (np.float32(1) + pixels.leak[i] * elapsed)
            state.memory[cell] = level
            state.high[i], state.low[i] = level * pixels.gain_on[cell], level * pixels.gain_off[cell]


@njit(nogil=True, cache=True, error_model="numpy")
def _larger(keys: Any) -> Any:
    larger = np.empty(2 * keys.size, np.uint64)
    larger[: keys.size] = keys
    return larger
