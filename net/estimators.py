"""The estimators by name."""

from .estimate import Estimator
from .polarity import PolarityReversal

NAMES = ("polarity",)


def make_estimator(name: str) -> Estimator:
    """The estimator of that name.

    Raises:
        ValueError: there is none.
    """
    if name == "polarity":
        return PolarityReversal()
    raise ValueError(f"estimator {name!r} is unknown; choose one of {', '.join(NAMES)}")
