"""The report of an evaluation, `evaluation.json` and `evaluation.html`, written atomically."""

import io
import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...capture.atomic import PartialFile, make_folder
from ...capture.errors import RecordingError
from ...capture.reporting import html
from ..cases import Case
from .breakdown import CLASSES, STD_EDGES
from .case_pictures import case_figure, risk_figure
from .evaluate import CaseScorer, Evaluation
from .methods import Method
from .tables import reliability_table, tables

SCHEMA = "sweepdepth-evaluation/1"
JSON_NAME, HTML_NAME = "evaluation.json", "evaluation.html"
_DPI = 80


@dataclass(frozen=True)
class ExampleRecording:
    """A recording shown as an example of a method's results."""

    method: str
    place: str  # "best", "median" or "worst"
    recording: str
    sweep: int
    rmse_range: float  # over all pixels, mean over the recording's sweeps


def example_recordings(evaluation: Evaluation) -> list[ExampleRecording]:
    """The best, median and worst recording of each method, by mean RMSE over the sweeps, without duplicates."""
    found = []
    for method in evaluation.methods:
        by_recording: dict[str, list[tuple[float, int]]] = {}
        for score in evaluation.scores_of(method):
            if not math.isnan(score.everywhere.rmse_range):
                by_recording.setdefault(score.recording, []).append((score.everywhere.rmse_range, score.sweep))
        ranked = sorted((float(np.mean([e for e, _ in rows])), name) for name, rows in by_recording.items())
        if ranked:
            places = {len(ranked) // 2: "median", len(ranked) - 1: "worst", 0: "best"}
            for rank, place in sorted(places.items()):
                error, name = ranked[rank]
                found.append(ExampleRecording(method, place, name, by_recording[name][0][1], error))
    return found


def as_json(evaluation: Evaluation, about: dict[str, Any]) -> dict[str, Any]:
    """Convert an evaluation to JSON values, with null for non-finite numbers. `about` is added unchanged."""
    return _plain(
        {
            "schema": SCHEMA,
            **about,
            "classes": CLASSES,
            "std_edges": STD_EDGES,
            "methods": {
                method: {
                    "all": _summary(evaluation, method, None),
                    "by_light": {light: _summary(evaluation, method, light) for light in evaluation.lights},
                }
                for method in evaluation.methods
            },
            "not_applicable": {
                method: {"sweeps": count, "reason": reason}
                for method, (count, reason) in evaluation.not_applicable.items()
            },
            "skipped": [{"recording": name, "reason": reason} for name, reason in evaluation.skipped],
            "sweeps": [asdict(score) for score in evaluation.scores],
        }
    )


class ReportFolder:
    """The folder of a report, a context manager: checked for writing on entry, filled by `write`.

    Raises:
        RecordingError: a report exists and `force` is not given, or the folder cannot be created or written.
    """

    def __init__(self, folder: str | Path, *, force: bool = False) -> None:
        self.folder = Path(folder)
        self.json_path, self.html_path = self.folder / JSON_NAME, self.folder / HTML_NAME
        make_folder(self.folder)
        with ExitStack() as resources:
            self._json = PartialFile(self.json_path, force)
            resources.callback(self._json.discard)
            self._html = PartialFile(self.html_path, force)
            resources.callback(self._html.discard)
            self._resources = resources.pop_all()

    def __enter__(self) -> "ReportFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self._resources.close()

    def write(
        self,
        evaluation: Evaluation,
        about: dict[str, Any],
        methods: Sequence[Method],
        load: Callable[[str, int], Case],
        on_picture: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """Write both files. For the pictures, `load` reloads cases by recording and sweep, and methods are run again.

        Raises:
            RecordingError: they cannot be written.
        """
        chosen = example_recordings(evaluation)
        pictures = []
        for number, (example, png) in enumerate(_draw(chosen, methods, load), 1):
            pictures.append((example, png))
            on_picture(number, len(chosen))
        text = json.dumps(as_json(evaluation, about), ensure_ascii=False, allow_nan=False, indent=1)
        _fill(self._json, text + "\n")
        _fill(self._html, page(evaluation, about, pictures))
        self._json.commit()
        self._html.commit()


def page(evaluation: Evaluation, about: dict[str, Any], pictures: Sequence[tuple[ExampleRecording, bytes]]) -> str:
    """The HTML page with embedded pictures: chart, examples and tables."""
    recordings = len({score.recording for score in evaluation.scores})
    facts = [*(f"{name}: {value}" for name, value in about.items()), f"recordings: {recordings}"]
    parts = [html.paragraph(" · ".join(facts)), html.picture("Risk against coverage", risk_picture(evaluation))]
    parts.append(html.heading("Best, median and worst"))
    parts.append(html.paragraph("By RMSE over all pixels, mean over the recording's sweeps."))
    for example, png in pictures:
        title = (
            f"{example.method}, {example.place}: {example.recording}, sweep {example.sweep} "
            f"(RMSE {100 * example.rmse_range:.1f} % of the sweep range)"
        )
        parts.append(html.picture(title, png))
    for table in (*tables(evaluation), reliability_table(evaluation)):
        parts.append(html.table(table.columns, table.rows, table.title, table.note, table.labels))
    if evaluation.skipped:
        parts += [html.heading("Skipped"), html.listing([f"{name}: {why}" for name, why in evaluation.skipped])]
    return html.page("Depth against ground truth", parts)


def risk_picture(evaluation: Evaluation) -> bytes:
    """The risk curves of all methods, as PNG."""
    buffer = io.BytesIO()
    risk_figure({m: evaluation.summary(m).risk for m in evaluation.methods if evaluation.scores_of(m)}).savefig(
        buffer, format="png", dpi=_DPI
    )
    return buffer.getvalue()


def _draw(
    chosen: Sequence[ExampleRecording], methods: Sequence[Method], load: Callable[[str, int], Case]
) -> Iterator[tuple[ExampleRecording, bytes]]:
    by_name = {method.name: method for method in methods}
    for example in chosen:
        case = load(example.recording, example.sweep)
        own = by_name[example.method](case)
        buffer = io.BytesIO()
        case_figure(case, own, CaseScorer.of(case).fill(own)).savefig(buffer, format="png", dpi=_DPI)
        yield example, buffer.getvalue()


def _summary(evaluation: Evaluation, method: str, light: str | None) -> dict[str, Any] | None:
    if not evaluation.scores_of(method, light):
        return None
    summary = evaluation.summary(method, light)
    return asdict(summary) | {"within_std": summary.reliability.within_shares}


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _fill(partial: PartialFile, text: str) -> None:
    try:
        partial.path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise RecordingError(f"{partial.target}: cannot be written: {error.strerror or error}") from error
