"""Methods: anything that turns a case into depth, to be scored alike."""

from dataclasses import dataclass
from typing import Protocol, cast

from ...capture.stack import EventFocalStack
from ..cases import Case
from ..estimate import Estimate, Estimator


class Method(Protocol):
    """Something that estimates depth from a case; `name` heads its row in the tables."""

    @property
    def name(self) -> str: ...

    def __call__(self, case: Case) -> Estimate:
        """Estimate depth, of the truth's shape.

        Raises:
            NotApplicable: the case lacks what the method needs.
        """
        ...


@dataclass(frozen=True)
class EstimatorMethod:
    """An estimator of event focal stacks as a method: bins the case's events as the estimator wants them."""

    estimator: Estimator
    label: str | None = None  # instead of the estimator's own name

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
    """An estimator of event stacks (it has a `polarity`) or a method, as a method; `label` renames it."""
    if hasattr(loaded, "polarity"):
        return EstimatorMethod(cast(Estimator, loaded), label)
    method = cast(Method, loaded)
    return method if label is None else Renamed(method, label)
