"""How late the lens turns: the turning points that the events show, against those that the edges or the clock say.

A pixel's brightness retraces its path when the focus turns, so events come in pairs of opposite sign at the same level,
as long before the turn as after (`tracking.mirror`). Comparing levels rather than rates keeps the pixels' thresholds
out of it. How late the pixels themselves answer is in it, and shall be: depth is made from their events.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..tracking.mirror import REACH, Thinning, join_samples, measure_turn
from .targets import TargetSweeps


@dataclass(frozen=True)
class Lateness:
    """How much later the lens turns than said."""

    mean_us: float
    spread_us: float  # standard error
    turns: int  # turning points measured


def measure_lateness(targets: Sequence[TargetSweeps]) -> Lateness | None:
    """The weighted mean over all turning points inside the recordings, or None when none could be measured."""
    found = np.array([turn for sweeps in targets for turn in _turns(sweeps)]).reshape(-1, 2)
    if not len(found):
        return None
    late, weight = found.T
    middle = np.median(late)
    typical = max(100.0, 1.4826 * float(np.median(np.abs(late - middle))))
    weight = weight * np.minimum(1.0, 2 * typical / np.maximum(np.abs(late - middle), 1e-9))
    mean = float(np.average(late, weights=weight))
    effective = weight.sum() ** 2 / (weight**2).sum()
    scatter = float(np.average((late - mean) ** 2, weights=weight)) ** 0.5
    return Lateness(mean, scatter / effective**0.5, len(found))


def _turns(sweeps: TargetSweeps) -> list[tuple[float, float]]:
    """(µs late, votes) of each turning point between two whole sweeps."""
    calibration = sweeps.sweeps[0].calibration
    thinning = Thinning(calibration.camera.width, calibration.camera.height)
    sample = thinning.pick(sweeps.events)
    found = []
    for before, after in pairwise(sweeps.sweeps):
        if abs(before.end_us - after.start_us) > 1:
            continue
        length = min(before.end_us - before.start_us, after.end_us - after.start_us)
        near = join_samples([sample], round(after.start_us - REACH * length), round(after.start_us + REACH * length))
        sawtooth = calibration.sweep.waveform == "sawtooth"
        turn = measure_turn(near, thinning.pixels, after.start_us, length, sawtooth)
        if turn is not None:
            found.append((turn[0], turn[1]))
    return found
