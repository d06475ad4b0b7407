"""The classical estimator: the candidate that explains most of a neighbourhood's events, if it is significant.

At the focus, a pixel's polarity flips, its event rate has a minimum between two peaks, and image motion causes most
events. `evidence` has the templates of these effects for the calibrated lens, with their physical amplitudes; here
their energies are pooled over a neighbourhood, and the best candidate is selected. Unlike counting polarities before
and after each bin, this accounts for contrast reversal of strongly blurred detail (spurious resolution), works at the
ends of the sweep, and is not biased by lens breathing.
"""

from dataclasses import dataclass, field

import numpy as np

from ..capture.calibration import Calibration
from ..capture.stack import EventFocalStack, Polarity
from ..capture.sweeps import Sweep
from . import evidence_kernel as kernel
from .blur import gaussian_blur
from .estimate import Estimate
from .evidence import BINS, band, blur_over_range_px, matched_templates, motion_px

POOL_PX = 2.5
"""Standard deviation of the Gaussian neighbourhood of constant depth, in pixels."""

_NOTHING = 1e-9
"""Negligible energy, less than 0.1 % of an event's."""

CANDIDATES = np.linspace(-0.2, 1.2, 57, dtype=np.float32)
"""Candidate positions in the sweep range; some are outside, so that surfaces there are not mistaken for its ends."""


@dataclass(frozen=True)
class PolarityReversal:
    """The classical estimator, described in the module's docstring; `evidence_per_event` calibrates the deviations."""

    min_events: float = 3.0  # least number of events in a neighbourhood
    max_std: float = 0.15  # largest deviation, as a fraction of the sweep range
    min_fit: float = 0.28  # least fraction of the events' energy explained; noise reaches 0.25
    evidence_per_event: float = 0.5
    bins: int = field(default=BINS, init=False)
    polarity: Polarity = field(default="interpolated", init=False)
    name: str = field(default="polarity", init=False)

    def __call__(self, stack: EventFocalStack) -> Estimate:
        """Estimate depth from an "interpolated" stack."""
        calibration = stack.sweep.calibration
        explained, total = explained_energy(stack.data, calibration)
        events = _pool(np.abs(stack.data).sum(axis=0)) * (4 * np.pi * POOL_PX**2)
        position, spread, fit = self._posterior(explained, total, events)

        known = (events >= self.min_events) & (spread <= self.max_std) & (fit >= self.min_fit)
        known &= np.abs(position - 0.5) <= 0.5 + spread
        position = position.clip(0, 1)
        height, width = stack.data.shape[1:]
        known, position, spread = (_enlarge(a, height, width) for a in (known, position, spread))
        sweep = calibration.sweep
        diopters = np.where(known, sweep.far_diopters + position * sweep.range_diopters, np.nan)
        std = np.where(known, spread * sweep.range_diopters, np.nan)
        weight = total.sum()
        quality = float((fit * total).sum() / weight) if weight > 0 else float("nan")
        return Estimate(diopters.astype(np.float32), std.astype(np.float32), quality)

    def _posterior(
        self, explained: np.ndarray, total: np.ndarray, events: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Most probable position and its deviation, as fractions of the range, and the fraction of energy explained.

        The log of the unexplained fraction times the number of events is the log likelihood of a Gaussian model with
        unknown noise power.
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
    """Estimate depth of one sweep directly from its events, by the classical estimator.

    Args:
        events: (N,) `EVENT_DTYPE`, those of the sweep, in time order.
        sweep: the sweep, which gives the focus at each time.

    Returns:
        Depth and deviation where there is sufficient evidence.

    Examples:
        >>> from sweepdepth import find_sweeps, open_recording
        >>> with open_recording("sweep.aedat4") as recording:
        ...     events, _ = recording.read()
        ...     sweep = find_sweeps(recording, recording.calibration)[0]
        >>> inside = events[(events["timestamp"] >= sweep.start_us) & (events["timestamp"] < sweep.end_us)]
        >>> estimate = estimate_depth(inside, sweep)
        >>> estimate
        Estimate(240×180, ... % known, median ... m, quality ...)
        >>> bool(np.nanmin(estimate.depth) > 0.3)
        True
    """
    estimator = PolarityReversal()
    return estimator(EventFocalStack.build(events, sweep, estimator.bins, estimator.polarity))


def explained_energy(
    signed: np.ndarray,  # (B, H, W) float32, interpolated signed events, far→near
    calibration: Calibration,
) -> tuple[np.ndarray, np.ndarray]:
    """Energy of the events explained by each candidate, (C, H/2, W/2), and the total energy, (H/2, W/2).

    Only half of the template of a candidate at an end of the sweep is observed, so its neighbour inside would win. To
    compensate, energies are divided by the root of the candidate's largest possible value.
    """
    bins, height, width = signed.shape
    signed = np.pad(signed, ((0, 0), (0, -height % 8), (0, -width % 8)))
    rows, columns = signed.shape[1] // 2, signed.shape[2] // 2
    templates = matched_templates(blur_over_range_px(calibration), bins, CANDIDATES)
    moved = np.square(motion_px(calibration, (2 * rows, 2 * columns))[1::2, 1::2])
    explained, possible = (np.zeros((len(CANDIDATES), rows, columns), np.float32) for _ in range(2))
    for level, detail in enumerate(kernel.pyramid(signed)):
        flat, shape = detail.reshape(bins, -1), (-1, *detail.shape[1:])
        odd_size, even_size = templates.sizes[level]
        odd, even = (_at_half(np.square(curve @ flat).reshape(shape), rows) for curve in templates.curves[level])
        explained += odd_size[:, None, None] * odd
        explained += even_size[:, None, None] * moved * even
        whole = _at_half(np.square(flat).sum(axis=0).reshape(shape), rows)[0] / np.float32(band(level)[1])
        possible += whole * (odd_size[:, None, None] + even_size[:, None, None] * moved)
    window = slice(0, -(-height // 2)), slice(0, -(-width // 2))
    explained, possible = _blurred(explained)[:, *window], np.maximum(_blurred(possible)[:, *window], 1e-12)
    most = possible.max(axis=0)
    return explained * np.sqrt(most / possible), np.where(most > _NOTHING, most, 0)


def _at_half(energy: np.ndarray, rows: int) -> np.ndarray:
    """Resample a level's energies (C, h, w) to half the frame's resolution, by averaging over 2×2 pixels or
    repeating."""
    if energy.shape[1] > rows:
        return (energy[:, ::2, ::2] + energy[:, 1::2, ::2] + energy[:, ::2, 1::2] + energy[:, 1::2, 1::2]) / 4
    times = rows // energy.shape[1]
    return energy.repeat(times, axis=1).repeat(times, axis=2)


def _blurred(images: np.ndarray) -> np.ndarray:
    return gaussian_blur(images, POOL_PX / 2)


def _pool(image: np.ndarray) -> np.ndarray:
    """Local mean (H/2, W/2): halved, then blurred to POOL_PX."""
    height, width = image.shape
    image = np.pad(image, ((0, height % 2), (0, width % 2)), mode="edge")
    halved = (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4
    return _blurred(halved[None])[0]


def _enlarge(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Repeat every value for its 2×2 pixels, the inverse of the halving in `_pool`."""
    return image.repeat(2, axis=0).repeat(2, axis=1)[:height, :width]
