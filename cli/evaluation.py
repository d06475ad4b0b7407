"""`sweepdepth eval`"""

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table as RichTable

from .extras import require
from .interruption import exit_unless_all
from .options import DebugOption, EstimatorName, ForceOption, JsonOption
from .output import print_json, progress_bar, say

if TYPE_CHECKING:
    from ..net.evaluation.methods import Method
    from ..net.evaluation.tables import Table

_WIDTH = 150  # of tables written to a file


def evaluate(
    data: Annotated[Path, typer.Option("--data", help="A dataset, a folder of recordings with depth, or a file.")],
    weights: Annotated[
        list[Path] | None,
        typer.Option("--weights", metavar="FILE|NAME", help="Weights of a network; can be repeated."),
    ] = None,
    baselines: Annotated[
        list[str] | None,
        typer.Option(
            "--baselines",
            metavar="NAME[=PATH],…",
            help="polarity, focus, coupled, constant (all: these four); paper, edff, edfv, frames, edges, single, "
            "prior with =WEIGHTS; apertures=WEIGHTS of prior, or a folder of relative depth.",
        ),
    ] = None,
    estimator: Annotated[
        EstimatorName | None, typer.Option(help="Estimator, in addition to --weights; default: net if installed.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for evaluation.json and evaluation.html.")] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Evaluate only this many recordings, evenly spread.")
    ] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Evaluate depth against ground truth: prints tables; --out adds a JSON file and an HTML report."""
    from .. import __version__
    from ..capture.errors import RecordingError
    from ..net.cases import LabelledRecording, cases_of, find_sources, load_case
    from ..net.evaluation.evaluate import evaluate
    from ..net.evaluation.report import ReportFolder
    from ..net.evaluation.report import as_json as to_json
    from ..net.evaluation.tables import tables

    named = _baselines(baselines or [])
    methods = _methods(weights or [], named, estimator)
    sources = find_sources(data)
    if limit is not None and limit < len(sources):
        sources = [sources[k * len(sources) // limit] for k in range(limit)]
    skipped: list[tuple[str, str]] = []

    def skip(source: LabelledRecording, reason: str) -> None:
        skipped.append((source.name, reason))
        say(f"skipped {source.name}: {reason}")

    about = {"data": str(data), "version": __version__}
    number = {source.name: k for k, source in enumerate(sources, 1)}
    with nullcontext() if out is None else ReportFolder(out, force=force) as folder:
        with progress_bar(data.name, len(sources), "recordings") as advance:
            evaluation = evaluate(cases_of(sources, skip), methods, lambda case: advance(number[case.recording]))
        if len(skipped) == len(sources):
            raise RecordingError(f"{data}: none of its recordings could be read; the first: {skipped[0][1]}")
        evaluation = replace(evaluation, skipped=tuple(skipped))
        if folder is not None:
            with progress_bar("pictures", 1.0, "pictures") as advance:
                folder.write(
                    evaluation,
                    about,
                    methods,
                    lambda recording, sweep: load_case(sources, recording, sweep),
                    lambda done, total: advance(done / total),
                )
    if as_json:
        summary = to_json(evaluation, about)
        del summary["sweeps"]
        print_json(summary)
    else:
        _print([*tables(evaluation), *_sources(named)])
        if folder is not None:
            say(f"written {folder.json_path} and {folder.html_path}")
    exit_unless_all(len(sources) - len(skipped), len(skipped))


def _baselines(asked: list[str]) -> dict[str, Path | None]:
    """The requested baselines by name, each with its path.

    Raises: BadParameter: a name is unknown, or a path is missing or superfluous.
    """
    from ..net.evaluation.baselines import BASELINES, READY

    found: dict[str, Path | None] = {}
    for word in ",".join(asked).split(",") if asked else ():
        name, given, path = word.partition("=")
        if word == "all":
            found |= dict.fromkeys(READY)
        elif name not in BASELINES:
            raise typer.BadParameter(f"--baselines {word}: there is no such baseline; there are {', '.join(BASELINES)}")
        elif name in READY and given:
            raise typer.BadParameter(f"--baselines {word}: {name} needs no file; give its name alone")
        elif name not in READY and not path:
            preset, relative = BASELINES[name].preset, BASELINES[name].relative
            what = f"{name}=WEIGHTS of the preset prior, or of a folder" if relative else f"{name}=WEIGHTS"
            raise typer.BadParameter(
                f"--baselines {word}: needs {what}; train them with: sweepdepth train --preset {preset or 'prior'}"
            )
        else:
            found[name] = Path(path) if path else None
    return found


def _made(name: str, path: Path | None) -> "list[Method]":
    """The methods of a baseline."""
    from ..net.evaluation.baselines import BASELINES

    baseline = BASELINES[name]
    if baseline.methods is not None:
        return list(baseline.methods())
    assert path is not None
    if not baseline.relative:
        return [_network(path, name)]
    require("train", "torch")
    from ..net.evaluation.baselines.apertures import TwoApertures
    from ..net.evaluation.baselines.relative import FromMethod, open_relative

    relative = open_relative(path) if path.is_dir() else FromMethod(_network(path))
    return [TwoApertures(relative, whole=False), TwoApertures(relative)]


def _sources(named: dict[str, Path | None]) -> "list[Table]":
    """Citations of the baselines."""
    from ..net.evaluation.baselines import BASELINES
    from ..net.evaluation.tables import Table

    rows = tuple((name, BASELINES[name].sees, BASELINES[name].source) for name in named)
    return [Table("Baselines", ("baseline", "sees", "from"), rows, labels=3)] if rows else []


def _methods(weights: list[Path], baselines: dict[str, Path | None], estimator: EstimatorName | None) -> "list[Method]":
    """The methods to evaluate, the best first; without a network, polarity reversal instead."""
    from ..capture.errors import SweepdepthError
    from ..net.estimators import make_estimator
    from ..net.evaluation.methods import EstimatorMethod

    polarity = EstimatorMethod(make_estimator("polarity"))
    stems = [path.stem for path in weights]
    labels = [path.stem if stems.count(path.stem) == 1 else str(path) for path in weights]
    methods = [_network(path, label) for path, label in zip(weights, labels, strict=True)]
    if estimator == EstimatorName.NET:
        methods.append(_network(None))
    elif estimator == EstimatorName.POLARITY:
        methods.append(polarity)
    elif not weights:
        try:
            methods.append(_network(None))
        except SweepdepthError as error:
            say(f"no network: {error}")
            methods.append(polarity)
    for name, path in baselines.items():
        methods += _made(name, path)
    return _each_once(methods)


def _each_once(methods: "list[Method]") -> "list[Method]":
    """Remove duplicates and make names unique, since weights may be named like another method."""
    from ..net.evaluation.methods import Renamed

    found: dict[str, Method] = {}
    for method in methods:
        name, number = method.name, 2
        if method in found.values():
            continue
        while name in found:
            name, number = f"{method.name} ({number})", number + 1
        found[name] = method if name == method.name else Renamed(method, name)
    return list(found.values())


def _network(path: Path | None, label: str | None = None) -> "Method":
    from ..net.engines import require_engine
    from ..net.evaluation.methods import as_method
    from ..net.network import load_network

    network = load_network(path)
    require_engine()
    return as_method(network, label)


def _print(found: "list[Table]") -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else _WIDTH)
    for table in found:
        shown = RichTable(
            title=table.title, title_justify="left", caption=table.note, caption_justify="left", box=SIMPLE_HEAD
        )
        for k, name in enumerate(table.columns):
            shown.add_column(name, justify="left" if k < table.labels else "right")
        for row in table.rows:
            shown.add_row(*row)
        console.print(shown)
        console.print()
