"""Sweep direction from lens breathing.

Blur is symmetric, so a reversed sweep looks like another scene with mirrored depth. Breathing is not: the image grows
or shrinks with the focus. Corrected for the right direction, the events of an edge stay in one place throughout the
sweep; corrected for the wrong one, they drift twice as far as uncorrected.
"""

from dataclasses import dataclass

import numpy as np

from ..calibration import Calibration
from ..optics import breathing_magnification
from ..sweeps import Direction

SLICES = 8
"""Number of slices of the focus range whose event images are compared with each other."""

TILES = 12
"""Number of tiles along the longer image side; their scatter gives the standard error."""

MIN_SIGMAS, MIN_GAIN = 3.5, 0.06
"""Least advantage of one direction: standard errors, and relative gain in alignment. Three recordings without breathing
reached 4.2 and 0.047 when the calibration claimed breathing of up to 3 % per diopter; one with 1.5 % per diopter
reached 5.0 and 0.34, and still 4.4 and 0.15 when only a third of that was claimed."""

MAX_EVENTS = 2_000_000
"""Most events used; more are subsampled evenly over the sweeps."""


@dataclass(frozen=True)
class Evidence:
    """Evidence for a guess of the direction; negative if it supports the opposite."""

    sigmas: float  # standard errors
    gain: float  # relative gain in alignment over the opposite direction, from -1 to 1

    def judge(self, guess: Direction) -> Direction | None:
        """The guessed direction, its opposite, or None if the evidence is too weak."""
        if abs(self.sigmas) < MIN_SIGMAS or abs(self.gain) < MIN_GAIN:
            return None
        return guess if self.sigmas > 0 else guess.reversed


def weigh_direction(
    events: np.ndarray,  # (N,) EVENT_DTYPE
    phase: np.ndarray,  # (N,) in [0, 1], of a far→near pass if the guess of the direction is right
    calibration: Calibration,  # with breathing
) -> Evidence:
    """Measure the evidence of lens breathing for a guess of the direction."""
    ours, theirs = _alignment(events, phase, calibration), _alignment(events, 1 - phase, calibration)
    gain = ours - theirs
    spread, total = float(np.sqrt(np.sum(gain**2))), float(ours.sum() + theirs.sum())
    if spread == 0 or total <= 0:
        return Evidence(0.0, 0.0)
    return Evidence(float(gain.sum()) / spread, float(gain.sum()) / total)


def _alignment(
    events: np.ndarray,  # (N,) EVENT_DTYPE
    phase: np.ndarray,  # (N,)
    calibration: Calibration,
) -> np.ndarray:
    """(tiles,) correlation of the event images of different focus slices after correction of breathing."""
    camera, breathing = calibration.camera, calibration.breathing
    assert breathing is not None
    focus = calibration.focus_at(phase)
    magnification = breathing_magnification(focus, calibration.sweep.far_diopters, breathing.scale_per_diopter)
    cx, cy = breathing.center
    x = cx + (events["x"] + 0.5 - cx) / magnification
    y = cy + (events["y"] + 0.5 - cy) / magnification
    tile = max(8, -(-max(camera.width, camera.height) // TILES))
    columns, rows = camera.width // tile, camera.height // tile
    slice_number = np.minimum((phase * SLICES).astype(np.int64), SLICES - 1)
    inside = (x >= 0) & (x < columns * tile) & (y >= 0) & (y < rows * tile)
    place = (slice_number * rows * tile + y.astype(np.int64)) * columns * tile + x.astype(np.int64)
    count = np.bincount(place[inside], minlength=SLICES * rows * columns * tile * tile)
    # Square roots limit the weight of hot pixels.
    images = np.sqrt(count.reshape(SLICES, rows, tile, columns, tile))
    images = images - images.mean(axis=(2, 4), keepdims=True)
    total = images.sum(axis=0)
    # Sum of the products of different slices = square of the sum − sum of the squares.
    return ((total**2).sum(axis=(1, 3)) - (images**2).sum(axis=(0, 2, 4))).ravel()
