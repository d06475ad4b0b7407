"""Trained networks as estimators: dense depth with its deviation, from the stack of one sweep."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..capture.calibration import Calibration
from ..capture.stack import EventFocalStack, Polarity
from .cases import Case
from .engines import Engine, make_engine
from .estimate import Estimate
from .representation import Representation
from .samples import chosen_frames
from .tiles import run_tiled
from .weights import SHIPPED, WeightsFile, open_weights

_UNIFORM_DEVIATION = 12**-0.5
"""Of a position anywhere in the range: what is known without any event."""


@dataclass
class Network:
    """A weights file and the engines compiled from it, one for each size of frame or tile."""

    file: WeightsFile
    engine: str = "auto"
    _engines: dict[tuple[int, int], Engine] = field(default_factory=dict, init=False)

    @property
    def representation(self) -> Representation:
        return self.file.config.representation

    def engine_for(self, height: int, width: int) -> Engine:
        """The engine for frames of a size, compiled when first asked for."""
        if (height, width) not in self._engines:
            self._engines[height, width] = make_engine(self.file, height, width, self.engine)
        return self._engines[height, width]

    def estimate(self, channels: np.ndarray, calibration: Calibration, active: np.ndarray | None = None) -> Estimate:
        """Depth from the channels of the representation, (C, H, W).

        Quality is how much more is known, on the mean of the `active` pixels (H, W), than the range alone says.
        """
        size = channels.shape[1:]
        tile = size if self.file.config.tile is None else tuple(map(min, size, self.file.config.tile))
        engine = self.engine_for(*tile)
        out = engine(channels) if tile == size else run_tiled(engine, channels, tile)
        scale, constant = self.file.deviation
        position = out[0].clip(0, 1)
        deviation = scale * np.exp(0.5 * out[1]) if len(out) > 1 else np.full_like(position, constant)
        sweep = calibration.sweep
        known = 1 - deviation / _UNIFORM_DEVIATION
        known = known if active is None else known[active]
        quality = float(np.clip(known.mean(), 0, 1)) if known.size else 0.0
        return Estimate(
            (sweep.far_diopters + position * sweep.range_diopters).astype(np.float32),
            (deviation * sweep.range_diopters).astype(np.float32),
            quality,
        )


@dataclass
class EventNetwork:
    """A network on event focal stacks: an `Estimator` for the runtime."""

    network: Network
    name: str = "net"

    @property
    def bins(self) -> int:
        return self.network.representation.bins

    @property
    def polarity(self) -> Polarity:
        return self.network.representation.polarity

    def __call__(self, stack: EventFocalStack) -> Estimate:
        channels = self.network.representation.of_stack(stack)
        counts = np.abs(stack.data).reshape(-1, *stack.data.shape[-2:])
        return self.network.estimate(channels, stack.sweep.calibration, counts.any(axis=0))


@dataclass
class CaseNetwork:
    """A network that needs more of a case than its stack: conventional frames, or the times of events."""

    network: Network
    name: str = "net"

    def __call__(self, case: Case) -> Estimate:
        representation = self.network.representation
        if representation.source == "frames":
            frames, diopters = chosen_frames(case, representation)
            channels = representation.of_frames(frames, diopters, case.sweep)
        else:
            channels = representation.of_events(case.events, case.sweep)
        return self.network.estimate(channels, case.calibration)


def load_network(
    path: str | Path | None = None, *, engine: str = "auto", name: str = "net"
) -> EventNetwork | CaseNetwork:
    """The network of a weights file, or the one that comes with the package.

    Raises:
        WeightsError: the file is missing, damaged, or no weights of ours.
    """
    network = Network(open_weights(path or SHIPPED), engine)
    if network.representation.source == "frames" or network.representation.times:
        return CaseNetwork(network, name)
    return EventNetwork(network, name)
