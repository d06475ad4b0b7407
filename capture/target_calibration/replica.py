"""Simulated replica of a calibration target: texture estimated from its events, swept, and seen by simulated pixels.

The initial texture is the linear least-squares estimate under the blur model (a Wiener filter over all bins), scaled
until the replica has as many events as the target. Since events are not linear in brightness, each later replica
corrects the texture by the difference between the target's and the replica's events (analysis by synthesis; Landweber
iteration). Blur acts on radiance, pixels on its logarithm. Pixels are ideal: each stores the brightness of its last
event and fires when brightness has risen or fallen by a threshold.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.ndimage import affine_transform
from scipy.special import j1

from ..events import make_events
from ..sweeps import Direction, Sweep
from ..tracking.mirror import LEVEL, off_step
from .targets import TargetSweeps, blur_per_range_px

STEPS_PER_PX = 4.0
"""Simulated frames per sweep, per pixel of growth of the blur disc over the range."""

COARSE_STEPS = 24
"""Frames per sweep where events are only counted."""

THRESHOLD = 0.14
"""ON threshold of the simulated pixels in log brightness: a contrast of 15 %, the lowest that cameras specify. It sets
how much averaging radiance (blur) differs from averaging its logarithm (pixels)."""

DARKEST = 0.02
"""Lower bound on radiance, as a fraction of the mean."""

NOISE = 0.03
"""Noise level of the Wiener filter, as a fraction of the energy of a detail that blurs from full to zero contrast."""

_COUNT_ONLY = np.empty((0, 3))


@dataclass(frozen=True)
class Replica:
    """Sweep of the replica, in fractions of the focus range: see `sighting.Sighting`."""

    position: float
    growth: float
    drift: tuple[float, float]


def guess_texture(sweeps: TargetSweeps, stack: np.ndarray, position: float) -> np.ndarray:
    """Estimate the target's texture, (H, W) log brightness in focus in thresholds, from its stack (B, H, W)."""
    texture = details(stack, position, blur_per_range_px(sweeps.sweeps[0].calibration))
    still = Replica(position, 0.0, (0.0, 0.0))
    low, high = np.log(0.25), np.log(8.0)
    for _ in range(7):
        middle = (low + high) / 2
        frames = _passes(sweeps, np.exp(middle) * texture, still, COARSE_STEPS, 2)
        start, off = _pixels(sweeps, texture.size)
        n = _fire(frames, start, off, _COUNT_ONLY) - _fire(frames[: COARSE_STEPS + 1], start, off, _COUNT_ONLY)
        low, high = (middle, high) if n < sweeps.events_per_pixel * texture.size else (low, middle)
    return np.exp((low + high) / 2) * texture


def make_replica(sweeps: TargetSweeps, texture: np.ndarray, settings: Replica) -> TargetSweeps:
    """Simulate three sweeps over a replica of the recorded target with the given sweep."""
    first = sweeps.sweeps[0]
    sawtooth = first.calibration.sweep.waveform == "sawtooth"
    steps = int(np.clip(STEPS_PER_PX * blur_per_range_px(first.calibration), 60, 240))
    frames = _passes(sweeps, texture, settings, steps, 4)
    start, off = _pixels(sweeps, texture.size)
    fired = np.empty((_fire(frames, start, off, _COUNT_ONLY), 3))
    _fire(frames, start, off, fired)

    # A preceding far→near sweep brings the pixels into their steady state.
    length = first.end_us - first.start_us
    period = steps + 1 if sawtooth else steps
    at = first.start_us + np.rint((fired[:, 0] / period - 1) * length).astype(np.int64)
    order = np.argsort(at, kind="stable")
    pixel = fired[order, 1].astype(np.int64)
    events = make_events(at[order], pixel % texture.shape[1], pixel // texture.shape[1], fired[order, 2] > 0)
    ways = (1, 1, 1) if sawtooth else (-1, 1, -1)
    simulated = [
        Sweep(first.start_us + i * length, first.end_us + i * length, Direction(way), first.calibration)
        for i, way in enumerate(ways)
    ]
    return TargetSweeps(sweeps.target, events, tuple(simulated))


def _pixels(sweeps: TargetSweeps, count: int) -> tuple[np.ndarray, float]:
    """Initial reference levels of the pixels, and the OFF threshold: see `_fire`."""
    return np.random.default_rng(0).random(count), off_step(sweeps.events["polarity"] > 0) / LEVEL


def _passes(sweeps: TargetSweeps, texture: np.ndarray, settings: Replica, steps: int, passes: int) -> np.ndarray:
    """(F, H, W) float32 log brightness, in thresholds, over several sweeps, the first far→near."""
    calibration = sweeps.sweeps[0].calibration
    sawtooth = calibration.sweep.waveform == "sawtooth"
    focus = calibration.focus_at(np.linspace(0, 1, steps + 1))
    position = (focus - calibration.sweep.far_diopters) / calibration.sweep.range_diopters
    forth = _sweep_over(np.exp(THRESHOLD * texture), position, settings, blur_per_range_px(calibration))
    back = forth if sawtooth else forth[::-1]
    return np.concatenate([forth, *((back, forth)[i % 2][not sawtooth :] for i in range(passes - 1))])


def details(stack: np.ndarray, position: float, blur: float) -> np.ndarray:
    """(H, W) log brightness in focus, in thresholds, of the details that the sweep blurs; linear estimate."""
    bins, height, width = stack.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    edges = np.clip((np.arange(bins + 1) - 0.5) / (bins - 1), 0, 1)
    z = np.pi * blur * np.abs(edges[:, None, None] - position) * frequency + 1e-9
    curve = np.diff(2 * j1(z) / z, axis=0)
    spectrum = np.sum(curve * np.fft.rfft2(stack), axis=0) / (np.sum(curve**2, axis=0) + NOISE)
    return np.fft.irfft2(spectrum, s=(height, width))


def _sweep_over(radiance: np.ndarray, position: np.ndarray, settings: Replica, blur: float) -> np.ndarray:
    """(S, H, W) float32 log brightness, in thresholds, with the focus at each position of a far→near sweep.

    The texture is positioned as it appears in focus, where most of its events come from.
    """
    height, width = radiance.shape
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    spectrum = np.fft.rfft2(radiance)
    middle = np.array([height, width]) / 2 - 0.5
    images = np.empty((len(position), height, width), np.float32)
    for i, g in enumerate(position):
        z = np.pi * blur * abs(g - settings.position) * frequency + 1e-9
        image = np.fft.irfft2(spectrum * 2 * j1(z) / z, s=radiance.shape)
        if settings.growth or any(settings.drift):
            scale = (1 + settings.growth * (g - 0.5)) / (1 + settings.growth * (settings.position - 0.5))
            drift = (g - settings.position) * np.array(settings.drift[::-1])
            image = affine_transform(image, np.full(2, 1 / scale), middle - (middle + drift) / scale, mode="grid-wrap")
        images[i] = np.log(np.maximum(image, DARKEST)) / THRESHOLD
    return images


@njit(nogil=True, cache=True)
def _fire(
    images: np.ndarray,  # (F, H, W) float32, log brightness in ON thresholds
    start: np.ndarray,  # (H · W,) in [0, 1): initial reference level between the thresholds
    off: float,  # OFF threshold, in ON thresholds
    out: np.ndarray,  # (E, 3) float64: time in frames, pixel, 1 ON or 0 OFF; of length 0 to count only
) -> int:
    """Simulate ideal pixels; returns the number of events."""
    flat = images.reshape(images.shape[0], -1)
    count = 0
    for p in range(flat.shape[1]):
        before = float(flat[0, p])
        memory = before + start[p] * (1 + off) - 1
        for f in range(1, flat.shape[0]):
            now = float(flat[f, p])
            while now >= memory + 1 or now <= memory - off:
                on = now >= memory + 1
                memory += 1.0 if on else -off
                if len(out):
                    out[count, 0] = f - 1 + min(max((memory - before) / (now - before), 0.0), 1.0)
                    out[count, 1] = p
                    out[count, 2] = 1.0 if on else 0.0
                count += 1
            before = now
    return count
