"""Methods: functions from a case to depth, with a common interface for evaluation."""

from dataclasses import dataclass
from typing import Protocol, cast

from ...capture.stack import EventFocalStack
from ..cases import Case
from ..estimate import Estimate, Estimator


class Method(Protocol):
    """Estimates depth from a case; `name` is its name in tables."""

    @property
    def name(self) -> str: ...

    def __call__(self, case: Case) -> Estimate:
        """Estimate depth, with the shape of the ground truth.

        Raises:
            NotApplicable: the case lacks what the method needs.
        """
        ...


@dataclass(frozen=True)
class EstimatorMethod:
    """Adapts an estimator of event focal stacks: bins the case's events as the estimator needs."""

    estimator: Estimator
    label: str | None = None  # overrides the estimator's name

    @property
    def name(self) -> str:
        return self.label or self.estimator.name

    def __call__(self, case: Case) -> Estimate:
        wanted = self.estimator
        return wanted(EventFocalStack.build(case.events, case.sweep, wanted.bins, wanted.polarity))


@dataclass(frozen=True)
class Renamed:
    """A method under another name."""

    method: Method
    name: str

    def __call__(self, case: Case) -> Estimate:
        return self.method(case)


def as_method(loaded: Estimator | Method, label: str | None = None) -> Method:
    """Adapt an estimator of event stacks (recognised by its `polarity`) or a method; `label` renames it."""
    if hasattr(loaded, "polarity"):
        return EstimatorMethod(cast(Estimator, loaded), label)
    method = cast(Method, loaded)
    return method if label is None else Renamed(method, label)
