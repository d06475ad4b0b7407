"""The estimators by name."""

from pathlib import Path
from typing import Literal

from ..capture.errors import SweepdepthError
from .engines import installed
from .estimate import Estimator
from .polarity import PolarityReversal
from .weights import SHIPPED, WeightsError

NAMES = ("net", "polarity")
Fuse = int | Literal["auto"]
"""How many sweeps are answered together: a number, or as many as motion allows."""


def default_estimator() -> str:
    """The network where it can be run, else the classical estimator."""
    return "net" if SHIPPED.exists() and installed() else "polarity"


def make_estimator(
    name: str | None = None,
    *,
    weights: str | Path | None = None,
    engine: str = "auto",
    fuse: Fuse | None = None,
) -> Estimator:
    """An estimator by name.

    Args:
        name: "net" or "polarity"; `default_estimator()` unless given.
        weights: path of a weights file for "net", in place of the shipped one.
        engine: what runs the network: "auto", "openvino" or "torch".
        fuse: number of sweeps that are answered together, or "auto", as many as motion allows; see `fusion`.

    Returns:
        Something to be called with the `EventFocalStack` of a sweep, which gives an `Estimate`; its `bins` and
        `polarity` say which stack it needs.

    Raises:
        ValueError: there is none of the name.
        SweepdepthError: the estimator cannot fuse sweeps, or not so many.
        WeightsError: the weights are missing, damaged, or not for event focal stacks.
        EngineError: the engine is unknown or not installed.

    Examples:
        >>> estimator = make_estimator("polarity")
        >>> estimator.name, estimator.bins, estimator.polarity
        ('polarity', 24, 'interpolated')
    """
    name = name or ("net" if weights is not None else default_estimator())
    if name == "polarity":
        if fuse is not None:
            raise SweepdepthError("--fuse: the classical estimator has no distributions to fuse; use the estimator net")
        return PolarityReversal()
    if name != "net":
        raise ValueError(f"estimator {name!r} is unknown; choose one of {', '.join(NAMES)}")
    from .network import EventNetwork, load_network

    network = load_network(weights, engine=engine)
    if not isinstance(network, EventNetwork):
        raise WeightsError(f"{weights}: is a network that needs more than an event focal stack; it can only be judged")
    if fuse is None:
        return network
    from .architecture import EvidenceConfig
    from .fusion import MOST_SWEEPS, FusedNetwork

    if not isinstance(network.network.file.config, EvidenceConfig):
        raise WeightsError(f"{weights}: its answers are no distributions, which fusion needs")
    if fuse != "auto" and not 1 <= fuse <= MOST_SWEEPS:
        raise SweepdepthError(f"--fuse {fuse}: must be from 1 to {MOST_SWEEPS} sweeps, or auto")
    return FusedNetwork(network, fuse)
