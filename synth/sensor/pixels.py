"""Constants and state of the pixels of an event sensor, as arrays."""

from typing import NamedTuple

import numpy as np

BRIGHT_NOISE = np.float32(0.25)
"""Shot noise rate at white relative to that in the dark (v2e: SHOT_NOISE_INTEN_FACTOR)."""
HELD = np.float32(-np.inf)
"""Level of a pixel held in reset: always reached, so that the pixel is processed in every step."""
MAX_DECAY = np.float32(40.0)
"""Number of time constants after which the past is ignored; e⁴⁰ times currents and polynomials fits a float32."""
GOLDEN = np.uint64(0x9E3779B97F4A7C15)
"""Increment of SplitMix64."""


CELL = np.dtype(
    [("release", "f8"), ("draws", "u4"), ("memory", "f4"), ("gain_on", "f4"), ("gain_off", "f4"), ("spare", "u8")]
)
"""What is needed only for the few pixels that may fire, side by side: half a cache line per pixel."""


def empty_cells(count: int) -> np.ndarray:
    """(count,) `CELL`, none of which straddles two cache lines."""
    room = np.zeros((count + 1) * CELL.itemsize, np.uint8)
    skipped = -room.ctypes.data % CELL.itemsize
    return room[skipped : skipped + count * CELL.itemsize].view(CELL)


class Pixels(NamedTuple):
    """Constants of each pixel, with mismatch; all (P,), in row order. Fields of `CELL` are views."""

    gain_on: np.ndarray  # float32, exp(θ_on); in the cell
    gain_off: np.ndarray  # float32, exp(−θ_off); in the cell
    leak: np.ndarray  # float32, drift of the response relative to the memory, 1/µs
    noise: np.ndarray  # float64, largest rate of noise events, 1/µs
    hot: np.ndarray  # uint8, 1: fires at every noise candidate, independent of light


class State(NamedTuple):
    """State of each pixel at the time of the last frame; all (P,), changed in place. Fields of `CELL` are views."""

    drive: np.ndarray  # float32, photocurrent and dark current; white in the bright office is 1
    response: np.ndarray  # float32, the photoreceptor's output, as a current
    memory: np.ndarray  # float32, the response stored at the last event; in the cell
    high: np.ndarray  # float32, ON level; `HELD` in reset
    low: np.ndarray  # float32, OFF level
    release: np.ndarray  # float64, µs, end of the reset of a held pixel; in the cell
    candidate: np.ndarray  # float64, µs, next time at which noise may fire
    draws: np.ndarray  # uint32, random numbers used so far; in the cell


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
