"""`make_estimator`: the estimators by name."""

from pathlib import Path
from typing import Literal

from ..capture.errors import SweepdepthError
from .engines import installed
from .estimate import Estimator
from .polarity import PolarityReversal
from .weights import SHIPPED, WeightsError

NAMES = ("net", "polarity")
Fuse = int | Literal["auto"]
"""Number of sweeps to fuse, or "auto": as many as motion allows."""


def default_estimator() -> str:
    """The network if an engine is installed, else the classical estimator."""
    return "net" if SHIPPED.exists() and installed() else "polarity"


def make_estimator(
    name: str | None = None,
    *,
    weights: str | Path | None = None,
    engine: str = "auto",
    fuse: Fuse | None = None,
) -> Estimator:
    """Make an estimator by name.

    Args:
        name: "net" or "polarity"; by default `default_estimator()`.
        weights: path of a weights file for "net"; by default the shipped one.
        engine: inference engine of the network: "auto", "openvino" or "torch".
        fuse: number of sweeps to fuse, or "auto" for as many as motion allows; see `fusion`.

    Returns:
        An estimator, called with the `EventFocalStack` of a sweep, which returns an `Estimate`; its `bins` and
        `polarity` specify the stack it needs.

    Raises:
        ValueError: the name is unknown.
        SweepdepthError: the estimator has no weights, or cannot fuse sweeps, or not this many.
        WeightsError: the weights are missing, damaged, or not for event focal stacks.
        EngineError: the engine is unknown or not installed.

    Examples:
        >>> estimator = make_estimator("polarity")
        >>> estimator.name, estimator.bins, estimator.polarity
        ('polarity', 24, 'interpolated')
    """
    name = name or ("net" if weights is not None else default_estimator())
    if name == "polarity":
        if weights is not None:
            raise SweepdepthError("--weights: the classical estimator has none; use the estimator net")
        if fuse is not None:
            raise SweepdepthError("--fuse: the classical estimator has no distributions to fuse; use the estimator net")
        return PolarityReversal()
    if name != "net":
        raise ValueError(f"estimator {name!r} is unknown; choose one of {', '.join(NAMES)}")
    from .network import EventNetwork, load_network

    network = load_network(weights, engine=engine)
    if not isinstance(network, EventNetwork):
        raise WeightsError(f"{weights}: this network needs more than an event focal stack; use it with `eval` only")
    if fuse is None:
        return network
    from .architecture import EvidenceConfig
    from .fusion import MOST_SWEEPS, FusedNetwork

    if not isinstance(network.network.file.config, EvidenceConfig):
        raise WeightsError(f"{weights}: this network does not predict distributions, which fusion needs")
    if fuse != "auto" and not 1 <= fuse <= MOST_SWEEPS:
        raise SweepdepthError(f"--fuse {fuse}: must be from 1 to {MOST_SWEEPS} sweeps, or auto")
    return FusedNetwork(network, fuse)
