"""Depth of recordings with ground truth: errors of each estimator, and calibration of its uncertainty.

    ./run bench depth FOLDER [FOLDER …] [--weights F …]

A folder holds NAME.aedat4 or NAME.h5, NAME.toml (the calibration) and NAME_depth.npy (metres, float32) for each, or
is a dataset. Errors are those of `sweepdepth eval`; see the notes of its tables.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from rich.console import Console
from rich.table import Table

from sweepdepth.net.cases import find_cases
from sweepdepth.net.estimators import make_estimator
from sweepdepth.net.evaluation.evaluate import Evaluation, evaluate
from sweepdepth.net.evaluation.methods import EstimatorMethod, Method, as_method
from sweepdepth.net.evaluation.tables import OVERVIEW, overview_row
from sweepdepth.net.network import load_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--weights", nargs="*", type=Path, default=[], help="networks besides the one that ships")
    parser.add_argument("--fuse", nargs="*", default=[], help="also the network on so many sweeps together, or auto")
    options = parser.parse_args()
    methods: list[Method] = [as_method(load_network())]
    for fuse in options.fuse:
        together = make_estimator("net", fuse="auto" if fuse == "auto" else int(fuse))
        methods.append(EstimatorMethod(together, f"net, fused {fuse}"))
    methods += [as_method(load_network(path), path.stem) for path in options.weights]
    methods.append(EstimatorMethod(make_estimator("polarity")))
    for folder in options.folders:
        found = evaluate(find_cases(folder), methods)
        for method in found.methods:
            _print(f"{folder.name}: {method}", found, method)


def _print(title: str, found: Evaluation, method: str) -> None:
    table = Table(title=title, title_justify="left")
    for column in ("recording", *OVERVIEW, "answers", "own median"):
        table.add_column(column, justify="left" if column == "recording" else "right")
    names = list(dict.fromkeys(score.recording for score in found.scores))
    for name in [*names, None]:
        chosen = tuple(score for score in found.scores if name in (None, score.recording))
        summary = replace(found, scores=chosen).summary(method)
        own = summary.answered
        table.add_row(name or "mean", *overview_row(summary), f"{own.coverage:.0%}", f"{100 * own.median_range:.1f} %")
    Console(width=170).print(table)


if __name__ == "__main__":
    main()
