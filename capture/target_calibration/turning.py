"""Delay of the lens: turning points measured from events, relative to those of the trigger or the clock.

A pixel's brightness retraces its path when the focus turns, so events come in pairs of opposite sign at the same level,
symmetric in time about the turning point (`tracking.mirror`). Comparing levels rather than rates makes this independent
of the pixels' thresholds. The delay includes the latency of the pixels, as it should: depth is computed from their
events.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from ..tracking.mirror import REACH, Thinning, join_samples, measure_turn
from .targets import TargetSweeps


@dataclass(frozen=True)
class Lateness:
    """Delay of the measured turning points to the expected ones."""

    mean_us: float
    spread_us: float  # standard error
    turns: int  # number of turning points measured


def measure_lateness(targets: Sequence[TargetSweeps]) -> Lateness | None:
    """The weighted mean over all turning points inside the recordings; None if none could be measured."""
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
    """(delay in µs, votes) of each turning point between two complete sweeps."""
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
