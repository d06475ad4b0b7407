"""Measures where a target comes into focus and how the image moves, and corrects the bias with a simulated replica.

Events quantise brightness in whole thresholds, which biases the measured focus towards the middle of the range and the
measured motion towards zero, depending on the texture. To correct this, a replica of the target is built from the
events, its events are simulated and measured in the same way, and the replica's measurement error is subtracted
(indirect inference: Gouriéroux, Monfort, Renault, J. Applied Econometrics 1993).
"""

from dataclasses import dataclass, replace

import numpy as np

from ..calibration import Calibration
from .replica import Replica, details, guess_texture, make_replica
from .spectra import BINS, Tiles, cut_tiles, evidence
from .targets import TargetSweeps, blur_per_range_px

CANDIDATES = np.linspace(-0.2, 1.2, 29)
CLOSER = np.linspace(-0.05, 0.05, 9)
"""Offsets around the best candidate, evaluated once the image's motion is known."""

GROUPS = 8
"""Groups of tiles measured separately, for the standard error of the position."""

ROUNDS = 4
"""Number of successive replicas, each with a texture corrected by the previous one; the fourth changes little."""

LEAST_SEEN = 0.5
"""Lower bound on the measured fraction of a motion, reached when events are few."""

LEAST_GROWTH = 0.002
"""Growth below which that fraction cannot be distinguished from noise."""

LARGEST_STEP = np.array([0.05, 0.02, 2.0, 2.0])
"""Largest correction per round: position, growth, drift in pixels."""


@dataclass(frozen=True)
class Sighting:
    """Measurement of one target, in fractions of the calibration's focus range."""

    position: float  # of best focus: 0 at the far end, 1 at the near end
    spread: float  # standard error of the position
    growth: float  # of the image from far to near end, relative to its size at mid-range
    drift: tuple[float, float]  # of the image's middle over the range, pixels
    contrast: float  # relative drop of evidence from the best position to the best one far from it

    @property
    def vector(self) -> np.ndarray:
        return np.array([self.position, self.growth, *self.drift])


def sight(sweeps: TargetSweeps, *, corrected: bool = True) -> Sighting:
    """Measure one target, in the calibration of its sweeps."""
    calibration = sweeps.sweeps[0].calibration
    stack = sweeps.stack(BINS)
    measured = _measure(stack, calibration)
    if not corrected or not 0 < measured.position < 1:
        return measured
    blur = blur_per_range_px(calibration)
    texture = guess_texture(sweeps, stack, measured.position)
    wanted = values = measured.vector
    # Fraction of an error that a measurement shows: all of it for position, less for motion with few events.
    seen = np.array([1.0, *[LEAST_SEEN] * 3])
    for _ in range(ROUNDS):
        replica = make_replica(sweeps, texture, Replica(values[0], values[1], (values[2], values[3]))).stack(BINS)
        texture = texture + details(stack - replica, values[0], blur)
        found = _measure(replica, calibration).vector
        if abs(values[1]) > LEAST_GROWTH:
            seen[1:] = np.clip(found[1] / values[1], LEAST_SEEN, 1.0)
        values = values + np.clip((wanted - found) / seen, -LARGEST_STEP, LARGEST_STEP)
    return replace(measured, position=values[0], growth=values[1], drift=(values[2], values[3]))


def _measure(stack: np.ndarray, calibration: Calibration) -> Sighting:
    tiles = cut_tiles(stack)
    blur = blur_per_range_px(calibration)
    camera = calibration.camera
    middle = np.array([camera.width, camera.height]) / 2
    total = np.array([evidence(tiles, g, blur).sum() for g in CANDIDATES])
    position = _peak(CANDIDATES, total)
    elsewhere = float(total[np.abs(CANDIDATES - position) > 0.2].max())
    growth, drift = _motion(tiles, position, blur, middle) if 0 < position < 1 else (0.0, np.zeros(2))
    motion = growth * (tiles.centres - middle) + drift
    at = position + CLOSER
    closer = np.array([evidence(tiles, g, blur, motion) for g in at])  # (C, T)
    groups = np.array_split(np.random.default_rng(0).permutation(closer.shape[1]), min(GROUPS, closer.shape[1]))
    apart = np.array([_peak(at, closer[:, group].sum(axis=1)) for group in groups])
    return Sighting(
        _peak(at, closer.sum(axis=1)),
        1.4826 * float(np.median(np.abs(apart - np.median(apart)))) / len(groups) ** 0.5,
        growth,
        (float(drift[0]), float(drift[1])),
        1 - elsewhere / max(float(total.max()), 1e-12),
    )


def _peak(at: np.ndarray, evidence: np.ndarray) -> float:
    """Position of most evidence, interpolated between the equidistant `at` by a parabola."""
    i = int(np.argmax(evidence))
    if not 0 < i < len(evidence) - 1:
        return float(at[i])
    a, b, c = evidence[i - 1 : i + 2]
    bend = a - 2 * b + c
    return float(at[i] + (at[1] - at[0]) * (0.5 * (a - c) / bend if bend < 0 else 0.0))


def _motion(tiles: Tiles, position: float, blur: float, middle: np.ndarray) -> tuple[float, np.ndarray]:
    """Growth of the image and drift of its middle over the range, fitted to the motions of all tiles."""
    out = tiles.centres - middle
    reach = max(1.0, float(np.abs(out).max()))
    guesses = np.arange(-8, 9) / reach  # the outermost tiles move by whole pixels
    growth = guesses[int(np.argmax([evidence(tiles, position, blur, g * out).sum() for g in guesses]))]
    motion, weight = growth * out, np.ones(len(out))
    for step in (0.7, 0.4):
        motion, weight = _refine(tiles, position, blur, motion, step)
        growth, drift = _fit_growth(out, motion, weight)
        motion = growth * out + drift if step > 0.5 else motion
    return growth, drift


def _refine(
    tiles: Tiles, position: float, blur: float, motion: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Motion (T, 2) at the peak of a paraboloid fitted around it, and the peak's curvature (T,)."""

    def at(x: float, y: float) -> np.ndarray:
        return evidence(tiles, position, blur, motion + np.array([x, y]) * step)

    here, right, left, below, above, corner = at(0, 0), at(1, 0), at(-1, 0), at(0, 1), at(0, -1), at(1, 1)
    slope = np.stack([right - left, below - above], axis=1) / 2
    xx, yy = right - 2 * here + left, below - 2 * here + above
    xy = corner - right - below + here
    determinant = xx * yy - xy**2
    good = (xx < 0) & (yy < 0) & (determinant > 0.01 * xx * yy)
    safe = np.where(good, determinant, 1.0)
    move = np.stack([xy * slope[:, 1] - yy * slope[:, 0], xy * slope[:, 0] - xx * slope[:, 1]], axis=1)
    move = np.where(good[:, None], move / safe[:, None], 0.0)
    size = np.hypot(*move.T)
    move *= np.minimum(1.0, 2.0 / np.maximum(size, 1e-9))[:, None]
    return motion + step * move, np.where(good, safe / np.maximum(-(xx + yy), 1e-12), 0.0)


def _fit_growth(out: np.ndarray, motion: np.ndarray, weight: np.ndarray) -> tuple[float, np.ndarray]:
    """Fit motion = growth · out + drift by least squares with Huber weights."""
    design = np.zeros((len(out), 2, 3))
    design[:, :, 0] = out
    design[:, 0, 1] = design[:, 1, 2] = 1
    scale = np.ones(len(out))
    solution = np.zeros(3)
    for _ in range(8):
        root = np.sqrt(weight * scale)[:, None]
        solution = np.linalg.lstsq((design * root[:, :, None]).reshape(-1, 3), (motion * root).ravel(), rcond=None)[0]
        error = np.hypot(*(motion - design @ solution).T)
        typical = max(1e-3, float(np.median(error[weight > 0])) if np.any(weight > 0) else 1.0)
        scale = np.minimum(1.0, 1.5 * typical / np.maximum(error, 1e-9))
    return float(solution[0]), solution[1:]
