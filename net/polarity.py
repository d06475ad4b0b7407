"""Depth from polarity reversal: the classical estimator, a matched filter with the calibrated blur.

Focus is where a pixel's polarity flips and its event rate dips between two peaks. How far the peaks lie from the dip
depends on the detail's size and on how fast the blur grows, and the blur is known: a detail of spatial frequency f on
a surface at φ0 is seen at focus φ with contrast OTF(f, c·|φ − φ0|), the transfer function of a disc (Goodman,
Introduction to Fourier Optics, §6.4). Its derivative with respect to φ is the signed event rate to expect, odd about
φ0. So for every candidate φ0 we ask, band by band of detail, how much of the events' energy in a neighbourhood that
curve explains. Unlike counting polarities before and after each bin, this knows that fine detail reverses its
contrast when blurred far (spurious resolution), and it has an answer where focus is at an end of the sweep.
"""

from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
from scipy.special import j1

from ..capture.calibration import Calibration
from ..capture.stack import EventFocalStack, Polarity
from ..capture.sweeps import Sweep
from .blur import gaussian_blur
from .estimate import Estimate

BANDS_PX = ((0.5, 1.0), (1.0, 2.0), (2.0, 4.0))
"""Differences of Gaussians that split the image into bands of detail, one octave each. The coarse one tells at which
end of the range a surface is, which fine detail alone may leave open."""

POOL_PX = 2.5
"""Pixels share a depth within a Gaussian of this width."""

CANDIDATES = np.linspace(-0.2, 1.2, 57, dtype=np.float32)
"""Surfaces considered, as positions in the sweep range; some lie outside, lest those be mistaken for its ends."""

FREQUENCIES = np.linspace(0.0025, 0.5, 200)
"""Cycles per pixel at which the transfer function is averaged over a band."""

MAX_MOTION = 0.25
"""Image motion by lens breathing, as a fraction of the blur disc's change, beyond which there is no answer. Undoing
breathing puts events where they belong, but those that the motion itself made remain, along every edge and of one
sign; where they outnumber the focus events, the reversal cannot be seen."""


@dataclass(frozen=True)
class PolarityReversal:
    """The classical estimator. See the module's docstring; `evidence_per_event` calibrates the deviations."""

    min_events: float = 3.0  # in a neighbourhood, below which there is no answer
    max_std: float = 0.15  # of the sweep range, above which there is no answer
    evidence_per_event: float = 0.25
    bins: int = field(default=24, init=False)
    polarity: Polarity = field(default="interpolated", init=False)
    name: str = field(default="polarity", init=False)

    def __call__(self, stack: EventFocalStack) -> Estimate:
        """Estimate depth from an "interpolated" stack."""
        calibration = stack.sweep.calibration
        explained, total = explained_energy(stack.data, calibration)
        events = _pool(np.abs(stack.data).sum(axis=0)) * (4 * np.pi * POOL_PX**2)
        position, spread, fit = self._posterior(explained, total, events)

        known = (events >= self.min_events) & (spread <= self.max_std) & (np.abs(position - 0.5) <= 0.5 + spread)
        position = position.clip(0, 1)
        height, width = stack.data.shape[1:]
        known, position, spread = (_enlarge(a, height, width) for a in (known, position, spread))
        known &= motion_px(calibration) <= MAX_MOTION * _blur_per_range(calibration)
        sweep = calibration.sweep
        diopters = np.where(known, sweep.far_diopters + position * sweep.range_diopters, np.nan)
        std = np.where(known, spread * sweep.range_diopters, np.nan)
        weight = total.sum()
        quality = float((fit * total).sum() / weight) if weight > 0 else float("nan")
        return Estimate(diopters.astype(np.float32), std.astype(np.float32), quality)

    def _posterior(self, explained, total, events):
        """Most probable position and its deviation, as fractions of the range, and the share of energy explained.

        The logarithm of the unexplained share, times the number of events, is the log likelihood of a Gaussian model
        whose noise power is unknown.
        """
        share = np.minimum(explained / np.maximum(total, 1e-12), 0.999)
        log_likelihood = -self.evidence_per_event * events * np.log1p(-share)
        best = log_likelihood.argmax(axis=0)
        peak = np.take_along_axis(log_likelihood, best[None], axis=0)[0]
        posterior = np.exp(log_likelihood - peak)
        posterior /= posterior.sum(axis=0)

        inner = np.clip(best, 1, len(CANDIDATES) - 2)
        before, at, after = (np.take_along_axis(log_likelihood, inner[None] + k, axis=0)[0] for k in (-1, 0, 1))
        curvature = 2 * at - before - after
        offset = np.where(curvature > 0, (after - before) / (2 * np.maximum(curvature, 1e-12)), 0)
        step = CANDIDATES[1] - CANDIDATES[0]
        position = CANDIDATES[inner] + step * np.clip(offset, -1, 1)

        deviation = CANDIDATES[:, None, None] - position
        spread = np.sqrt((posterior * deviation**2).sum(axis=0) + step**2 / 12)
        return position, spread, np.take_along_axis(share, best[None], axis=0)[0]


def estimate_depth(
    events: np.ndarray,  # (N,) EVENT_DTYPE, those of the sweep, in time order
    sweep: Sweep,
) -> Estimate:
    """Depth of one sweep, straight from its events, by polarity reversal."""
    estimator = PolarityReversal()
    return estimator(EventFocalStack.build(events, sweep, estimator.bins, estimator.polarity))


def explained_energy(
    signed: np.ndarray,  # (B, H, W) float32, signed events, far→near
    calibration: Calibration,
) -> tuple[np.ndarray, np.ndarray]:
    """Energy of the events that each candidate explains (C, H/2, W/2), and their whole energy (H/2, W/2)."""
    bins, height, width = signed.shape
    blurred = {sigma: gaussian_blur(signed, sigma) for sigma in {s for band in BANDS_PX for s in band}}
    explained = np.float32(0)
    total = np.float32(0)
    for fine, coarse in BANDS_PX:
        detail = (blurred[fine] - blurred[coarse]).reshape(bins, -1)
        detail *= np.float32(_noise_gain(fine, coarse) ** -0.5)
        curves = _rate_curves(calibration, bins, fine, coarse)
        explained += np.square(curves @ detail).reshape(-1, height, width)
        total += np.square(detail).sum(axis=0).reshape(height, width)
    return _pool(explained), _pool(total)


@lru_cache(maxsize=16)
def _rate_curves(calibration: Calibration, bins: int, fine: float, coarse: float) -> np.ndarray:
    """Expected signed event rate over the bins for each candidate, (C, B) float32, rows of unit length.

    The transfer function of a disc of diameter d is 2·J1(πfd)/(πfd); it is averaged over the band with the 1/f²
    power that natural images have (Field, JOSA A 1987).
    """
    power = _band_response(fine, coarse) ** 2 / FREQUENCIES
    power /= power.sum()

    def contrast(distance: np.ndarray) -> np.ndarray:
        z = np.pi * _blur_per_range(calibration) * np.abs(distance)[..., None] * FREQUENCIES + 1e-9
        return (2 * j1(z) / z) @ power

    half_bin = 0.5 / (bins - 1)
    distance = np.linspace(0, 1, bins) - CANDIDATES[:, None]
    rate = contrast(distance + half_bin) - contrast(distance - half_bin)
    return (rate / (np.linalg.norm(rate, axis=1, keepdims=True) + 1e-3)).astype(np.float32)


def motion_px(calibration: Calibration) -> np.ndarray:
    """How far lens breathing moves the image over the sweep, (H, W) pixels."""
    camera, breathing = calibration.camera, calibration.breathing
    if breathing is None:
        return np.zeros((camera.height, camera.width))
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    distance = np.hypot(x - breathing.center[0], y - breathing.center[1])
    return abs(breathing.scale_per_diopter) * calibration.sweep.range_diopters * distance


def _blur_per_range(calibration: Calibration) -> float:
    """Diameter of the blur disc, in pixels, when the focus is one sweep range away."""
    return calibration.camera.fx * calibration.lens.aperture_m * calibration.sweep.range_diopters


def _band_response(fine: float, coarse: float) -> np.ndarray:
    """Transfer function of a difference of Gaussians at FREQUENCIES."""
    low, high = (np.exp(-2 * (np.pi * FREQUENCIES * sigma) ** 2) for sigma in (coarse, fine))
    return high - low


def _noise_gain(fine: float, coarse: float) -> float:
    """Power that spatially white noise has left in the band: ∫ |W|² over the plane of frequencies."""
    return float(
        (_band_response(fine, coarse) ** 2 * FREQUENCIES).sum() * 2 * np.pi * (FREQUENCIES[1] - FREQUENCIES[0])
    )


def _pool(image: np.ndarray) -> np.ndarray:
    """Local mean (…, H/2, W/2): halved, then blurred to POOL_PX."""
    height, width = image.shape[-2:]
    pad = [(0, 0)] * (image.ndim - 2) + [(0, height % 2), (0, width % 2)]
    image = np.pad(image, pad, mode="edge")
    halved = (image[..., ::2, ::2] + image[..., 1::2, ::2] + image[..., ::2, 1::2] + image[..., 1::2, 1::2]) / 4
    return gaussian_blur(halved.reshape(-1, *halved.shape[-2:]), POOL_PX / 2).reshape(halved.shape)


def _enlarge(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Undo the halving of `_pool`: every value for its 2×2 pixels."""
    return image.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
