"""Curves of a run's losses and errors: `curves.png`, updated after every epoch."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ...capture.atomic import PartialFile

CURVES = "curves.png"

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


def write_curves(history: Sequence[dict[str, Any]], run: Path) -> None:
    """Replace `curves.png` in the folder of a run atomically."""
    picture = io.BytesIO()
    curves_figure(history).savefig(picture, format="png", dpi=100)
    with PartialFile(run / CURVES, force=True) as partial:
        partial.write_bytes(picture.getbuffer())
