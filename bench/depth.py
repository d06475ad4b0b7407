"""Depth of recordings with ground truth: coverage and errors of an estimator, with and without filling.

A folder holds NAME.aedat4 or NAME.h5, NAME.toml (the calibration) and NAME_depth.npy (metres, float32) for each.
"""

import argparse
import tempfile
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from sweepdepth import Calibration
from sweepdepth.capture.depth_file import read_depth_file
from sweepdepth.net import metrics
from sweepdepth.net.estimators import NAMES, default_estimator
from sweepdepth.stream.replay import replay


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--estimator", choices=NAMES, default=default_estimator())
    options = parser.parse_args()
    columns = ("recording", "coverage", "median", "mean", "mean, 1/m", "AbsRel", "δ<1.25", "|error|/std")
    table = Table(title=f"{options.estimator}: mean over sweeps, where it answers; errors as parts of the sweep range")
    for column in columns:
        table.add_column(column, justify="left" if column == "recording" else "right")
    for truth_path in sorted(options.folder.glob("*_depth.npy")):
        name = truth_path.name.removesuffix("_depth.npy")
        calibration, truth = Calibration.load(options.folder / f"{name}.toml"), np.load(truth_path)
        recording = next(p for s in (".aedat4", ".h5") if (p := options.folder / f"{name}{s}").exists())
        for filling in (False, True):
            with tempfile.TemporaryDirectory() as folder:
                out = Path(folder) / "depth.h5"
                replay(recording, calibration, out=out, estimator=options.estimator, filling=filling)
                frames = read_depth_file(out)
            m = metrics.mean(
                [metrics.score(d, truth, calibration, s) for d, s in zip(frames.depth, frames.std, strict=True)]
            )
            table.add_row(
                f"{name}, filled" if filling else name,
                f"{m.coverage:.1%}",
                f"{m.median_range:.3f}",
                f"{m.mae_range:.3f}",
                f"{m.mae:.3f}",
                f"{m.abs_rel:.3f}",
                f"{m.delta[2]:.2f}",
                f"{m.std_ratio:.2f}",
            )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
