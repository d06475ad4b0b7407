"""Evidence volume: how well each candidate distance explains the events of a neighbourhood.

A detail of spatial frequency f on a surface at position c in the sweep range has, at focus position p, the contrast
OTF(f · d · |p − c|), the transfer function of a disc whose diameter over the whole range is d pixels (Goodman,
Introduction to Fourier Optics, §6.4). Events report changes of brightness:

- *odd*: contrast changes with blur: the derivative of the transfer function, antisymmetric about focus;
- *even*: the image moves with the focus (lens breathing, drift), so image gradients cause events; their contrast is the
transfer function itself, symmetric about focus.

Both templates are matched against the interpolated event focal stack, for every candidate, in four frequency bands one
octave apart. Their expected amplitudes are known, too: natural images have equal contrast in every octave (Field, JOSA
A 1987), blur changes it by the derivative, and motion by m pixels moves a gradient of 2πf times the contrast. Templates
with these amplitudes are the optimal filter for weak signals; with little blur and much motion, the even part
automatically outweighs the odd one. This step removes the dependence on lens, blur and sweep: the volume looks the same
for every candidate and every lens.

The fast kernels are in `evidence_kernel`.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.special import j1

from ..capture.calibration import Calibration
from ..capture.stack import EventFocalStack
from ..capture.sweeps import Direction, Sweep
from . import evidence_kernel as kernel

BINS = 24
"""Bins of the interpolated stack from which evidence is computed."""

CANDIDATES = np.linspace(-0.125, 1.125, 21, dtype=np.float32)
"""Candidate positions in the range, symmetric about its middle; some are outside, so that surfaces beyond an end are
not mistaken for ones inside."""

LEVELS = kernel.LEVELS
"""Frequency bands: each level of the pyramid has half the resolution of the previous."""

FREQUENCIES = np.geomspace(0.002, 0.5, 240)
"""Cycles per pixel at which transfer functions are sampled to average over a band."""

HALF_CHANNELS, QUARTER_CHANNELS, PIXEL_CHANNELS, CANDIDATE_CHANNELS = 8, 6, 5, 4

_TYPICAL_BLUR_PX, _TYPICAL_DURATION_US = 8.0, 200_000.0
_GREATEST_MOTION = 4.0


@dataclass(frozen=True)
class Evidence:
    """The evidence volume of one sweep, with candidates in time order.

    Candidate 0 is at the end where the sweep began, for near→far sweeps, too: pixels lag because of threshold and
    bandwidth, so in time order the bias has the same sign for both directions.
    """

    half: np.ndarray  # (8, C, H/2, W/2) float32: matched energy, odd share, even share (two fine bands each), event
    # rate, and the matched energy of all bands relative to the best candidate's
    quarter: np.ndarray  # (6, C, H/4, W/4) float32: matched energy, odd share, even share of the two coarse bands
    pixel: np.ndarray  # (5, H/4, W/4) float32: energy in each band, and image motion for each pixel of blur
    candidate: np.ndarray  # (4, C) float32: blur left before the sweep's start and end, position in the range, duration
    direction: Direction
    size: tuple[int, int]  # (H, W) of the frame; the arrays are padded to multiples of 4

    @property
    def in_range_order(self) -> "Evidence":
        """The volume with candidates from far to near."""
        if self.direction == Direction.FAR_TO_NEAR:
            return self
        return Evidence(
            self.half[:, ::-1], self.quarter[:, ::-1], self.pixel, self.candidate[:, ::-1],
            Direction.FAR_TO_NEAR, self.size,
        )  # fmt: skip


def make_evidence(stack: EventFocalStack, lag: float = 0.0) -> Evidence:
    """Compute the evidence volume of an "interpolated" event focal stack.

    Args:
        stack: with `BINS` bins and polarity "interpolated".
        lag: latency of the pixels as a fraction of the sweep; see `lag`.

    Returns:
        The volume, 21 · (7/4 + 6/16) · 4 bytes per pixel, 17 MB at 346×260.

    Raises:
        ValueError: another kind of stack.
    """
    if stack.polarity != "interpolated" or stack.bins != BINS:
        raise ValueError(
            f"evidence is made of an interpolated stack of {BINS} bins, not {stack.polarity}, {stack.bins}"
        )
    return evidence_of(stack.data, stack.sweep, lag)


def evidence_of(
    signed: np.ndarray,  # (B, H, W) float32, interpolated signed events, far→near
    sweep: Sweep,
    lag: float = 0.0,
) -> Evidence:
    """Compute the evidence volume from the data of an interpolated stack."""
    calibration = sweep.calibration
    blur = blur_over_range_px(calibration)
    seen_at = CANDIDATES + np.float32(lag * sweep.direction)
    templates = matched_templates(blur, len(signed), seen_at)
    rows, columns = -(-signed.shape[1] // 4), -(-signed.shape[2] // 4)
    motion = motion_px(calibration, (4 * rows, 4 * columns))
    forward = sweep.direction == Direction.FAR_TO_NEAR
    in_time = slice(None, None, 1 if forward else -1)
    half, quarter, totals = kernel.make_volume(
        np.ascontiguousarray(signed),
        np.ascontiguousarray(templates.curves[:, :, in_time]),
        np.ascontiguousarray(templates.sizes[:, :, in_time]),
        motion[1::2, 1::2],
        np.ascontiguousarray(rate_weights(len(signed), seen_at)[in_time]),
    )
    pixel = np.empty((PIXEL_CHANNELS, rows, columns), np.float32)
    for level in range(LEVELS):
        pixel[level] = totals[level] / band(level)[1]
    pixel[LEVELS] = np.minimum(2 * motion[2::4, 2::4] / blur, _GREATEST_MOTION)
    candidate = np.empty((CANDIDATE_CHANNELS, len(CANDIDATES)), np.float32)
    candidate[0] = CANDIDATES * blur / _TYPICAL_BLUR_PX
    candidate[1] = (1 - CANDIDATES) * blur / _TYPICAL_BLUR_PX
    candidate[2] = CANDIDATES if forward else 1 - CANDIDATES
    candidate[3] = np.log2((sweep.end_us - sweep.start_us) / _TYPICAL_DURATION_US)
    return Evidence(
        half,
        quarter,
        pixel,
        candidate,
        sweep.direction,
        (signed.shape[1], signed.shape[2]),
    )


def blur_over_range_px(calibration: Calibration) -> float:
    """Diameter of the blur disc in pixels of a surface out of focus by the whole sweep range."""
    return calibration.camera.fx * calibration.lens.aperture_m * calibration.sweep.range_diopters


def motion_px(calibration: Calibration, size: tuple[int, int] | None = None) -> np.ndarray:
    """Image motion by lens breathing over the sweep, (H, W) float32 pixels."""
    camera, breathing = calibration.camera, calibration.breathing
    height, width = size or (camera.height, camera.width)
    if breathing is None:
        return np.zeros((height, width), np.float32)
    x = np.arange(width, dtype=np.float32) + 0.5 - breathing.center[0]
    y = np.arange(height, dtype=np.float32) + 0.5 - breathing.center[1]
    return np.hypot(y[:, None], x) * np.float32(abs(breathing.scale_per_diopter) * calibration.sweep.range_diopters)


@dataclass(frozen=True)
class Templates:
    """Expected events over the bins for a detail at each candidate: curves of unit length, and their amplitudes."""

    curves: np.ndarray  # (LEVELS, 2, C, B) float32: odd, then even
    sizes: (
        np.ndarray
    )  # (LEVELS, 2, C) float32: squared length, odd; even, for each squared pixel of motion over the range


def matched_templates(blur_px: float, bins: int, candidates: np.ndarray = CANDIDATES) -> Templates:
    """Compute the templates of a lens.

    Args:
        blur_px: diameter of the blur over the whole range; rounded to an eighth of an octave.
        bins: number of bins of the stack.
        candidates: candidate positions in the range.

    Returns:
        Curves scaled so that one event of white noise has an energy of one in every band; amplitudes relative to the
        largest odd one.
    """
    return _templates(round(8 * np.log2(max(blur_px, 0.25))), bins, tuple(candidates.tolist()))


@lru_cache(maxsize=256)
def _templates(blur_eighths: int, bins: int, candidates: tuple[float, ...]) -> Templates:
    blur = 2 ** (blur_eighths / 8)
    half_bin, distance = 0.5 / (bins - 1), np.linspace(0, 1, bins) - np.array(candidates)[:, None]
    curves = np.empty((LEVELS, 2, len(candidates), bins), np.float32)
    sizes = np.empty((LEVELS, 2, len(candidates)))
    for level in range(LEVELS):
        response, noise = band(level)
        # Power of 1/f² in rings of circumference 2πf is uniform in log f, like the frequencies.
        power = response**2 / (response**2).sum()

        def contrast(at: np.ndarray, power: np.ndarray = power) -> np.ndarray:
            z = np.pi * blur * np.abs(at)[..., None] * FREQUENCIES + 1e-9
            return (2 * j1(z) / z) @ power

        # Over one bin the image moves by 1/(B − 1) of its motion; half of the gradient's power is in this direction.
        gradient = 2 * np.pi * np.sqrt(power @ FREQUENCIES**2) / (bins - 1) / np.sqrt(2)
        odd, even = contrast(distance + half_bin) - contrast(distance - half_bin), gradient * contrast(distance)
        for part, rows in enumerate((odd, even)):
            length = np.linalg.norm(rows, axis=1)
            curves[level, part] = rows / (length[:, None] + 1e-9) * noise**-0.5
            sizes[level, part] = length**2
    return Templates(curves, (sizes / sizes[:, 0].max()).astype(np.float32))


@lru_cache(maxsize=LEVELS)
def band(level: int) -> tuple[np.ndarray, float]:
    """Frequency response of a pyramid level at `FREQUENCIES`, and its power gain for white noise."""
    fine, coarse = kernel.level_filters(level)

    def response(taps: np.ndarray) -> np.ndarray:
        at = np.arange(len(taps)) - (len(taps) - 1) / 2
        return np.cos(2 * np.pi * FREQUENCIES[:, None] * at) @ taps

    both = max(len(fine), len(coarse))
    a, b = (np.pad(taps, (both - len(taps)) // 2) for taps in (fine, coarse))
    noise = (a @ a) ** 2 - 2 * (a @ b) ** 2 + (b @ b) ** 2
    return response(fine) - response(coarse), float(noise)


def rate_weights(bins: int, candidates: np.ndarray = CANDIDATES) -> np.ndarray:
    """Weights of the bins in the event rate at each candidate, (C, B) float32; zero beyond the ends."""
    place = candidates[:, None] * (bins - 1)
    weights = np.maximum(0, 1 - np.abs(place - np.arange(bins)))
    return weights.astype(np.float32)
