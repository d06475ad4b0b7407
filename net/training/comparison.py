"""Baseline of a run: the shipped weights on the run's validation sweeps."""

import threading
from collections.abc import Sequence

import numpy as np

from ...capture.optics import to_diopters
from ..network import load_network
from ..weights import SHIPPED
from .augmentation import NONE
from .config import TrainingConfig
from .data import SweepSamples, SweepSource


def rmse_of_shipped(sources: Sequence[SweepSource], config: TrainingConfig, stop: threading.Event) -> float | None:
    """RMSE of the shipped network, measured as in validation.

    Args:
        sources: of the validation sweeps.
        config: of the run; its seed determines the sweeps.
        stop: aborts the measurement when set.

    Returns:
        The mean over sweeps, as a fraction of the range. None if there are no sweeps or no shipped weights, if the run
        uses images, or if `stop` is set.
    """
    if not sources or not SHIPPED.exists():
        return None
    network = load_network(SHIPPED).network
    shown = network.representation
    if shown.source != config.network.representation.source or shown.source != "events":
        return None
    samples = SweepSamples(sources, shown, NONE, None, config.seed)
    errors = []
    for number in range(len(samples)):
        if stop.is_set():
            return None
        labelled, _ = samples.draw(0, number)
        estimate = network.estimate(shown.of_events(labelled.events, labelled.sweep), labelled.sweep)
        sweep, true = labelled.calibration.sweep, to_diopters(labelled.truth)
        inside = (true >= sweep.far_diopters) & (true <= sweep.near_diopters)
        if inside.any():
            error = (estimate.diopters - true)[inside] / sweep.range_diopters
            errors.append(float(np.sqrt(np.mean(error**2))))
    return float(np.mean(errors)) if errors else None
