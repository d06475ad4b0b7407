"""Figures of a single case with an answer, and of the risk curves of methods."""

from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ...capture.optics import to_diopters
from ...capture.reporting.figures import ERROR_COLOURS, UNKNOWN, draw_depth, draw_events
from ...capture.stack import EventFocalStack
from ..cases import Case
from ..estimate import Estimate
from .risk import PARTS, Risk

ERROR_LIMIT = 0.3
"""Upper end of the colour scale of errors and deviations, as a fraction of the sweep range."""

_PANEL_INCHES = 2.6
_WHITE_PERCENTILE = 99.5
_BINS = 5


def case_figure(case: Case, own: Estimate, dense: Estimate) -> Figure:
    """Input, answer, ground truth, error and predicted deviation, each with its scale.

    The method's own answer is shown beside the filled one if they differ.
    """
    sweep = case.calibration.sweep
    sparse = not np.isfinite(own.diopters).all()
    photograph = case.intensity
    panels = 5 + sparse + (photograph is not None)
    aspect = case.truth.shape[0] / case.truth.shape[1]
    figure = Figure(figsize=(_PANEL_INCHES * panels, _PANEL_INCHES * aspect + 0.9), layout="constrained")
    axes = iter(figure.subplots(1, panels))

    if photograph is not None:
        axis = next(axes)
        white = max(float(np.percentile(photograph, _WHITE_PERCENTILE)), 1e-9)
        axis.imshow(photograph, cmap="gray", vmin=0, vmax=white)
        _finish(figure, axis, "all in focus", "radiance (white is 1)")
    axis = next(axes)
    stack = EventFocalStack.build(case.events, case.sweep, _BINS)
    draw_events(axis, stack.data[_BINS // 2])
    _finish(figure, axis, f"events around {_focus(stack.diopters[_BINS // 2])}", "ON − OFF events")
    ticks = np.linspace(sweep.far_diopters, sweep.near_diopters, 4)
    depths = ({"own answers": own.depth} if sparse else {}) | {"depth": dense.depth, "ground truth": case.truth}
    for title, depth in depths.items():
        axis = next(axes)
        draw_depth(axis, depth, sweep.far_diopters, sweep.near_diopters)
        _finish(figure, axis, title, "m", ticks.tolist(), [f"{1 / d:.2g}" if d > 0 else "∞" for d in ticks])
    error = np.abs(dense.diopters - to_diopters(case.truth)) / sweep.range_diopters
    for title, image in {"|error|": error, "predicted σ": dense.std / sweep.range_diopters}.items():
        axis = next(axes)
        axis.set_facecolor(UNKNOWN)
        axis.imshow(image, cmap=ERROR_COLOURS, vmin=0, vmax=ERROR_LIMIT)
        _finish(figure, axis, title, "of the sweep range")
    return figure


def risk_figure(risks: Mapping[str, Risk]) -> Figure:
    """Mean error over the fraction of pixels, most certain first, for each method; dashed: sorted by the true error."""
    figure = Figure(figsize=(6.4, 3.6), layout="constrained")
    axis = figure.subplots()
    share = 100 * np.arange(1, PARTS + 1) / PARTS
    for name, risk in risks.items():
        (line,) = axis.plot(share, 100 * np.array(risk.curve), label=name)
        axis.plot(share, 100 * np.array(risk.oracle), "--", color=line.get_color(), linewidth=0.8)
    axis.set_xlabel("pixels, most certain first, %")
    axis.set_ylabel("mean |error|, % of the sweep range")
    axis.set_xlim(0, 100)
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3)
    return figure


def _finish(
    figure: Figure, axis: Axes, title: str, unit: str, ticks: list[float] | None = None, labels: list[str] | None = None
) -> None:
    """Set the title, remove ticks, and add the colour bar of the latest image."""
    axis.set_title(title, fontsize=9)
    axis.set_xticks([])
    axis.set_yticks([])
    bar = figure.colorbar(axis.images[-1], ax=axis, location="bottom", shrink=0.9, aspect=25, pad=0.03)
    if ticks is not None:
        bar.set_ticks(ticks, labels=labels)
    bar.ax.tick_params(labelsize=7)
    bar.set_label(unit, fontsize=8)


def _focus(diopters: float) -> str:
    return f"{1 / diopters:.2f} m" if diopters > 0 else "infinity"
