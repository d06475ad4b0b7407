"""Simulates focal sweeps: from images by focus to an event recording with triggers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..capture.calibration import Calibration
from ..capture.events import FALLING, RISING, make_triggers
from .sensor import Sensor, expose_sequence

DEFAULT_BLUR_STEP_PX = 0.25
"""Largest change of blur diameter between two images. Compared with steps eight times finer, events of a textured plane
are shifted by 0.05 % of the sweep on average, and 1 % of them by more than 0.1 %."""

FLICKER_STEPS = 24
"""Images per cycle of flickering light: linear interpolation between them deviates from the sine by at most 0.9 % of
its depth."""

_BLOCK_FRAMES = 64
_RETURN_US = 1.0  # a sawtooth's instantaneous return, at the resolution of timestamps


@dataclass(frozen=True)
class Flicker:
    """Sinusoidal flicker, as of mains lamps at twice the mains frequency."""

    hz: float
    depth: float  # amplitude relative to the mean, 0 to 1: about 0.1 for incandescent lamps, up to 1 for cheap LEDs

    def at(self, time_us: np.ndarray) -> np.ndarray:
        """Light relative to its mean."""
        return 1 + self.depth * np.cos(2e-6 * np.pi * self.hz * time_us)


@dataclass(frozen=True)
class SimulatedRecording:
    """A simulated recording of a camera behind the sweeping lens.

    Attributes:
        calibration: of the camera and lens.
        events: (N,) `EVENT_DTYPE`, in time order.
        triggers: (M,) `TRIGGER_DTYPE`, empty unless the calibration's sync is "trigger".
    """

    calibration: Calibration
    events: np.ndarray  # (N,) EVENT_DTYPE, by time
    triggers: np.ndarray  # (M,) TRIGGER_DTYPE, empty unless the calibration's sync is "trigger"


def focus_steps(calibration: Calibration, blur_step_px: float = DEFAULT_BLUR_STEP_PX) -> np.ndarray:
    """Focus in 1/m of the images for a far→near sweep, (S + 1,), ends included, evenly spaced in time.

    Blur is fx · A · |φ − 1/z|, so for any scene one step of Δφ changes a pixel's blur by at most fx · A · Δφ; breathing
    moves the image's corner by |s| · r · Δφ. Neither exceeds `blur_step_px`.

    Raises:
        ValueError: the step is not positive.
    """
    if not blur_step_px > 0:
        raise ValueError(f"blur_step_px ({blur_step_px}) must be greater than 0")
    camera, breathing = calibration.camera, calibration.breathing
    px_per_diopter = max(camera.fx, camera.fy) * calibration.lens.aperture_m
    if breathing is not None:
        x, y = breathing.center
        corner = math.hypot(max(x, camera.width - x), max(y, camera.height - y))
        px_per_diopter = max(px_per_diopter, abs(breathing.scale_per_diopter) * corner)
    fine = calibration.focus_at(np.linspace(0, 1, 4097))
    steepest = np.diff(fine).max() * 4096  # 1/m per unit of phase
    steps = max(2, math.ceil(steepest * px_per_diopter / blur_step_px))
    return calibration.focus_at(np.linspace(0, 1, steps + 1))


def simulate_sweeps(
    stack: np.ndarray,  # (S + 1, H, W) float32, linear radiance, finite, not negative; far to near
    calibration: Calibration,
    sensor: Sensor,
    *,
    sweeps: int,
    seed: int,
    light: float = 1.0,
    start_us: int = 0,
    flicker: Flicker | None = None,
    threads: int = 1,
) -> SimulatedRecording:
    """Simulate sweeps of the focus over a static scene: far→near first, then back and forth.

    A sweep before `start_us` brings the sensor into its steady state; its events are not recorded. With `sync =
    "clock"` the recording starts at the calibration's `start_us`.

    Args:
        stack: (S + 1, H, W) float32, linear radiance, finite, not negative: images at S + 1 focus positions, evenly
            spaced in time, far to near, as given by `focus_steps`.
        calibration: of the camera and lens.
        sensor: constants of the event sensor; `presets` has real ones.
        sweeps: number of passes to record, at least 1.
        seed: of noise and pixel mismatch.
        light: light on the chip, relative to full light.
        start_us: sensor time in µs at which the first sweep begins.
        flicker: of the light, if any.
        threads: number of threads, which does not affect the events.

    Returns:
        The events and triggers of the recording.

    Raises:
        ValueError: `sweeps` is less than 1, or the stack does not have the camera's size.

    Examples:
        >>> from sweepdepth import Calibration
        >>> from sweepdepth.synth.optics.planes import make_texture, plane_images
        >>> from sweepdepth.synth.sensor.presets import PRESETS
        >>> calibration = Calibration.load("small.toml")
        >>> images = plane_images(make_texture(), calibration, focus_steps(calibration), 1.2)
        >>> recording = simulate_sweeps(images, calibration, PRESETS["davis346"], sweeps=1, seed=0)
        >>> len(recording.events) > 100, recording.triggers["edge"].tolist()
        (True, [1, 2])
    """
    if sweeps < 1:
        raise ValueError(f"sweeps ({sweeps}) must be at least 1")
    size = (calibration.camera.height, calibration.camera.width)
    if stack.ndim != 3 or stack.shape[1:] != size or len(stack) < 2:
        raise ValueError(f"a stack of shape {stack.shape} does not fit a camera of {size}; expected (S + 1, H, W)")
    settings = calibration.sweep
    sawtooth = settings.waveform == "sawtooth"
    if settings.sync == "clock":
        start_us = settings.start_us
    duration = settings.duration_us
    phase = np.linspace(0, 1, len(stack))
    if flicker is not None:
        steps = max(len(stack) - 1, math.ceil(duration * 1e-6 * flicker.hz * FLICKER_STEPS))
        phase = np.linspace(0, 1, steps + 1)

    def shown(images: np.ndarray, block: slice, times: np.ndarray) -> np.ndarray:
        """Images at some phases of the sweep, interpolated and with flicker if there is any."""
        if flicker is None:
            return images[block]
        place = phase[block] * (len(images) - 1)
        lower = np.minimum(place.astype(int), len(images) - 2)
        share = (place - lower).astype(np.float32)[:, None, None]
        light_now = flicker.at(times - start_us).astype(np.float32)[:, None, None]
        return light_now * ((1 - share) * images[lower] + share * images[lower + 1])

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images and times of the sweeps, starting with a single image; images at turning points are not repeated."""
        for i in range(-1, sweeps):
            images = stack if sawtooth or i % 2 == 0 else stack[::-1]
            times = start_us + (i + phase) * duration
            jumps = sawtooth and i >= 0
            if jumps:
                times[0] += _RETURN_US
            if i < 0:
                yield shown(images, slice(1), times[:1]), times[:1]
            for at in range(0 if jumps else 1, len(phase), _BLOCK_FRAMES):
                block = slice(at, at + _BLOCK_FRAMES)
                yield shown(images, block, times[block]), times[block]

    events = expose_sequence(sensor, blocks(), light=light, seed=seed, threads=threads)
    events = events[np.searchsorted(events["timestamp"], start_us) :]
    return SimulatedRecording(calibration, events, _trigger_edges(calibration, sweeps, start_us))


def _trigger_edges(calibration: Calibration, sweeps: int, start_us: int) -> np.ndarray:
    """Edges at the ends of all sweeps, (M,) TRIGGER_DTYPE; the lens turns `delay_us` after its edge."""
    settings = calibration.sweep
    if settings.sync != "trigger":
        return make_triggers(np.empty(0, np.int64), np.empty(0, np.uint8))
    ends = np.arange(sweeps + 1)
    times = np.rint(start_us + ends * settings.duration_us).astype(np.int64) - settings.delay_us
    if settings.waveform == "sawtooth":
        return make_triggers(times, np.full(len(times), RISING, np.uint8))
    return make_triggers(times, np.where(ends % 2 == 0, RISING, FALLING).astype(np.uint8))
