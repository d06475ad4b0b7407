"""The readable reference of `kernel`, a whole frame at a time in NumPy, for reading and tests.

Both do the same arithmetic in the same order and draw the same random numbers, so without randomness they agree to the
bit; with it, the libraries' `log` and `cos` may differ in the last digit.
"""

import numpy as np

from .keys import MAX_PIXELS, TIME_SHIFT
from .pixels import BRIGHT_NOISE, GOLDEN, HELD, MAX_DECAY, Pixels, Settings, State


def expose_numpy(
    frames: np.ndarray,  # (K, P) float32
    times: np.ndarray,  # (K + 1,) float64, µs
    drift_start: np.ndarray,  # (K + 1,) float64, µs
    pixels: Pixels,
    state: State,
    settings: Settings,
) -> np.ndarray:  # (N,) uint64, unsorted
    """`expose` in plain NumPy."""
    one, pixel = np.float32(1), np.arange(frames.shape[1])
    keys = [np.empty(0, np.uint64)]

    def remember(where: np.ndarray, level: np.ndarray) -> None:
        np.copyto(state.memory, level, where=where)
        np.copyto(state.high, level * pixels.gain_on, where=where)
        np.copyto(state.low, level * pixels.gain_off, where=where)

    def draw(where: np.ndarray) -> np.ndarray:
        random = _uniform_numpy(settings.seed, pixel, state.draws)
        state.draws[where] += np.uint32(1)
        return random

    for k, frame in enumerate(frames):
        t0, t1 = times[k], times[k + 1]
        if drift_start[k + 1] != drift_start[k]:
            elapsed = np.float32(drift_start[k + 1] - drift_start[k])
            remember(state.high != HELD, state.memory / (one + pixels.leak * elapsed))
        y0 = state.response * (one + pixels.leak * np.float32(t0 - drift_start[k + 1]))
        drive1 = settings.gain * frame + settings.offset
        if settings.bandwidth > 0:
            rate = np.float32(settings.bandwidth * (t1 - t0))
            state.response[:] = _respond_numpy(state.drive, drive1, state.response, rate)
        else:
            state.response[:] = drive1
        state.drive[:] = drive1
        y1 = state.response * (one + pixels.leak * np.float32(t1 - drift_start[k + 1]))

        slope = (y1.astype(np.float64) - y0) / (t1 - t0)
        busy = np.ones(pixel.shape, bool)
        while busy.any():  # one event per pixel and iteration
            held = busy & (state.high == HELD)
            freed = held & (state.release < t1)
            busy &= ~held | freed
            t = np.maximum(t0, state.release)
            with np.errstate(invalid="ignore"):
                remember(freed, (y0 + slope * (t - t0)).astype(np.float32))

            on, falls = y1 >= state.high, y1 <= state.low
            level = np.where(on, state.high, state.low)
            with np.errstate(divide="ignore", invalid="ignore"):
                crossing = np.clip(t0 + (level.astype(np.float64) - y0) / slope, t, t1)
            crossing = np.where(slope != 0, crossing, t)
            crossing[~(on | falls)] = np.inf
            listening = busy.copy()
            while (listening := listening & (state.candidate <= np.minimum(crossing, t1))).any():
                noise = state.candidate.copy()
                with np.errstate(divide="ignore", invalid="ignore"):
                    np.subtract(noise, np.log(draw(listening)) / pixels.noise, out=state.candidate, where=listening)
                    noise_level = (y0 + slope * (noise - t0)).astype(np.float32)
                chance = one - (one - BRIGHT_NOISE) * np.minimum(one, noise_level)
                judged = listening & (noise >= t)
                accepted = judged & ((draw(judged) < chance) | (pixels.hot != 0))
                on = np.where(accepted, draw(accepted) < 0.5, on)
                level, crossing = np.where(accepted, noise_level, level), np.where(accepted, noise, crossing)
                listening &= ~accepted

            busy &= crossing <= t1
            read = crossing
            if settings.delay_us > 0:
                distance, turns = _halves_numpy(_random_numpy(settings.seed, pixel, state.draws))
                state.draws[busy] += np.uint32(1)
                radius = np.sqrt(-2.0 * np.log(distance))
                read = crossing + settings.delay_us * radius * np.abs(np.cos(2.0 * np.pi * turns))
            np.copyto(state.release, read + settings.refractory_us, where=busy)
            waits = busy & (state.release > crossing)
            state.high[waits] = HELD
            remember(busy & ~waits, level)
            keys.append(_keys_numpy(settings, pixel[busy], read[busy], on[busy]))
    return np.concatenate(keys)


def _respond_numpy(drive: np.ndarray, drive1: np.ndarray, response: np.ndarray, rate: np.float32) -> np.ndarray:
    f = np.float32
    x = np.minimum(MAX_DECAY, rate * f(0.5) * (drive + drive1))
    divisor = f(24) + x * (f(6) + x)
    mean = drive * divisor + (f(12) + x * (f(5) + x)) * (drive1 - drive)  # times the divisor
    y = x * f(0.125)
    root = f(1) + y * (f(1) + y * (f(0.5) + y * (f(1 / 6) + y * f(1 / 24))))
    grown = response * np.square(np.square(np.square(root)))  # response · exp(x), from the series of exp(x / 8)
    return mean * grown / ((grown - response) * divisor + mean)


def _random_numpy(seed: np.uint64, pixel: np.ndarray, draw: np.ndarray) -> np.ndarray:
    z = seed + GOLDEN * ((pixel.astype(np.uint64) << np.uint64(32)) + draw + np.uint64(1))
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def _uniform_numpy(seed: np.uint64, pixel: np.ndarray, draw: np.ndarray) -> np.ndarray:
    return ((_random_numpy(seed, pixel, draw) >> np.uint64(11)).astype(np.float64) + 0.5) / 2.0**53


def _halves_numpy(bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    high, low = bits >> np.uint64(32), bits & np.uint64(0xFFFFFFFF)
    return (high.astype(np.float64) + 0.5) / 2.0**32, (low.astype(np.float64) + 0.5) / 2.0**32


def _keys_numpy(settings: Settings, pixel: np.ndarray, time: np.ndarray, on: np.ndarray) -> np.ndarray:
    stamp = np.floor(time).astype(np.int64) + settings.origin_us
    stamp += -stamp % settings.resolution_us
    since = (stamp - settings.origin_us).astype(np.uint64) << np.uint64(TIME_SHIFT)
    return since | (pixel.astype(np.uint64) << np.uint64(1)) | on.astype(np.uint64)


def read_out_numpy(
    keys: np.ndarray, width: int, origin_us: int, slot_us: float, free_us: float, events: np.ndarray
) -> float:
    """`read_out` in plain NumPy."""
    pixel = (keys >> np.uint64(1)) & np.uint64(MAX_PIXELS - 1)
    events["timestamp"] = keys >> np.uint64(TIME_SHIFT)
    events["y"], events["x"] = np.divmod(pixel, np.uint64(width))
    events["polarity"] = keys & np.uint64(1)
    if slot_us > 0 and len(keys):
        turns = np.arange(len(keys)) * slot_us
        sent = turns + np.maximum.accumulate(np.maximum(events["timestamp"] - turns, free_us))
        events["timestamp"] = sent
        free_us = float(sent[-1]) + slot_us
    events["timestamp"] += origin_us
    return free_us
