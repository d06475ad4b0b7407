"""Where a target comes into focus, and how the image moves meanwhile: measured, then corrected by a replica.

Events tell of brightness only in whole thresholds, so what they say of focus and motion is drawn towards the middle of
the range and towards rest, by an amount that depends on the texture. So a replica of the target is made from the
events themselves, its events are simulated and measured in the same way, and what is measured of it too much or too
little is taken off (indirect inference: Gouriéroux, Monfort, Renault, J. Applied Econometrics 1993).
"""

from dataclasses import dataclass, replace

import numpy as np

from ..calibration import Calibration
from .replica import Replica, make_replica
from .spectra import BINS, Tiles, cut_tiles, explained
from .targets import TargetSweeps

CANDIDATES = np.linspace(-0.2, 1.2, 57)
GROUPS = 8
"""Parts of the image that are measured separately, to see how sure the position is."""

ROUNDS = 3
"""Replicas made one after the other; the third changes little."""

LEAST_SEEN = 0.5
"""Part of a motion that is measured when events are few."""

LEAST_GROWTH = 0.002
"""Below, that part cannot be told from noise."""

LARGEST_STEP = np.array([0.05, 0.02, 2.0, 2.0])
"""Of one correction: position, growth, drift in pixels."""


@dataclass(frozen=True)
class Sighting:
    """What the sweeps over one target say, in parts of the calibration's focus range."""

    position: float  # where the target is in focus: 0 at the far end, 1 at the near end
    spread: float  # standard error of that
    growth: float  # of the image from the far to the near end, of its size at mid-range
    drift: tuple[float, float]  # of the image's middle over the range, pixels
    share: float  # of the events' energy that a target in focus there explains
    contrast: float  # how much less any position far from there explains, of the best

    @property
    def vector(self) -> np.ndarray:
        return np.array([self.position, self.growth, *self.drift])


def sight(sweeps: TargetSweeps, *, corrected: bool = True) -> Sighting:
    """Measure one target, by its sweeps' own calibration."""
    calibration = sweeps.sweeps[0].calibration
    measured = _measure(sweeps, calibration)
    if not corrected or not 0 < measured.position < 1:
        return measured
    wanted = values = measured.vector
    # So much of an error in each is seen: all of a position's, of a motion the more, the more events.
    seen = np.array([1.0, *[LEAST_SEEN] * 3])
    for _ in range(ROUNDS):
        replica = make_replica(sweeps, Replica(values[0], values[1], (values[2], values[3])))
        found = _measure(replica, calibration).vector
        if abs(values[1]) > LEAST_GROWTH:
            seen[1:] = np.clip(found[1] / values[1], LEAST_SEEN, 1.0)
        values = values + np.clip((wanted - found) / seen, -LARGEST_STEP, LARGEST_STEP)
    return replace(measured, position=values[0], growth=values[1], drift=(values[2], values[3]))


def blur_per_range_px(calibration: Calibration) -> float:
    """Diameter of the blur disc when the focus is one whole range away."""
    return calibration.camera.fx * calibration.lens.aperture_m * calibration.sweep.range_diopters


def _measure(sweeps: TargetSweeps, calibration: Calibration) -> Sighting:
    tiles = cut_tiles(sweeps.stack(BINS))
    blur = blur_per_range_px(calibration)
    energy = np.array([explained(tiles, g, blur) for g in CANDIDATES])  # (C, T)
    position = _peak(energy.sum(axis=1))
    growth, drift = 0.0, np.zeros(2)
    if 0 < position < 1:
        camera = calibration.camera
        growth, drift = _motion(tiles, position, blur, np.array([camera.width, camera.height]) / 2)
    groups = np.array_split(np.random.default_rng(0).permutation(energy.shape[1]), min(GROUPS, energy.shape[1]))
    apart = [_peak(energy[:, group].sum(axis=1)) for group in groups]
    total = energy.sum(axis=1)
    elsewhere = total[np.abs(CANDIDATES - position) > 0.2].max()
    best = max(float(total.max()), 1e-12)
    return Sighting(
        position,
        1.4826 * float(np.median(np.abs(np.array(apart) - np.median(apart)))) / len(groups) ** 0.5,
        growth,
        (float(drift[0]), float(drift[1])),
        best / max(float(tiles.energy.sum()), 1e-12),
        1 - float(elsewhere) / best,
    )


def _peak(energy: np.ndarray) -> float:
    """Candidate of most energy, between the candidates by the parabola through its neighbours."""
    i = int(np.argmax(energy))
    if not 0 < i < len(energy) - 1:
        return float(CANDIDATES[i])
    a, b, c = energy[i - 1 : i + 2]
    bend = a - 2 * b + c
    return float(CANDIDATES[i] + (CANDIDATES[1] - CANDIDATES[0]) * (0.5 * (a - c) / bend if bend < 0 else 0.0))


def _motion(tiles: Tiles, position: float, blur: float, middle: np.ndarray) -> tuple[float, np.ndarray]:
    """Growth of the image over the range and drift of its middle, from the motions of all tiles."""
    out = tiles.centres - middle
    reach = max(1.0, float(np.abs(out).max()))
    guesses = np.arange(-8, 9) / reach  # the outermost tiles move by whole pixels
    growth = guesses[int(np.argmax([explained(tiles, position, blur, g * out).sum() for g in guesses]))]
    motion, weight = growth * out, np.ones(len(out))
    for step in (0.7, 0.4):
        motion, weight = _refine(tiles, position, blur, motion, step)
        growth, drift = _fit_growth(out, motion, weight)
        motion = growth * out + drift if step > 0.5 else motion
    return growth, drift


def _refine(
    tiles: Tiles, position: float, blur: float, motion: np.ndarray, step: float
) -> tuple[np.ndarray, np.ndarray]:
    """Motion (T, 2) at the top of the paraboloid through values around it, and how sharp that is (T,)."""

    def at(x: float, y: float) -> np.ndarray:
        return explained(tiles, position, blur, motion + np.array([x, y]) * step)

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
    """motion = growth · out + drift by least squares, tiles that disagree counting less (Huber)."""
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
