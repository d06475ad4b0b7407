"""Trained networks as estimators: dense depth with deviation from the stack of one sweep."""

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np

from ..capture.stack import EventFocalStack, Polarity
from ..capture.sweeps import Direction, Sweep
from .architecture import AnyRepresentation, EvidenceConfig
from .cases import LabelledSweep, images_of
from .distribution import Distribution, normalised
from .engines import Engine, make_engine
from .estimate import Estimate
from .lag import LagFollower
from .representation import EvidenceRepresentation
from .weights import SHIPPED, WeightsFile, open_weights

_UNIFORM_DEVIATION = 12**-0.5
"""Standard deviation of a position uniform over the range, as without any events."""


@dataclass
class Network:
    """A weights file, with an engine for each frame size."""

    file: WeightsFile
    engine: str = "auto"
    _engines: dict[tuple[int, int], Engine] = field(default_factory=dict, init=False)

    @property
    def representation(self) -> AnyRepresentation:
        """The network's input representation."""
        return self.file.config.representation

    def engine_for(self, height: int, width: int) -> Engine:
        """The engine for a frame size, created on first use."""
        if (height, width) not in self._engines:
            self._engines[height, width] = make_engine(self.file, height, width, self.engine)
        return self._engines[height, width]

    def estimate(self, inputs: tuple[np.ndarray, ...], sweep: Sweep, active: np.ndarray | None = None) -> Estimate:
        """Estimate depth from the representation of a sweep.

        Args:
            inputs: from the representation.
            sweep: of the inputs.
            active: (H, W) bool, the pixels used for the quality; all by default. Quality is the mean reduction of the
                deviation there, compared with a uniform distribution over the range.
        """
        camera = sweep.calibration.camera
        size = camera.height, camera.width
        out = self.engine_for(*size)(inputs)
        if isinstance(self.file.config, EvidenceConfig):
            if sweep.direction == Direction.NEAR_TO_FAR:
                out = out[::-1]
            return self.read(Distribution(normalised(out, self.file.temperature), size), sweep, active)
        scale, constant = self.file.deviation
        position = out[0].clip(0, 1)
        deviation = scale * np.exp(0.5 * out[1]) if len(out) > 1 else np.full_like(position, constant)
        return _estimate(position, deviation, sweep, active)

    def read(self, distribution: Distribution, sweep: Sweep, active: np.ndarray | float | None = None) -> Estimate:
        """Convert a distribution to depth, its trimmed mean, with calibrated deviation.

        Args:
            distribution: over the candidates, far to near.
            sweep: gives the range.
            active: as for `estimate`, or the quality itself.
        """
        position, spread = distribution.read()
        estimate = _estimate(position, self.file.calibrated(spread), sweep, active)
        return replace(estimate, distribution=distribution)


def _estimate(position: np.ndarray, deviation: np.ndarray, sweep: Sweep, active: np.ndarray | float | None) -> Estimate:
    """Convert positions and deviations from fractions of the range to diopters."""
    settings = sweep.calibration.sweep
    if isinstance(active, float):
        quality = active
    else:
        known = 1 - deviation / _UNIFORM_DEVIATION
        known = known if active is None else known[active]
        quality = float(np.clip(known.mean(), 0, 1)) if known.size else 0.0
    return Estimate(
        (settings.far_diopters + position * settings.range_diopters).astype(np.float32),
        (deviation * settings.range_diopters).astype(np.float32),
        quality,
    )


@dataclass
class EventNetwork:
    """A network on event focal stacks: an `Estimator`.

    Its only state from previous sweeps is the latency of the pixels (`lag`).
    """

    network: Network
    name: str = "net"
    _lag: LagFollower = field(default_factory=LagFollower, init=False)

    @property
    def bins(self) -> int:
        return self.network.representation.bins

    @property
    def polarity(self) -> Polarity:
        return self.network.representation.polarity

    def __call__(self, stack: EventFocalStack) -> Estimate:
        shown, sweep = self.network.representation, stack.sweep
        active = np.abs(stack.data).reshape(-1, *stack.data.shape[-2:]).any(axis=0)
        if not isinstance(shown, EvidenceRepresentation):
            return self.network.estimate(shown.of_stack(stack), sweep, active)
        lag = self._lag.lag(sweep)
        estimate = self.network.estimate(shown.of_stack(stack, lag), sweep, active)
        settings = sweep.calibration.sweep
        position = (estimate.diopters - settings.far_diopters) / settings.range_diopters
        self._lag.compare(sweep, position, estimate.std / settings.range_diopters, lag)
        return estimate


@dataclass
class CaseNetwork:
    """A network that needs more of a case than its stack: images, or event times or counts."""

    network: Network
    name: str = "net"

    def __call__(self, case: LabelledSweep) -> Estimate:
        shown = self.network.representation
        if shown.source == "events":
            inputs, answered = (
                shown.of_events(case.events, case.sweep),
                shown.answered_by_events(case.events, case.sweep),
            )
        else:
            images, diopters = images_of(case, shown)
            inputs, answered = shown.of_images(images, diopters, case.sweep), shown.answered_by_images(images)
        estimate = self.network.estimate(inputs, case.sweep)
        if answered is None:
            return estimate
        diopters, std = (np.where(answered, part, np.float32("nan")) for part in (estimate.diopters, estimate.std))
        return replace(estimate, diopters=diopters, std=std)


def load_network(
    path: str | Path | None = None, *, engine: str = "auto", name: str = "net"
) -> EventNetwork | CaseNetwork:
    """Load the network of a weights file, by default the shipped one.

    Raises:
        WeightsError: the file is missing, damaged, or not a weights file.
    """
    network = Network(open_weights(path or SHIPPED), engine)
    shown = network.representation
    if shown.source != "events" or getattr(shown, "times", False) or getattr(shown, "sparse", False):
        return CaseNetwork(network, name)
    return EventNetwork(network, name)
