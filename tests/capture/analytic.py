"""A small analytic scene behind a sweeping lens, with exactly known turning points.

Vertical strips of the image are fronto-parallel planes at their own distances, each with a texture of cosines. Blurring
a cosine with a Gaussian only scales it, so the brightness at any focus is a closed formula; the events are the times at
which its logarithm crosses a pixel's next threshold.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from sweepdepth.capture.calibration import Calibration
from sweepdepth.capture.events import EVENT_DTYPE, TRIGGER_DTYPE, Batch, make_events

EPOCH_US = 1_763_000_000_000_000  # camera clocks count from 1970


def calibration(
    *,
    sync: str = "events",
    waveform: str = "triangle",
    frequency_hz: float = 10.0,
    width: int = 64,
    height: int = 48,
    start_us: int = 0,
    delay_us: int = 0,
    breathing: float | None = None,
    **trigger: Any,
) -> Calibration:
    """A small camera behind a fast lens, 0.5 to 2.5 diopters; `trigger` are keys such as `trigger_pulses`."""
    return Calibration.model_validate(
        {
            "camera": {
                "width": width,
                "height": height,
                "pixel_pitch_um": 18.5,
                "fx": 300.0,
                "fy": 300.0,
                "cx": width / 2,
                "cy": height / 2,
            },
            "lens": {"focal_length_mm": 12.0, "f_number": 1.4},
            "sweep": {
                "waveform": waveform,
                "frequency_hz": frequency_hz,
                "far_diopters": 0.5,
                "near_diopters": 2.5,
                "sync": sync,
                "start_us": start_us,
                "delay_us": delay_us,
                **trigger,
            },
            "breathing": None
            if breathing is None
            else {"scale_per_diopter": breathing, "center": (width / 2, height / 2)},
        }
    )


@dataclass(frozen=True)
class Scene:
    """The scene, and the behaviour of the pixels."""

    planes: tuple[float, ...] = (0.8, 1.3, 1.7, 2.2)  # diopters, left to right
    contrast: float = 0.35  # amplitude of each cosine
    threshold: float = 0.15  # of the logarithm of brightness, ON
    off_ratio: float = 1.0  # OFF threshold over ON threshold
    mismatch: float = 0.0  # standard deviation of a pixel's thresholds, as a share of them
    noise_hz: float = 0.0  # random events per pixel and second
    latency_us: float = 0.0  # every event comes this late
    drift_px_s: float = 0.0  # the scene slides sideways
    seed: int = 0


def log_brightness(
    scene: Scene,
    lens: Calibration,
    focus: np.ndarray,  # (T,) 1/m
    seconds: np.ndarray,  # (T,)
) -> np.ndarray:
    """(T, H, W) natural logarithm of brightness."""
    rng = np.random.default_rng(scene.seed)
    camera = lens.camera
    y, x = np.mgrid[0 : camera.height, 0 : camera.width] + 0.5
    surface = np.asarray(scene.planes)[(x * len(scene.planes) / camera.width).astype(int)]
    waves = [(rng.uniform(0.3, 1.2), rng.uniform(0, np.pi), rng.uniform(0, 2 * np.pi)) for _ in range(8)]
    out = np.empty((len(focus), camera.height, camera.width))
    for i, (phi, t) in enumerate(zip(focus, seconds, strict=True)):
        u, v = x, y
        if lens.breathing is not None:
            magnification = 1 + lens.breathing.scale_per_diopter * (phi - lens.sweep.far_diopters)
            cx, cy = lens.breathing.center
            u, v = cx + (x - cx) / magnification, cy + (y - cy) / magnification
        # A disc of diameter d has the standard deviation d/4 along each axis.
        sigma = camera.fx * lens.lens.aperture_m * np.abs(phi - surface) / 4
        light = np.ones_like(x)
        for k, angle, phase in waves:
            wave = np.cos(k * ((u - scene.drift_px_s * t) * np.cos(angle) + v * np.sin(angle)) + phase)
            light += scene.contrast * wave * np.exp(-((k * sigma) ** 2) / 2)
        out[i] = np.log(np.maximum(light, 0.05))
    return out


def record(
    scene: Scene,
    lens: Calibration,
    turning_us: np.ndarray,  # (K,) increasing: the ends of K - 1 sweeps
    first_far: bool = True,  # the first turning point is the far end
    steps: int = 150,  # of each sweep, between which brightness is interpolated
) -> np.ndarray:
    """(N,) EVENT_DTYPE: the events between the first turning point and the last."""
    rng = np.random.default_rng(scene.seed + 1)
    phase = np.linspace(0, 1, steps + 1)
    times, focus = [], []
    for i, (a, b) in enumerate(pairwise(turning_us)):
        rising = lens.sweep.waveform == "sawtooth" or first_far == (i % 2 == 0)
        times.append(a + (b - a) * phase[: None if lens.sweep.waveform == "sawtooth" else -1] - turning_us[0])
        focus.append(lens.focus_at(phase if rising else 1 - phase)[: len(times[-1])])
    t, phi = np.concatenate(times), np.concatenate(focus)
    shape = (lens.camera.height, lens.camera.width)
    on = scene.threshold * np.maximum(1 + scene.mismatch * rng.standard_normal(shape), 0.2)
    off = scene.threshold * scene.off_ratio * np.maximum(1 + scene.mismatch * rng.standard_normal(shape), 0.2)
    before = log_brightness(scene, lens, phi[:1], t[:1] / 1e6)[0]
    level = before - rng.uniform(0, 1, shape) * on
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []
    for i in range(1, len(t)):
        now = log_brightness(scene, lens, phi[i : i + 1], t[i : i + 1] / 1e6)[0]
        for sign, theta in ((1, on), (-1, off)):
            while True:
                y, x = np.nonzero(sign * (now - level) >= theta)
                if not len(x):
                    break
                level[y, x] += sign * theta[y, x]
                slope = now[y, x] - before[y, x]
                share = np.where(slope == 0, 1.0, (level[y, x] - before[y, x]) / np.where(slope == 0, 1.0, slope))
                at = t[i - 1] + np.clip(share, 0, 1) * (t[i] - t[i - 1])
                found.append((at, x, y, np.full(len(x), sign > 0)))
        before = now
    count = rng.poisson(scene.noise_hz * shape[0] * shape[1] * t[-1] / 1e6)
    found.append(
        (
            rng.uniform(0, t[-1], count),
            rng.integers(0, shape[1], count),
            rng.integers(0, shape[0], count),
            rng.random(count) < 0.5,
        )
    )
    at, x, y, polarity = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.argsort(at, kind="stable")
    stamps = int(turning_us[0]) + np.rint(at[order] + scene.latency_us).astype(np.int64)
    return make_events(stamps, x[order], y[order], polarity[order])


def batches(
    events: np.ndarray,  # (N,) EVENT_DTYPE
    triggers: np.ndarray | None = None,  # (M,) TRIGGER_DTYPE
    cuts_us: Sequence[int] = (),  # times at which a batch ends, increasing
    end_us: int | None = None,  # of the last batch; just after the last event or trigger by default
) -> list[Batch]:
    """Events and triggers cut into batches at the given times."""
    if triggers is None:
        triggers = np.empty(0, TRIGGER_DTYPE)
    if end_us is None:
        end_us = 1 + max((int(a["timestamp"][-1]) for a in (events, triggers) if len(a)), default=0)
    out = []
    for end in [*[int(c) for c in cuts_us if c < end_us], end_us]:
        i, j = (int(np.searchsorted(a["timestamp"], end)) for a in (events, triggers))
        out.append(Batch(events[:i], triggers[:j], end))
        events, triggers = events[i:], triggers[j:]
    return out


def random_events(rng: np.random.Generator, count: int, start_us: int, end_us: int) -> np.ndarray:
    """(count,) EVENT_DTYPE at random pixels, for tests in which only times matter."""
    events = np.zeros(count, EVENT_DTYPE)
    events["timestamp"] = np.sort(rng.integers(start_us, end_us, count))
    events["x"], events["y"] = rng.integers(0, 64, count), rng.integers(0, 48, count)
    events["polarity"] = rng.integers(0, 2, count)
    return events
