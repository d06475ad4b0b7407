"""Augmentation of a sweep's events: noise, losses, timing errors and motion in addition to the simulation's.

Each function takes and returns the events of one sweep in time order, and uses the given random generator.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ...capture.calibration import Breathing, Calibration
from ...capture.events import join, make_events
from ...capture.sweeps import Sweep


@dataclass(frozen=True)
class Augmentation:
    """Strengths of augmentation, 0 for none. Each sample draws its own values."""

    flips: bool = True
    lost_events: float = 0.3  # largest fraction of dropped events
    noise_events: float = 0.05  # most noise events per pixel
    hot_pixels: float = 3e-4  # largest fraction of pixels, each with up to 100 events
    missing_sweep: float = 0.08  # largest fraction of the sweep cut off at one end
    lag: float = 0.005  # standard deviation of the synchronisation error, as a fraction of the sweep's duration
    residual_breathing: float = 0.002  # standard deviation of the error of scale_per_diopter
    motion_px: float = 1.0  # standard deviation of image motion over the sweep, in a third of the samples


NONE = Augmentation(False, 0, 0, 0, 0, 0, 0, 0)


def augment(
    events: np.ndarray, sweep: Sweep, position: np.ndarray, amount: Augmentation, random: np.random.Generator
) -> tuple[np.ndarray, Sweep, np.ndarray]:
    """Augment events (N,) EVENT_DTYPE, their sweep, and the true position in the range (H, W) consistently."""
    events = events.copy()
    events = _lose(events, amount.lost_events, random)
    events = _cut(events, sweep, amount.missing_sweep, random)
    events = _move(events, sweep, amount.motion_px, random)
    events = _add_noise(events, sweep, amount, random)
    if amount.flips:
        events, sweep, position = _flip(events, sweep, position, random)
    if amount.lag:
        lag = round(random.normal(0, amount.lag) * (sweep.end_us - sweep.start_us))
        sweep = replace(sweep, start_us=sweep.start_us + lag, end_us=sweep.end_us + lag)
    if amount.residual_breathing:
        sweep = with_calibration(sweep, _breathing_off(sweep.calibration, random.normal(0, amount.residual_breathing)))
    return events, sweep, position


def _lose(events: np.ndarray, most: float, random: np.random.Generator) -> np.ndarray:
    share = random.uniform(0, most) if most and random.random() < 0.5 else 0.0
    return events[random.random(len(events)) >= share] if share else events


def _cut(events: np.ndarray, sweep: Sweep, most: float, random: np.random.Generator) -> np.ndarray:
    if not most or random.random() < 0.7:
        return events
    duration = random.uniform(0, most) * (sweep.end_us - sweep.start_us)
    if random.random() < 0.5:
        return events[events["timestamp"] >= sweep.start_us + duration]
    return events[events["timestamp"] < sweep.end_us - duration]


def _move(events: np.ndarray, sweep: Sweep, deviation: float, random: np.random.Generator) -> np.ndarray:
    """Simulate camera drift: a shift linear in time, zero in the middle of the sweep."""
    if not deviation or random.random() < 2 / 3:
        return events
    camera = sweep.calibration.camera
    across = (events["timestamp"] - sweep.start_us) / (sweep.end_us - sweep.start_us) - 0.5
    x, y = (np.floor(events[axis] + 0.5 + across * random.normal(0, deviation)).astype(np.int16) for axis in ("x", "y"))
    events["x"], events["y"] = x, y
    return events[(x >= 0) & (x < camera.width) & (y >= 0) & (y < camera.height)]


def _add_noise(events: np.ndarray, sweep: Sweep, amount: Augmentation, random: np.random.Generator) -> np.ndarray:
    camera = sweep.calibration.camera
    pixels = camera.width * camera.height
    count = int(random.uniform(0, amount.noise_events) * pixels) if random.random() < 0.5 else 0
    hot = random.integers(0, pixels, random.poisson(random.uniform(0, amount.hot_pixels) * pixels))
    at = np.concatenate([random.integers(0, pixels, count), np.repeat(hot, random.integers(1, 100, len(hot)))])
    if not len(at):
        return events
    times = random.integers(sweep.start_us, sweep.end_us, len(at))
    noise = make_events(times, at % camera.width, at // camera.width, random.integers(0, 2, len(at)))
    joined = join([events, noise])
    return joined[np.argsort(joined["timestamp"], kind="stable")]


def _flip(
    events: np.ndarray, sweep: Sweep, position: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, Sweep, np.ndarray]:
    height, width = position.shape
    across, down = random.random(2) < 0.5
    if across:
        events["x"] = width - 1 - events["x"]
    if down:
        events["y"] = height - 1 - events["y"]
    return (
        events,
        with_calibration(sweep, _flipped(sweep.calibration, across, down)),
        _flipped_image(position, across, down),
    )


def flip_frames(
    frames: np.ndarray,  # (S, H, W)
    position: np.ndarray,  # (H, W)
    sweep: Sweep,
    amount: Augmentation,
    random: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray, Sweep]:
    """Mirror conventional frames, ground truth and lens horizontally and vertically, each with probability ½."""
    across, down = (random.random(2) < 0.5) & amount.flips
    mirrored = _flipped_image(frames, across, down), _flipped_image(position, across, down)
    return *mirrored, with_calibration(sweep, _flipped(sweep.calibration, across, down))


def _flipped_image(image: np.ndarray, across: bool, down: bool) -> np.ndarray:
    return image[..., :: -1 if down else 1, :: -1 if across else 1]


def _flipped(calibration: Calibration, across: bool, down: bool) -> Calibration:
    camera, breathing = calibration.camera, calibration.breathing
    if breathing is None:
        return calibration
    x, y = breathing.center
    center = (camera.width - x if across else x, camera.height - y if down else y)
    return _changed(calibration, breathing=breathing.model_copy(update={"center": center}))


def _breathing_off(calibration: Calibration, error: float) -> Calibration:
    camera, breathing = calibration.camera, calibration.breathing
    if breathing is None:
        breathing = Breathing(scale_per_diopter=0.0, center=(camera.width / 2, camera.height / 2))
    wrong = breathing.model_copy(update={"scale_per_diopter": breathing.scale_per_diopter + error})
    return _changed(calibration, breathing=wrong)


def with_calibration(sweep: Sweep, calibration: Calibration) -> Sweep:
    """The sweep with another calibration."""
    return replace(sweep, calibration=calibration)


def _changed(calibration: Calibration, **values: Any) -> Calibration:
    return calibration.model_copy(update=values)
