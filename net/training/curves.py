"""Curves of a run, `curves.png`, and a page with losses and errors, `training.html`; updated after every epoch."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ...capture.atomic import PartialFile
from ...capture.reporting import html

CURVES, PAGE = "curves.png", "training.html"
REFRESH_S = 30
"""Time after which a browser reads the page of an unfinished run again."""

_ERRORS = {
    "val_rmse": ("network", "-"),
    "val_constant": ("constant", ":"),
    "val_shipped": ("shipped weights", "--"),
}


def curves_figure(history: Sequence[dict[str, Any]]) -> Figure:
    """Training loss, and validation RMSE compared with a constant and the shipped weights.

    Args:
        history: one row per epoch: `step`, `loss` and, if measured, `val_rmse`, `val_constant` and `val_shipped` as
            fractions of the range.
    """
    figure = Figure(figsize=(6.4, 5.6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    above.plot([row["step"] for row in history], [row["loss"] for row in history], ".-")
    above.set_ylabel("training loss")
    for name, (label, line) in _ERRORS.items():
        rows = [row for row in history if name in row]
        if rows:
            below.plot([row["step"] for row in rows], [100 * row[name] for row in rows], line, marker=".", label=label)
    below.set_xlabel("step")
    below.set_ylabel("validation RMSE (% of the range)")
    below.set_ylim(bottom=0)
    if below.has_data():
        below.legend(fontsize=8)
    for axis in (above, below):
        axis.grid(alpha=0.3)
    return figure


_COLUMNS = {
    "val_rmse": "RMSE",
    "val_constant": "of a constant",
    "val_shipped": "of the shipped weights",
    "val_mae_events": "mean error at events",
}


def write_curves(history: Sequence[dict[str, Any]], run: Path, steps: int) -> None:
    """Replace `curves.png` and `training.html` in the folder of a run atomically; `steps` is the length of the run."""
    picture = io.BytesIO()
    curves_figure(history).savefig(picture, format="png", dpi=100)
    with PartialFile(run / CURVES, force=True) as partial:
        partial.write_bytes(picture.getbuffer())
    step = history[-1]["step"]
    measured = {name: shown for name, shown in _COLUMNS.items() if any(name in row for row in history)}
    rows = [
        [
            f"{row['step']:,}",
            f"{row['loss']:.4f}",
            *(f"{100 * row[name]:.2f} %" if name in row else "" for name in measured),
            f"{row['samples_per_s']:.0f}",
            f"{100 * row['loader_share']:.0f} %",
        ]
        for row in reversed(history)
    ]
    columns = ["step", "training loss", *measured.values(), "samples/s", "of the time loading"]
    page = html.page(
        f"Training {run.resolve().name}",
        [
            html.paragraph(
                f"Step {step:,} of {steps:,}. Errors are of the validation sweeps, in percent of the range."
            ),
            html.picture("Training loss and validation error", picture.getvalue()),
            html.table(columns, rows, "Epochs", "The latest comes first."),
        ],
        refresh_s=None if step >= steps else REFRESH_S,
    )
    with PartialFile(run / PAGE, force=True) as partial:
        partial.write_text(page, encoding="utf-8")
