"""The event sensor model: linear radiance frames in, events with noise out.

    array = expose_first(sensor, frames[0], times_us[0], seed=1)
    events = advance(array, frames[1:], times_us[1:])      # repeat for more frames
    events = join([events, finish(array)])

Noise is part of the model: threshold mismatch, leak and shot noise events, hot pixels, latency jitter and a limited
readout bus (see `Sensor`). Between two frames a pixel's photoreceptor output is interpolated linearly, and every level
crossing is an event at the exact time of the crossing. So frames must be close enough for linear interpolation
(`simulate` ensures this); then events show no trace of the frame times. Random numbers are a function of the pixel and
of a counter in it, so events do not depend on how the frames are divided into calls.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ...capture.events import EVENT_DTYPE, join
from .kernel import expose
from .keys import MAX_PIXELS, TIME_SHIFT, read_out, sort_keys
from .pixels import Pixels, Settings, State, empty_cells
from .reference import expose_numpy

Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Threshold = Annotated[float, Field(ge=0.01, le=10)]

MIN_THRESHOLD = 0.01
"""Lower bound on a pixel's threshold with mismatch (as in v2e): below, rounding errors would cause events."""

_MAX_DRIFT = 1 / 256  # drift up to which leak is linear; then it moves into the memory: see `_drift_starts`

Kernel = Callable[[np.ndarray, np.ndarray, np.ndarray, Pixels, State, Settings], np.ndarray]


class Sensor(BaseModel):
    """Constants of an event sensor's pixels and readout, including noise. `presets` has real sensors, with sources.

    Radiance is linear and white is 1. The constants refer to full light: a white surface under 1000 lux through f/2.
        `light` in functions is relative to that.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    on_threshold: Threshold
    """ON threshold, in log photocurrent."""
    off_threshold: Threshold
    """OFF threshold, in log photocurrent."""
    threshold_sigma: Rate = 0.0
    """Standard deviation of both thresholds between pixels, in log photocurrent, Gaussian."""
    dark_level: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-4
    """Dark current relative to the photocurrent of white at full light."""
    stray_light: Rate = 0.0
    """Veiling glare of the lens relative to white; proportional to light."""
    bandwidth_hz: Rate = 0.0
    """Cutoff frequency of the photoreceptor at white in full light, proportional to photocurrent; 0: infinite."""
    refractory_us: Rate = 0.0
    """Time that a pixel is held in reset after its event was read; changes meanwhile are lost."""
    leak_hz: Rate = 0.0
    """Leak noise: rate of ON events of a pixel in constant light."""
    shot_noise_hz: Rate = 0.0
    """Shot noise: rate of noise events of a pixel in the dark, half of them ON; a quarter of it at white."""
    noise_spread_decades: Rate = 0.1
    """Standard deviation of log10 of the two rates above between pixels (v2e: noise_rate_cov_decades)."""
    hot_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Fraction of hot pixels, which fire at `hot_hz` independent of light."""
    hot_hz: Rate = 0.0
    delay_us: Rate = 0.0
    """σ of the half-normal delay from a crossing to its readout and timestamp, for which the pixel waits."""
    resolution_us: Annotated[int, Field(ge=1)] = 1
    """Resolution of timestamps: events wait for the next scan of the array."""
    rate_limit_meps: Rate = 0.0
    """Capacity of the address-event bus in events per µs, 0: unlimited; other events wait."""


@dataclass
class PixelArray:
    """State of a sensor during a recording, updated by `advance`.

    Invariant: every event up to `time_us` has been returned or is in `pending`. Times are relative to
        `settings.origin_us`.
    """

    sensor: Sensor
    width: int
    height: int
    pixels: Pixels
    state: State
    settings: Settings
    time_us: float
    drift_start_us: float
    bus_free_us: float = -np.inf
    pending: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint64))  # keys later than `time_us`


def expose_first(
    sensor: Sensor,
    radiance: np.ndarray,  # (H, W) linear, finite, not negative
    time_us: float,
    *,
    light: float = 1.0,
    seed: int = 0,
    just_reset: bool = False,
) -> PixelArray:
    """A sensor in steady state under a constant image.

    Args:
        light: illumination relative to full light.
        seed: of all mismatch and noise.
        just_reset: set every pixel's memory to this image. Otherwise memories are random within the thresholds, as
            after an arbitrary past; synchronised pixels would fire together whenever this image returns.

    Raises:
        ValueError: more pixels than event keys can encode.
    """
    height, width = radiance.shape
    count = height * width
    if count > MAX_PIXELS:
        raise ValueError(f"an array of {width}×{height} pixels is too large; at most {MAX_PIXELS} pixels are possible")
    random = np.random.default_rng([seed, 0])

    def mismatched(threshold: float) -> np.ndarray:
        spread = sensor.threshold_sigma * random.standard_normal(count)
        return np.maximum(threshold + spread, MIN_THRESHOLD)

    def rates_per_us(hz: float) -> np.ndarray:
        return hz * 1e-6 * 10 ** (sensor.noise_spread_decades * random.standard_normal(count))

    on, off = mismatched(sensor.on_threshold), mismatched(sensor.off_threshold)
    leak = rates_per_us(sensor.leak_hz) * sensor.on_threshold
    hot = random.random(count) < sensor.hot_fraction
    noise = np.where(hot, sensor.hot_hz * 1e-6, rates_per_us(sensor.shot_noise_hz))
    # With leak, the memory is never above the response; without, it may be anywhere between the levels.
    past = random.uniform(-on, 0.0 if sensor.leak_hz > 0 else off)
    with np.errstate(divide="ignore"):
        first_noise = random.standard_exponential(count) / noise

    settings = Settings(
        gain=np.float32(light),
        offset=np.float32(light * sensor.stray_light + sensor.dark_level),
        bandwidth=np.float32(2 * np.pi * sensor.bandwidth_hz * 1e-6),
        refractory_us=float(sensor.refractory_us),
        delay_us=float(sensor.delay_us),
        resolution_us=sensor.resolution_us,
        seed=np.random.SeedSequence([seed, 1]).generate_state(1, np.uint64)[0],
        origin_us=int(np.floor(time_us)),
    )
    cells = empty_cells(count)
    cells["gain_on"], cells["gain_off"], cells["release"] = np.exp(on), np.exp(-off), -np.inf
    pixels = Pixels(
        gain_on=cells["gain_on"],
        gain_off=cells["gain_off"],
        leak=leak.astype(np.float32),
        noise=noise,
        hot=hot.astype(np.uint8),
    )
    drive = settings.gain * radiance.astype(np.float32).reshape(-1) + settings.offset
    cells["memory"] = drive if just_reset else drive * np.exp(past)
    state = State(
        drive=drive,
        response=drive.copy(),
        memory=cells["memory"],
        high=cells["memory"] * pixels.gain_on,
        low=cells["memory"] * pixels.gain_off,
        release=cells["release"],
        candidate=first_noise,
        draws=cells["draws"],
    )
    start_us = float(time_us - settings.origin_us)
    return PixelArray(sensor, width, height, pixels, state, settings, start_us, start_us)


def advance(
    array: PixelArray,
    frames: np.ndarray,  # (K, H, W) float32 linear radiance, finite, not negative
    times_us: np.ndarray,  # (K,) sensor time, increasing, later than that of the last frame
    kernel: Kernel = expose,
) -> np.ndarray:  # (N,) EVENT_DTYPE
    """Show the sensor more frames; returns the events that are final by the last of them, in time order.

    Raises:
        ValueError: the frames have another size, or times do not increase.
    """
    if frames.shape[1:] != (array.height, array.width) or len(frames) != len(times_us):
        raise ValueError(
            f"frames of shape {frames.shape} at {len(times_us)} times do not fit a sensor of "
            f"{array.height}×{array.width} pixels; expected (K, {array.height}, {array.width}) at K times"
        )
    origin_us = array.settings.origin_us
    times = np.concatenate([[array.time_us], np.asarray(times_us) - origin_us]).astype(np.float64)
    if not np.all(np.diff(times) > 0):
        raise ValueError(f"frame times must rise from {origin_us + array.time_us} µs on")
    drift = _drift_starts(array, times)
    flat = np.asarray(frames, np.float32).reshape(len(frames), array.height * array.width)
    keys = kernel(flat, times, drift, array.pixels, array.state, array.settings)
    array.time_us, array.drift_start_us = times[-1], drift[-1]

    keys = sort_keys(np.concatenate([array.pending, keys]))
    split = np.searchsorted(keys, np.uint64(int(array.time_us) << TIME_SHIFT))
    array.pending = keys[split:]
    return _read_out(array, keys[:split])


def advance_numpy(array: PixelArray, frames: np.ndarray, times_us: np.ndarray) -> np.ndarray:
    """`advance` with the NumPy reference."""
    return advance(array, frames, times_us, expose_numpy)


def finish(array: PixelArray) -> np.ndarray:  # (N,) EVENT_DTYPE
    """The events not yet returned when the recording ends."""
    keys, array.pending = array.pending, array.pending[:0]
    return _read_out(array, keys)


def expose_sequence(
    sensor: Sensor,
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    light: float = 1.0,
    seed: int = 0,
    threads: int = 1,
) -> np.ndarray:
    """Simulate a whole recording: all events of a sensor for blocks of images.

    The sensor starts in steady state under the first image. Images not later than the previous one are skipped, so that
    consecutive sweeps may both include the image at the turning point.

    Args:
        blocks: (K, H, W) linear radiance and (K,) sensor times in µs of each block; may be a generator.
        light: illumination relative to full light.
        seed: of all mismatch and noise.
        threads: number of threads, which does not affect the events.

    Returns:
        (N,) EVENT_DTYPE, in time order.

    Raises:
        ValueError: there are no images, their sizes differ, or times within a block do not increase.
    """
    array: PixelArray | None = None
    parts, last_us = [], -np.inf
    for frames, times_us in blocks:
        if array is None:
            array = expose_first(sensor, frames[0], times_us[0], light=light, seed=seed)
            last_us = times_us[0]
        first = int(np.searchsorted(times_us, last_us, side="right"))
        if first < len(frames):
            parts.append(advance(array, frames[first:], times_us[first:], partial(expose, threads=threads)))
            last_us = times_us[-1]
    if array is None:
        raise ValueError("there are no images to show")
    return join([*parts, finish(array)])


def _drift_starts(array: PixelArray, times: np.ndarray) -> np.ndarray:
    """Start time of each step's leak, (K + 1,): the current one, then one per step.

    A response drifts by (1 + leak · t) instead of exp(leak · t). Whenever the drift reaches 1/256, it is moved into the
    memory, so the two differ by at most 1/512 of the drift. When this happens depends only on the frame times.
    """
    greatest = float(array.pixels.leak.max(initial=0.0))
    starts = [array.drift_start_us]
    for time in times[:-1]:
        starts.append(time if greatest * (time - starts[-1]) > _MAX_DRIFT else starts[-1])
    return np.array(starts)


def _read_out(array: PixelArray, keys: np.ndarray) -> np.ndarray:
    """Decode sorted keys to events, delayed by the readout bus."""
    events = np.empty(len(keys), EVENT_DTYPE)
    slot_us = 1.0 / array.sensor.rate_limit_meps if array.sensor.rate_limit_meps else 0.0
    array.bus_free_us = read_out(keys, array.width, array.settings.origin_us, slot_us, array.bus_free_us, events)
    return events
