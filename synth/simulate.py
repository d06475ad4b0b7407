"""A focal sweep in front of the sensor: from images by focus to an event recording with triggers."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..capture.calibration import Calibration
from ..capture.events import FALLING, RISING, make_triggers
from .sensor import Sensor, expose_sequence

DEFAULT_BLUR_STEP_PX = 0.25
"""Greatest change of any pixel's blur diameter between two images. Against steps eight times finer, events of a
textured plane then move by 0.05 % of the sweep on average, and one in a hundred by more than 0.1 %."""

FLICKER_STEPS = 24
"""Images in each cycle of flickering light: between two of them brightness runs straight, off the sine by 0.9 % of its
depth at most."""

_BLOCK_FRAMES = 64
_RETURN_US = 1.0  # a sawtooth's instantaneous return, as the shortest time that timestamps resolve


@dataclass(frozen=True)
class Flicker:
    """Light that brightens and dims as a sine, as lamps on the mains do at twice the frequency of those."""

    hz: float
    depth: float  # amplitude over the mean, 0 to 1: some 0.1 of an incandescent lamp, up to 1 of a cheap LED

    def at(self, time_us: np.ndarray) -> np.ndarray:
        """Light over its mean."""
        return 1 + self.depth * np.cos(2e-6 * np.pi * self.hz * time_us)


@dataclass(frozen=True)
class SimulatedRecording:
    """What a camera behind the sweeping lens would have recorded.

    Attributes:
        calibration: of the camera and lens.
        events: (N,) `EVENT_DTYPE`, by time.
        triggers: (M,) `TRIGGER_DTYPE`, empty unless the calibration's sync is "trigger".
    """

    calibration: Calibration
    events: np.ndarray  # (N,) EVENT_DTYPE, by time
    triggers: np.ndarray  # (M,) TRIGGER_DTYPE, empty unless the calibration's sync is "trigger"


def focus_steps(calibration: Calibration, blur_step_px: float = DEFAULT_BLUR_STEP_PX) -> np.ndarray:
    """Focus in 1/m of the images that a far→near sweep needs, (S + 1,), ends included, even in time.

    Blur is fx · A · |φ − 1/z|, so one step of Δφ changes no pixel's blur by more than fx · A · Δφ, whatever the scene;
    breathing moves the image's corner by |s| · r · Δφ. Neither exceeds `blur_step_px`.

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
    stack: np.ndarray,  # (S + 1, H, W) float32, linear radiance, finite, not negative; even in time, far to near
    calibration: Calibration,
    sensor: Sensor,
    *,
    sweeps: int,
    seed: int,
    light: float = 1.0,
    start_us: int = 0,
    flicker: Flicker | None = None,
) -> SimulatedRecording:
    """Sweep the focus over a still scene: far→near first, then back and forth.

    One pass before `start_us` brings the sensor into its steady state; its events are not recorded. With
    `sync = "clock"` the recording starts at the calibration's own start.

    Args:
        stack: (S + 1, H, W) float32, linear radiance, finite, not negative: the scene at S + 1 focus positions, even in
            time, far to near; `focus_steps` says which.
        calibration: of the camera and lens.
        sensor: constants of the event sensor; `presets` has real ones.
        sweeps: number of passes to record, at least 1.
        seed: of the noise and of the mismatch of pixels.
        light: light on the chip, relative to full light.
        start_us: sensor time in µs at which the first sweep begins.
        flicker: of the light, if there is any.

    Returns:
        The events and triggers of the recording.

    Raises:
        ValueError: no sweeps, or a stack that is not of the camera's size.

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

    def shown(images: np.ndarray, phase: np.ndarray, times: np.ndarray) -> np.ndarray:
        """What the sensor sees of images even in time, at phases of the sweep, in the light of the moment."""
        place = phase * (len(images) - 1)
        lower = np.minimum(place.astype(int), len(images) - 2)
        if flicker is None:
            return images[np.rint(place).astype(int)]
        share = (place - lower).astype(np.float32)[:, None, None]
        light_now = flicker.at(times - start_us).astype(np.float32)[:, None, None]
        return light_now * ((1 - share) * images[lower] + share * images[lower + 1])

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The sweeps' images and times, the first image alone; the image at which the lens turns comes once."""
        for i in range(-1, sweeps):
            images = stack if sawtooth or i % 2 == 0 else stack[::-1]
            times = start_us + (i + phase) * duration
            jumps = sawtooth and i >= 0
            if jumps:
                times[0] += _RETURN_US
            if i < 0:
                yield shown(images, phase[:1], times[:1]), times[:1]
            for at in range(0 if jumps else 1, len(phase), _BLOCK_FRAMES):
                block = slice(at, at + _BLOCK_FRAMES)
                yield shown(images, phase[block], times[block]), times[block]

    events = expose_sequence(sensor, blocks(), light=light, seed=seed)
    events = events[np.searchsorted(events["timestamp"], start_us) :]
    return SimulatedRecording(calibration, events, _trigger_edges(calibration, sweeps, start_us))


def _trigger_edges(calibration: Calibration, sweeps: int, start_us: int) -> np.ndarray:
    """Edges at the ends of all sweeps, (M,) TRIGGER_DTYPE; the lens is where they say `delay_us` later."""
    settings = calibration.sweep
    if settings.sync != "trigger":
        return make_triggers(np.empty(0, np.int64), np.empty(0, np.uint8))
    ends = np.arange(sweeps + 1)
    times = np.rint(start_us + ends * settings.duration_us).astype(np.int64) - settings.delay_us
    if settings.waveform == "sawtooth":
        return make_triggers(times, np.full(len(times), RISING, np.uint8))
    return make_triggers(times, np.where(ends % 2 == 0, RISING, FALLING).astype(np.uint8))
