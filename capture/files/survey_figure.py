"""Figure of a recording's overview, as drawn by `sweepdepth info RECORDING --picture`."""

import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from ..events import RISING
from ..reporting.figures import ACTIVITY_COLOURS, OFF_COLOUR, ON_COLOUR, bare, draw_events, focus_text
from ..sweeps import Direction
from .survey import Rates, Survey

_MOST_MARKED = 40  # triggers; more of them would hide the rates


def recording_figure(survey: Survey) -> Figure:
    """Event rates over time with the sweeps found, the bins of the first sweep, and each pixel's activity.

    For a recording much longer than its first sweeps, one row shows the whole and one the beginning.

    Args:
        survey: of the recording, from `capture.files.survey.survey`.

    Returns:
        A matplotlib figure.
    """
    long = survey.whole is not None and survey.beginning is not None and survey.whole.cell_us > survey.beginning.cell_us
    rates = [r for r in ((survey.whole, survey.beginning) if long else (survey.beginning,)) if r is not None]
    stack = survey.stack
    aspect = survey.height / survey.width
    columns, rows = 6, 2  # twice five bins, and the activity
    montage = rows * (12 / columns * aspect + 0.3) + 0.4
    figure = Figure(figsize=(12, 2.6 * len(rates) + montage), layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[max(2.6 * len(rates), 0.1), montage])[:, 0]
    title = f"{survey.path.name}: {survey.n_events:,} events, {survey.width}×{survey.height} pixels, "
    title += f"{len(survey.sweeps)} sweeps" if survey.sweeps else "no sweeps"
    figure.suptitle("\n".join([title, *textwrap.wrap(survey.trouble, 130)]), fontsize=11)
    for axis, rate in zip(parts[0].subplots(len(rates), 1, squeeze=False)[:, 0] if rates else (), rates, strict=True):
        _draw_rates(axis, rate, survey)
    # Without a stack, activity gets the remaining space.
    grid = parts[1].subplots(*((rows, columns) if stack is not None else (1, 1)), squeeze=False)
    for axis in grid.ravel():
        axis.axis("off")
    if stack is not None:
        for axis, image, focus in zip(grid[:, :-1].ravel(), stack.signed(), stack.diopters, strict=False):
            axis.axis("on")
            draw_events(axis, image)
            axis.set_title(f"focus at {focus_text(focus)}", fontsize=9)
    axis = grid[0, -1]
    axis.axis("on")
    image = axis.imshow(np.log10(np.maximum(survey.activity, 1)), cmap=ACTIVITY_COLOURS, vmin=0)
    axis.set_title("all events", fontsize=9)
    bare(axis)
    scale = axis.inset_axes((0, -0.14, 1, 0.06))
    scale.set_in_layout(False)  # otherwise it would push the second row down
    bar = figure.colorbar(image, cax=scale, orientation="horizontal")
    largest = np.log10(max(int(survey.activity.max(initial=1)), 1))
    powers = np.arange(int(largest) + 1)
    bar.set_ticks(powers.tolist(), labels=[f"{10**power:,}" for power in powers])
    if powers[-1] > 0.9 * largest > 0:
        bar.ax.get_xticklabels()[-1].set_horizontalalignment("right")  # the figure ends here
    bar.set_label("events a pixel", fontsize=8)
    return figure


def _draw_rates(axis: Axes, rates: Rates, survey: Survey) -> None:
    start, span = rates.start_us, max(rates.counts.shape[1], 1) * rates.cell_us * 1e-6
    inside = [s for s in survey.sweeps if (s.start_us - start) * 1e-6 < span]
    per_second = rates.per_second
    top = max(float(per_second.max(initial=0)) * 1.25, 1.0)
    for polarity, colour, name in ((1, ON_COLOUR, "ON, brighter"), (0, OFF_COLOUR, "OFF, darker")):
        axis.plot(rates.times_s, per_second[polarity], color=colour, linewidth=0.9, label=name)
    for number, sweep in enumerate(inside):
        begin, end = ((t - start) * 1e-6 for t in (sweep.start_us, sweep.end_us))
        axis.axvspan(begin, end, color="0.93" if number % 2 else "0.97", linewidth=0, zorder=0)
        if len(inside) <= 12:
            text = "far→near" if sweep.direction == Direction.FAR_TO_NEAR else "near→far"
            axis.text((begin + end) / 2, 0.97 * top, text, ha="center", va="top", fontsize=8, color="0.3")
    if len(inside) <= _MOST_MARKED:
        times = (survey.triggers["timestamp"] - start) * 1e-6
        for edge, marker, name in ((RISING, "^", "trigger, rising"), (3 - RISING, "v", "trigger, falling")):
            at = times[(survey.triggers["edge"] == edge) & (times <= span)]
            if len(at):
                axis.plot(at, np.zeros(len(at)), marker, color="0.2", markersize=6, clip_on=False, label=name)
    axis.set(xlim=(0, span), ylim=(0, top), xlabel="time since the first event (s)", ylabel="events/s")
    axis.yaxis.set_major_formatter(EngFormatter(sep=""))
    axis.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize=8, frameon=False)
