"""Evaluation of methods against ground truth, sweep by sweep, with a breakdown of errors."""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from ...capture.optics import to_diopters
from ...capture.stack import EventFocalStack
from .. import metrics
from ..cases import Case, NotApplicable
from ..estimate import Estimate
from ..fill import fill
from ..metrics import Metrics
from .baselines.constant import Constant
from .breakdown import (
    ErrorBreakdown,
    Reliability,
    breakdown_of,
    classify,
    mean_breakdown,
    reliability_of,
    total_reliability,
)
from .methods import Method
from .risk import Risk, mean_risk, risk_of

LIGHT_LEVELS = (
    ("dim", "below 150 lux", 150.0),
    ("indoor", "150 to 600 lux", 600.0),
    ("bright", "above 600 lux", np.inf),
)
"""Names, descriptions and upper limits, in lux on a white surface of the scene."""

UNKNOWN_LIGHT = "unknown"

FILL_BINS = 24
"""Bins of the stack whose event density guides filling."""


@dataclass(frozen=True)
class FrameScore:
    """Scores of one method on one sweep."""

    method: str
    recording: str
    sweep: int
    light: str  # a name in LIGHT_LEVELS, or UNKNOWN_LIGHT
    everywhere: Metrics  # of the dense answer
    at_events: Metrics  # of the dense answer, at pixels with an event in the sweep
    without_events: Metrics  # of the dense answer, at the other pixels
    answered: Metrics  # of the method's own answers
    breakdown: ErrorBreakdown  # of the dense answer's error
    reliability: Reliability  # of the dense answer's predicted deviations
    risk: Risk  # of the dense answer
    milliseconds: float  # from events or frames to the method's own answer


@dataclass(frozen=True)
class Summary:
    """Scores of one method on many sweeps: means over each recording's sweeps, then over recordings."""

    recordings: int
    sweeps: int
    everywhere: Metrics
    at_events: Metrics
    without_events: Metrics
    answered: Metrics
    breakdown: ErrorBreakdown
    reliability: Reliability  # over the pixels of all sweeps
    risk: Risk
    milliseconds: float  # median


@dataclass(frozen=True)
class Evaluation:
    """Methods and their scores."""

    methods: tuple[str, ...]  # in the order given
    scores: tuple[FrameScore, ...]
    not_applicable: dict[str, tuple[int, str]]  # method → number of sweeps it was skipped for, and why
    skipped: tuple[tuple[str, str], ...] = ()  # unreadable recordings, and why

    @property
    def lights(self) -> tuple[str, ...]:
        """The light levels that occur, from dim to bright, unknown last."""
        present = {score.light for score in self.scores}
        return tuple(name for name in (*(level[0] for level in LIGHT_LEVELS), UNKNOWN_LIGHT) if name in present)

    def scores_of(self, method: str, light: str | None = None) -> list[FrameScore]:
        """The scores of one method, optionally at one light level."""
        return [s for s in self.scores if s.method == method and light in (None, s.light)]

    def summary(self, method: str, light: str | None = None) -> Summary:
        """The mean scores of one method, optionally at one light level.

        Raises:
            ValueError: there are no such scores.
        """
        return summarise(self.scores_of(method, light))


def evaluate(
    cases: Iterable[Case],
    methods: Sequence[Method],
    on_case: Callable[[Case], None] = lambda case: None,
) -> Evaluation:
    """Score every method on every case. `on_case` is called with each case after all methods have been scored on it.

    Raises:
        ValueError: two methods share a name.
    """
    names = tuple(method.name for method in methods)
    if len(set(names)) < len(names):
        raise ValueError(f"methods need different names, not {', '.join(names)}")
    scores: list[FrameScore] = []
    left_out: dict[str, tuple[int, str]] = {}
    for case in cases:
        scorer = CaseScorer.of(case)
        for method in methods:
            try:
                started = time.perf_counter()
                estimate = method(case)
                milliseconds = (time.perf_counter() - started) * 1e3
            except NotApplicable as error:
                count, reason = left_out.get(method.name, (0, str(error)))
                left_out[method.name] = (count + 1, reason)
                continue
            scores.append(scorer.judge(method.name, estimate, milliseconds))
        on_case(case)
    return Evaluation(names, tuple(scores), left_out)


def light_level(illuminance_lux: float | None) -> str:
    """The name of an illuminance's light level."""
    if illuminance_lux is None:
        return UNKNOWN_LIGHT
    return next(name for name, _, end in LIGHT_LEVELS if illuminance_lux <= end)


def summarise(scores: Sequence[FrameScore]) -> Summary:
    """Mean over the sweeps of each recording, then over recordings; the median for milliseconds.

    Raises:
        ValueError: there are no scores.
    """
    if not scores:
        raise ValueError("no scores to summarise")
    by_recording: dict[str, list[FrameScore]] = {}
    for score in scores:
        by_recording.setdefault(score.recording, []).append(score)
    groups = list(by_recording.values())

    def mean_of(part: Callable[[FrameScore], Metrics]) -> Metrics:
        return metrics.mean([metrics.mean([part(score) for score in group]) for group in groups])

    return Summary(
        recordings=len(groups),
        sweeps=len(scores),
        everywhere=mean_of(lambda score: score.everywhere),
        at_events=mean_of(lambda score: score.at_events),
        without_events=mean_of(lambda score: score.without_events),
        answered=mean_of(lambda score: score.answered),
        breakdown=mean_breakdown([mean_breakdown([score.breakdown for score in group]) for group in groups]),
        reliability=total_reliability([score.reliability for score in scores]),
        risk=mean_risk([mean_risk([score.risk for score in group]) for group in groups]),
        milliseconds=float(np.median([score.milliseconds for score in scores])),
    )


@dataclass(frozen=True)
class CaseScorer:
    """Scores methods on one case, whose ground truth and derived maps are computed once."""

    case: Case
    stack: EventFocalStack  # guides filling
    has_event: np.ndarray  # (H, W) bool
    classes: np.ndarray  # (H, W) uint8, index into breakdown.CLASSES
    true_diopters: np.ndarray  # (H, W) float64, NaN where unknown or outside the sweep range

    @classmethod
    def of(cls, case: Case) -> "CaseScorer":
        sweep = case.calibration.sweep
        diopters = to_diopters(case.truth.astype(np.float64))
        inside = (diopters >= sweep.far_diopters) & (diopters <= sweep.near_diopters)
        has_event = np.zeros(case.truth.shape, bool)
        has_event[case.events["y"], case.events["x"]] = True
        return cls(
            case,
            EventFocalStack.build(case.events, case.sweep, FILL_BINS, "interpolated"),
            has_event,
            classify(diopters, has_event, sweep.range_diopters),
            np.where(inside, diopters, np.nan),
        )

    def judge(self, method: str, estimate: Estimate, milliseconds: float) -> FrameScore:
        """Score one estimate."""
        case, calibration = self.case, self.case.calibration
        dense = self.fill(estimate)
        depth, std = dense.depth, dense.std
        everywhere = metrics.score(depth, case.truth, calibration, std)
        same = dense is estimate
        error = (dense.diopters - self.true_diopters) / calibration.sweep.range_diopters
        return FrameScore(
            method,
            case.recording,
            case.index,
            light_level(case.illuminance_lux),
            everywhere,
            metrics.score(depth, case.truth, calibration, std, self.has_event),
            metrics.score(depth, case.truth, calibration, std, ~self.has_event),
            everywhere if same else metrics.score(estimate.depth, case.truth, calibration, estimate.std),
            breakdown_of(error, self.classes),
            reliability_of(error, std / calibration.sweep.range_diopters),
            risk_of(error, std),
            milliseconds,
        )

    def fill(self, estimate: Estimate) -> Estimate:
        """Make an estimate dense; if it has no known pixel at all, use the constant baseline."""
        known = np.isfinite(estimate.diopters)
        if known.all():
            return estimate
        return fill(estimate, self.stack) if known.any() else Constant()(self.case)
