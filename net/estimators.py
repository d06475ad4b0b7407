"""The estimators by name."""

from pathlib import Path

from .engines import installed
from .estimate import Estimator
from .polarity import PolarityReversal
from .weights import SHIPPED, WeightsError

NAMES = ("net", "polarity")


def default_estimator() -> str:
    """The network where it can be run, else the classical estimator."""
    return "net" if SHIPPED.exists() and installed() else "polarity"


def make_estimator(name: str | None = None, *, weights: str | Path | None = None, engine: str = "auto") -> Estimator:
    """The estimator of that name, `default_estimator()` for None; `weights` are for "net", in place of the shipped.

    Raises:
        ValueError: there is none of the name.
        WeightsError: the weights are missing, damaged, or not for event focal stacks.
        EngineError: the engine is unknown or not installed.
    """
    name = name or ("net" if weights is not None else default_estimator())
    if name == "polarity":
        return PolarityReversal()
    if name != "net":
        raise ValueError(f"estimator {name!r} is unknown; choose one of {', '.join(NAMES)}")
    from .network import EventNetwork, load_network

    network = load_network(weights, engine=engine)
    if not isinstance(network, EventNetwork):
        raise WeightsError(f"{weights}: is a network that needs more than an event focal stack; it can only be judged")
    return network
