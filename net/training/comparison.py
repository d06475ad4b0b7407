"""What a run is compared with: the weights that come with the package, on its own validation sweeps."""

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
    """The shipped network's RMSE, as validation measures it.

    Args:
        sources: the validation's.
        config: the run's; its seed decides which sweeps are drawn.
        stop: ends the work.

    Returns:
        In parts of the range, the mean over sweeps. None where there is nothing to compare: no sweeps, no shipped
        weights, a run on images, which the shipped network does not see; or `stop` is set.
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
