"""The event sensor: linear radiance frames in, events out.

    array = expose_first(sensor, frames[0], times_us[0], seed=1)
    events = advance(array, frames[1:], times_us[1:])      # as often as there are frames
    events = join([events, finish(array)])

Between two frames a pixel's photoreceptor output runs straight, and every level that it crosses is an event at the
very instant of the crossing. Frames therefore have to be close enough that a straight line is true (`simulate` sees to
that); then no trace of the frames' times is left in the events. All randomness belongs to a pixel and to the count of
what happened in it, so events do not depend on how the frames are cut into calls.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ...capture.events import EVENT_DTYPE, join
from .kernel import MAX_PIXELS, TIME_SHIFT, Pixels, Settings, State, expose, unpack
from .reference import expose_numpy

Rate = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Threshold = Annotated[float, Field(ge=0.01, le=10)]

MIN_THRESHOLD = 0.01
"""Mismatch takes no pixel's threshold below this (v2e does the same): it would chatter at rounding errors."""

_MAX_DRIFT = 1 / 256  # leak counts straight for so long, then it is taken into the memory; see `_drift_starts`

Kernel = Callable[[np.ndarray, np.ndarray, np.ndarray, Pixels, State, Settings], np.ndarray]


class Sensor(BaseModel):
    """An event sensor's pixel and readout. `presets` has real ones, with sources.

    Radiance is linear and white is 1. The constants hold at full light, a white surface under 1000 lux through f/2;
    `light` elsewhere says how much of that there is.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    on_threshold: Threshold
    """Rise of the logarithm of the photocurrent that fires ON."""
    off_threshold: Threshold
    """Fall of the logarithm of the photocurrent that fires OFF."""
    threshold_sigma: Rate = 0.0
    """Standard deviation of both thresholds between pixels, as a logarithm, Gaussian."""
    dark_level: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 1e-4
    """Dark current over the photocurrent of white at full light."""
    stray_light: Rate = 0.0
    """Veiling glare of the lens over white; it dims with the light."""
    bandwidth_hz: Rate = 0.0
    """Cutoff of the photoreceptor at white in full light, proportional to the photocurrent; 0: infinite."""
    refractory_us: Rate = 0.0
    """Time a pixel is held in reset after its event was read; what happens meanwhile is lost."""
    leak_hz: Rate = 0.0
    """Rate of ON events of a pixel in constant light: the memory of the pixel leaks away."""
    shot_noise_hz: Rate = 0.0
    """Rate of noise events of a pixel in the dark, half of them ON; at white a quarter of it."""
    noise_spread_decades: Rate = 0.1
    """Standard deviation of log10 of the two rates above between pixels (v2e: noise_rate_cov_decades)."""
    hot_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Fraction of pixels that fire at `hot_hz`, whatever the light."""
    hot_hz: Rate = 0.0
    delay_us: Rate = 0.0
    """σ of the half-normal delay between a crossing and its being read and stamped; the pixel waits for that."""
    resolution_us: Annotated[int, Field(ge=1)] = 1
    """Step of timestamps: events wait for the next scan of the array."""
    rate_limit_meps: Rate = 0.0
    """Events the readout passes per µs, 0: all; the others wait for their turn, as on an address-event bus."""


@dataclass
class PixelArray:
    """A sensor in the middle of a recording: the resource that `advance` moves on.

    Invariant: every event up to `time_us` has been returned or is in `pending`. Times count from `settings.origin_us`.
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
    """A sensor that has looked at one image until nothing moves any more.

    Args:
        light: illumination over that of full light.
        seed: of all mismatch and noise.
        just_reset: every pixel's memory holds this very image. Otherwise each remembers something else within its
            thresholds, as after any past; pixels in step would fire together whenever this image comes back.

    Raises:
        ValueError: more pixels than an event can name.
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
    # A pixel that leaks was never above what it sees; one that does not may be anywhere between its levels.
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
        quiet=sensor.leak_hz == 0 and not noise.any(),
    )
    pixels = Pixels(
        gain_on=np.exp(on).astype(np.float32),
        gain_off=np.exp(-off).astype(np.float32),
        leak=leak.astype(np.float32),
        noise=noise,
        hot=hot.astype(np.uint8),
    )
    drive = settings.gain * radiance.astype(np.float32).reshape(-1) + settings.offset
    memory = drive.copy() if just_reset else (drive * np.exp(past)).astype(np.float32)
    state = State(
        drive=drive,
        response=drive.copy(),
        memory=memory,
        high=memory * pixels.gain_on,
        low=memory * pixels.gain_off,
        release=np.full(count, -np.inf),
        candidate=first_noise,
        draws=np.zeros(count, np.uint32),
    )
    start_us = float(time_us - settings.origin_us)
    return PixelArray(sensor, width, height, pixels, state, settings, start_us, start_us)


def advance(
    array: PixelArray,
    frames: np.ndarray,  # (K, H, W) float32 linear radiance, finite, not negative
    times_us: np.ndarray,  # (K,) sensor time, rising, later than that of the last frame
    kernel: Kernel = expose,
) -> np.ndarray:  # (N,) EVENT_DTYPE
    """Show the sensor more frames; the events that are certain by the last of them, in order of time.

    Raises:
        ValueError: frames of another size, or times that do not rise.
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
    flat = np.ascontiguousarray(frames, np.float32).reshape(len(frames), array.height * array.width)
    keys = kernel(flat, times, drift, array.pixels, array.state, array.settings)
    array.time_us, array.drift_start_us = times[-1], drift[-1]

    keys = np.concatenate([array.pending, keys])
    keys.sort()
    split = np.searchsorted(keys, np.uint64(int(array.time_us) << TIME_SHIFT))
    array.pending = keys[split:]
    return _read_out(array, keys[:split])


def advance_numpy(array: PixelArray, frames: np.ndarray, times_us: np.ndarray) -> np.ndarray:
    """The same as `advance`, by the NumPy reference."""
    return advance(array, frames, times_us, expose_numpy)


def finish(array: PixelArray) -> np.ndarray:  # (N,) EVENT_DTYPE
    """The events still on their way when the recording ends."""
    keys, array.pending = array.pending, array.pending[:0]
    return _read_out(array, keys)


def expose_sequence(
    sensor: Sensor,
    blocks: Iterable[tuple[np.ndarray, np.ndarray]],
    *,
    light: float = 1.0,
    seed: int = 0,
) -> np.ndarray:
    """All events of a sensor that is shown images, block after block.

    It has looked at the very first image until nothing moves any more. Images that are not later than the one before
    are passed over, so that sweeps may both have the image at which the lens turns.

    Args:
        blocks: (K, H, W) linear radiance and (K,) sensor times in µs of each block; may be made as they are asked for.
        light: illumination over that of full light.
        seed: of all mismatch and noise.

    Returns:
        (N,) EVENT_DTYPE, by time.

    Raises:
        ValueError: there are no images, their sizes differ, or times within a block do not rise.
    """
    array: PixelArray | None = None
    parts, last_us = [], -np.inf
    for frames, times_us in blocks:
        if array is None:
            array = expose_first(sensor, frames[0], times_us[0], light=light, seed=seed)
            last_us = times_us[0]
        first = int(np.searchsorted(times_us, last_us, side="right"))
        if first < len(frames):
            parts.append(advance(array, frames[first:], times_us[first:]))
            last_us = times_us[-1]
    if array is None:
        raise ValueError("there are no images to show")
    return join([*parts, finish(array)])


def _drift_starts(array: PixelArray, times: np.ndarray) -> np.ndarray:
    """From when the leak of each step counts, (K + 1,): the one in force, then one a step.

    A response drifts by (1 + leak · t) rather than exp(leak · t); each time that has come to 1/256 the memory takes it
    over, so the two never differ by more than 1/512 of the drift. Only the frames' times decide when.
    """
    greatest = float(array.pixels.leak.max(initial=0.0))
    starts = [array.drift_start_us]
    for time in times[:-1]:
        starts.append(time if greatest * (time - starts[-1]) > _MAX_DRIFT else starts[-1])
    return np.array(starts)


def _read_out(array: PixelArray, keys: np.ndarray) -> np.ndarray:
    """Sorted keys as events, each in its turn on the readout bus."""
    events = np.empty(len(keys), EVENT_DTYPE)
    unpack(keys, array.width, events)
    if array.sensor.rate_limit_meps and len(keys):
        slot = 1.0 / array.sensor.rate_limit_meps
        turns = np.arange(len(keys)) * slot
        sent = turns + np.maximum.accumulate(np.maximum(events["timestamp"] - turns, array.bus_free_us))
        array.bus_free_us = sent[-1] + slot
        events["timestamp"] = sent
    events["timestamp"] += array.settings.origin_us
    return events
