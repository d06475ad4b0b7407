"""The tables of an evaluation as text, for terminal and HTML page."""

import math
from dataclasses import dataclass

from ..metrics import DELTAS
from .breakdown import CLASSES, EDGE_REACH_PX, EDGE_STEP, NORMAL_WITHIN, TEXTURE_REACH_PX
from .evaluate import LIGHT_LEVELS, Evaluation, Summary


@dataclass(frozen=True)
class Table:
    """A table of text with a title; `note` explains it."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""
    labels: int = 1  # number of leading columns with labels


def tables(evaluation: Evaluation) -> list[Table]:
    """All tables of an evaluation, the most important first."""
    return [
        _overview(evaluation),
        _everywhere(evaluation),
        _where_events_are(evaluation),
        _by_light(evaluation),
        _deviations(evaluation),
        _breakdown(evaluation),
        *([_absences(evaluation)] if evaluation.not_applicable else []),
    ]


def reliability_table(evaluation: Evaluation) -> Table:
    """Predicted deviations compared with actual errors."""
    rows = []
    for method, summary in _summaries(evaluation):
        for low, high, share, stated, seen in summary.reliability.table:
            ends = f"{_percent(low, 0)} to {_percent(high, 0)}" if math.isfinite(high) else f"over {_percent(low, 0)}"
            rows.append((method, ends, _percent(share, 0), _percent(stated), _percent(seen)))
    return Table(
        "Reliability: errors by predicted deviation",
        ("method", "predicted σ", "pixels", "predicted, rms", "error, rms"),
        tuple(rows),
        "Deviations and errors are root mean squares in % of the sweep range; they should agree in each row.",
        labels=2,
    )


def overview_row(summary: Summary) -> tuple[str, ...]:
    """Values of the OVERVIEW columns for one method."""
    one, two = summary.reliability.within_shares
    return (
        _percent(summary.everywhere.rmse_range),
        _percent(summary.at_events.mae_range),
        _percent(summary.breakdown.mae_range[0]),
        _percent(summary.without_events.mae_range),
        *(_percent(summary.risk.surest(share)) for share in (0.75, 0.5, 0.25)),
        _percent(one, 0),
        _percent(two, 0),
        _percent(summary.reliability.calibration_error),
        _number(summary.risk.ause, 2),
    )


OVERVIEW = (
    *("RMSE", "at events", "near edges", "no events", "surest 75 %", "surest 50 %", "surest 25 %"),
    *("within 1 σ", "within 2 σ", "calibration", "AUSE"),
)


def _overview(evaluation: Evaluation) -> Table:
    rows = [(method, *overview_row(summary)) for method, summary in _summaries(evaluation)]
    columns = ("method", *OVERVIEW)
    return Table(
        "Errors and uncertainty",
        columns,
        (*rows, *_unanswered(evaluation, columns)),
        "Errors in % of the sweep range, with gaps filled: RMSE over all pixels, then means; surest: the pixels with "
        f"the smallest predicted σ. Of normal errors, {_percent(NORMAL_WITHIN[0], 0)} and "
        f"{_percent(NORMAL_WITHIN[1], 0)} are within 1 and 2 σ; calibration: mean difference of predicted and actual "
        "error; AUSE: area between the risk curve and an ideal one, relative to the mean error; 0 is best.",
    )


def _everywhere(evaluation: Evaluation) -> Table:
    columns = ("method", "sweeps", "AbsRel", "RMSE", "MAE", "RMSE 1/m", "MAE 1/m", *_DELTA_COLUMNS, "ms")
    rows = [
        (
            method,
            str(s.sweeps),
            _number(s.everywhere.abs_rel),
            _percent(s.everywhere.rmse_range),
            _percent(s.everywhere.mae_range),
            _number(s.everywhere.rmse),
            _number(s.everywhere.mae),
            *(_number(d, 2) for d in s.everywhere.delta),
            f"{s.milliseconds:.1f}",
        )
        for method, s in _summaries(evaluation)
    ]
    return Table(
        "Everywhere",
        columns,
        (*rows, *_unanswered(evaluation, columns)),
        "All pixels whose true depth is inside the sweep range; gaps are filled from their surroundings. RMSE and "
        "MAE in % of the sweep range or in 1/m, AbsRel in metres; means over sweeps, then recordings. ms: median "
        "time from events or frames to the estimate, before filling.",
    )


def _where_events_are(evaluation: Evaluation) -> Table:
    rows = [
        (
            method,
            _number(s.at_events.abs_rel),
            _percent(s.at_events.rmse_range),
            _percent(s.at_events.mae_range),
            _number(s.at_events.mae),
            _percent(s.answered.coverage, 0),
            _number(s.answered.abs_rel),
            _percent(s.answered.rmse_range),
            _percent(s.answered.mae_range),
            _percent(s.answered.median_range),
        )
        for method, s in _summaries(evaluation)
    ]
    columns = ("method", "AbsRel", "RMSE", "MAE", "MAE 1/m")
    own = ("answers", "own AbsRel", "own RMSE", "own MAE", "own median")
    columns += own
    return Table(
        "At event pixels, and at the method's own answers",
        columns,
        (*rows, *_unanswered(evaluation, columns)),
        "Left: pixels with at least one event in the sweep. Right (own): pixels that the method answered without "
        "filling, and their fraction of all pixels.",
    )


def _by_light(evaluation: Evaluation) -> Table:
    meaning = {name: f"{name}, {what}" for name, what, _ in LIGHT_LEVELS}
    rows = [
        (
            meaning.get(light, light),
            method,
            str(s.sweeps),
            _number(s.everywhere.abs_rel),
            _percent(s.everywhere.rmse_range),
            _percent(s.everywhere.mae_range),
            _percent(s.at_events.mae_range),
            _percent(s.answered.coverage, 0),
        )
        for light in evaluation.lights
        for method, s in _summaries(evaluation, light)
    ]
    columns = ("light", "method", "sweeps", "AbsRel", "RMSE", "MAE", "MAE at events", "answers")
    note = "Illuminance of a white surface in the scene. Errors over all pixels, in % of the sweep range."
    return Table("By light level", columns, tuple(rows), note, labels=2)


def _deviations(evaluation: Evaluation) -> Table:
    rows = []
    for method, s in _summaries(evaluation):
        one, two = s.reliability.within_shares
        outside = s.everywhere
        rows.append(
            (
                method,
                _percent(one, 0),
                _percent(two, 0),
                _number(s.everywhere.std_ratio, 2),
                f"{outside.n_outside:,}",
                _percent(outside.outside_mae_range),
                _percent(outside.outside_std_range),
            )
        )
    expected = f"{_percent(NORMAL_WITHIN[0], 0)} and {_percent(NORMAL_WITHIN[1], 0)}"
    return Table(
        "Predicted deviations, and surfaces outside the sweep range",
        ("method", "within 1 σ", "within 2 σ", "error over σ", "outside, pixels", "outside, MAE", "outside, σ"),
        tuple(rows),
        f"Of normal errors, {expected} are within 1 and 2 σ, and the median of error over σ is 1 (as scaled here). "
        "Outside the range, the correct answer is its nearer end, with a large σ.",
    )


def _breakdown(evaluation: Evaluation) -> Table:
    rows = []
    for method, s in _summaries(evaluation):
        parts = zip(CLASSES, s.breakdown.pixels, s.breakdown.mae_range, s.breakdown.squared, strict=True)
        rows += [(method, name, _percent(n, 0), _percent(mae), _percent(squared, 0)) for name, n, mae, squared in parts]
    return Table(
        "Error breakdown",
        ("method", "where", "pixels", "MAE", "of squared error"),
        tuple(rows),
        f"Near depth edges: within {EDGE_REACH_PX} px of a step of more than {_percent(EDGE_STEP, 0)} of the range. "
        f"Textureless: no event within {TEXTURE_REACH_PX} px. MAE in % of the sweep range.",
        labels=2,
    )


def _absences(evaluation: Evaluation) -> Table:
    rows = [(method, str(count), reason) for method, (count, reason) in evaluation.not_applicable.items()]
    return Table("Skipped", ("method", "sweeps", "first reason"), tuple(rows), labels=3)


def _summaries(evaluation: Evaluation, light: str | None = None) -> list[tuple[str, Summary]]:
    """The methods that have scores, with their summaries."""
    names = [method for method in evaluation.methods if evaluation.scores_of(method, light)]
    return [(name, evaluation.summary(name, light)) for name in names]


def _unanswered(evaluation: Evaluation, columns: tuple[str, ...]) -> list[tuple[str, ...]]:
    """Empty rows of the methods without scores, so that every requested method is listed."""
    return [(m, *("–",) * (len(columns) - 1)) for m in evaluation.methods if not evaluation.scores_of(m)]


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"


def _percent(value: float, digits: int = 1) -> str:
    return f"{100 * value:.{digits}f} %" if math.isfinite(value) else "–"


_DELTA_COLUMNS = tuple(f"δ<{limit:g}" for limit in DELTAS)
