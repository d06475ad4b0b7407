"""The direction of the focus, determined from lens breathing.

Blur is symmetric, so a reversed sweep looks like the mirrored scene. Breathing is not: the image grows or shrinks with
the focus. Undone the right way round, the events of an edge stay on one place all through the sweep; undone the wrong
way round, they drift twice as far as they did.
"""

from dataclasses import dataclass

import numpy as np

from ..calibration import Calibration
from ..optics import breathing_magnification
from ..sweeps import Direction

SLICES = 8
"""Parts of the focus range whose event images are compared with each other."""

TILES = 12
"""The image is compared in so many tiles along its longer side; their scatter says how sure the answer is."""

MIN_SIGMAS, MIN_GAIN = 3.5, 0.06
"""What one direction must win by: standard errors, and share of the alignment. Three recordings without breathing
reached 4.2 and 0.047 when breathing of up to 3 % per diopter was claimed for them; one that breathes by 1.5 % per
diopter reached 5.0 and 0.34, and still 4.4 and 0.15 when only a third of that was claimed."""

MAX_EVENTS = 2_000_000
"""More are not needed: thin them out evenly over the sweeps."""


@dataclass(frozen=True)
class Evidence:
    """How much speaks for a guess of the direction; negative when it speaks for the opposite."""

    sigmas: float  # standard errors
    gain: float  # how much better the events align than the other way round, from -1 to 1

    def judge(self, guess: Direction) -> Direction | None:
        """The guessed direction, its opposite, or None when the evidence is too weak."""
        if abs(self.sigmas) < MIN_SIGMAS or abs(self.gain) < MIN_GAIN:
            return None
        return guess if self.sigmas > 0 else guess.reversed


def weigh_direction(
    events: np.ndarray,  # (N,) EVENT_DTYPE
    phase: np.ndarray,  # (N,) in [0, 1], of a far→near pass if the guess of the direction is right
    calibration: Calibration,  # with breathing
) -> Evidence:
    """What lens breathing says about a guess of the direction."""
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
    """(tiles,) how alike the event images of different slices of the focus are, once breathing is undone."""
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
    # Square roots, so that a hot pixel does not outvote the scene.
    images = np.sqrt(count.reshape(SLICES, rows, tile, columns, tile))
    images = images - images.mean(axis=(2, 4), keepdims=True)
    total = images.sum(axis=0)
    # The products of different slices: the square of the sum less the sum of the squares.
    return ((total**2).sum(axis=(1, 3)) - (images**2).sum(axis=(0, 2, 4))).ravel()
