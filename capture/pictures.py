"""Pictures of stacks and depth, for reports and talks. Colour maps are readable without colour vision."""

import io
import textwrap
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

from .errors import RecordingError
from .events import RISING
from .optics import to_diopters
from .recordings.atomic import PartialFile, check_target
from .stack import EventFocalStack
from .survey import Rates, Survey
from .sweeps import Direction

DEPTH_COLOURS = "viridis"
EVENT_COLOURS = "PuOr"
ERROR_COLOURS = "magma"
ACTIVITY_COLOURS = "cividis"
ON_COLOUR, OFF_COLOUR = "#5e3c99", "#e66101"  # those of EVENT_COLOURS
UNKNOWN = "0.85"
_MOST_MARKED = 40  # triggers; more of them would hide the rates


def stack_figure(stack: EventFocalStack) -> Figure:
    """All bins of a stack side by side, far to near: orange where it got darker, purple where brighter."""
    columns = min(5, stack.bins)
    rows = -(-stack.bins // columns)
    camera = stack.sweep.calibration.camera
    aspect = camera.height / camera.width
    figure = Figure(figsize=(3 * columns, 3 * rows * aspect + 1), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis, image, focus in zip(axes, stack.signed(), stack.diopters, strict=False):
        draw_events(axis, image)
        axis.set_title(_focus(focus), fontsize=9)
    for axis in axes[stack.bins :]:
        axis.set_visible(False)
    direction = stack.sweep.direction.name.lower().replace("_", " ")
    figure.suptitle(f"Event focal stack: {stack.n_events:,} events, {direction}")
    return figure


def depth_figure(
    stack: EventFocalStack,
    depths: Mapping[str, np.ndarray],  # title → (H, W) metres, NaN where unknown
    truth: np.ndarray | None = None,  # (H, W) metres
) -> Figure:
    """Three bins of the stack above; below the depth maps and, where there is truth, it and the error."""
    sweep = stack.sweep.calibration.sweep
    camera = stack.sweep.calibration.camera
    panels = len(depths) + (0 if truth is None else 1 + len(depths))
    width, aspect = 3.4 * panels, camera.height / camera.width
    heights = [0.25 * width * aspect + 0.4, width / panels * aspect + 1.2]
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]

    signed = stack.signed()
    for axis, bin_ in zip(
        above.subplots(1, 3), np.linspace(0, stack.bins - 1, 5).round().astype(int)[1:4], strict=True
    ):
        draw_events(axis, signed[max(0, bin_ - 1) : bin_ + 2].sum(axis=0))
        axis.set_title(f"events around {_focus(stack.diopters[bin_])}")

    axes = np.atleast_1d(below.subplots(1, panels))
    maps = dict(depths) | ({} if truth is None else {"truth": truth})
    image = None
    for axis, (title, depth) in zip(axes, maps.items(), strict=False):
        image = draw_depth(axis, depth, sweep.far_diopters, sweep.near_diopters)
        axis.set_title(title)
    if image is not None:
        bar = below.colorbar(image, ax=axes[: len(maps)], location="bottom", shrink=0.6, aspect=40)
        ticks = np.linspace(sweep.far_diopters, sweep.near_diopters, 5)
        bar.set_ticks(ticks.tolist(), labels=[f"{1 / d:.2f}" if d > 0 else "∞" for d in ticks])
        bar.set_label("depth (m), spaced evenly in 1/m")
    if truth is not None:
        for axis, (title, depth) in zip(axes[len(maps) :], depths.items(), strict=True):
            error = np.abs(to_diopters(depth) - to_diopters(truth)) / sweep.range_diopters
            axis.set_facecolor(UNKNOWN)
            image = axis.imshow(error, cmap=ERROR_COLOURS, vmin=0, vmax=0.2)
            axis.set_title(f"error: {title.removeprefix('depth: ')}")
            _bare(axis)
        if image is not None:
            bar = below.colorbar(image, ax=axes[len(maps) :], location="bottom", shrink=0.8)
            bar.set_label("|error| (of the sweep range)")
    return figure


def recording_figure(survey: Survey) -> Figure:
    """Rates of ON and OFF events over time with the sweeps found, then the bins of the first sweep, and activity.

    A recording much longer than its first sweeps gets a row for the whole and one for the beginning.
    """
    long = survey.whole is not None and survey.beginning is not None and survey.whole.cell_us > survey.beginning.cell_us
    rates = [r for r in ((survey.whole, survey.beginning) if long else (survey.beginning,)) if r is not None]
    stack = survey.stack
    aspect = survey.height / survey.width
    columns, rows = 6, 2  # five bins and five bins, and the activity
    montage = rows * (12 / columns * aspect + 0.3) + 0.4
    figure = Figure(figsize=(12, 2.6 * len(rates) + montage), layout="constrained")
    parts = figure.subfigures(2, 1, squeeze=False, height_ratios=[max(2.6 * len(rates), 0.1), montage])[:, 0]
    title = f"{survey.path.name}: {survey.n_events:,} events, {survey.width}×{survey.height} pixels, "
    title += f"{len(survey.sweeps)} sweeps" if survey.sweeps else "no sweeps"
    figure.suptitle("\n".join([title, *textwrap.wrap(survey.trouble, 130)]), fontsize=11)
    for axis, rate in zip(parts[0].subplots(len(rates), 1, squeeze=False)[:, 0] if rates else (), rates, strict=True):
        _draw_rates(axis, rate, survey)
    # Without a stack, activity is all there is to see besides: it gets the page.
    grid = parts[1].subplots(*((rows, columns) if stack is not None else (1, 1)), squeeze=False)
    for axis in grid.ravel():
        axis.axis("off")
    if stack is not None:
        for axis, image, focus in zip(grid[:, :-1].ravel(), stack.signed(), stack.diopters, strict=False):
            axis.axis("on")
            draw_events(axis, image)
            axis.set_title(f"focus at {_focus(focus)}", fontsize=9)
    axis = grid[0, -1]
    axis.axis("on")
    image = axis.imshow(np.log10(np.maximum(survey.activity, 1)), cmap=ACTIVITY_COLOURS, vmin=0)
    axis.set_title("all events", fontsize=9)
    _bare(axis)
    scale = axis.inset_axes((0, -0.14, 1, 0.06))
    scale.set_in_layout(False)  # it would push the second row down; the first has room below it
    bar = figure.colorbar(image, cax=scale, orientation="horizontal")
    powers = np.arange(int(np.log10(max(int(survey.activity.max(initial=1)), 1))) + 1)
    bar.set_ticks(powers.tolist(), labels=[f"{10**power:,}" for power in powers])
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


def draw_events(axis: Axes, image: np.ndarray) -> None:  # (H, W) signed events
    """Signed events of one bin."""
    limit = max(1.0, float(np.quantile(np.abs(image), 0.99)))
    axis.imshow(image, cmap=EVENT_COLOURS, vmin=-limit, vmax=limit)
    _bare(axis)


def draw_depth(axis: Axes, depth: np.ndarray, far_diopters: float, near_diopters: float):
    """A depth map, coloured evenly in diopters; grey where unknown."""
    axis.set_facecolor(UNKNOWN)
    _bare(axis)
    return axis.imshow(to_diopters(depth), cmap=DEPTH_COLOURS, vmin=far_diopters, vmax=near_diopters)


def depth_image(
    depth: np.ndarray,  # (H, W) metres, NaN where unknown
    far_diopters: float,
    near_diopters: float,
    colour_map: str = DEPTH_COLOURS,
) -> np.ndarray:
    """(H, W, 4) uint8 colours of a depth map, pixel for pixel; transparent where unknown."""
    position = (to_diopters(depth) - far_diopters) / (near_diopters - far_diopters)
    colours = matplotlib.colormaps[colour_map](np.nan_to_num(position), bytes=True)
    colours[~np.isfinite(position)] = 0
    return colours


FIGURE_SUFFIXES = (".png", ".pdf", ".svg", ".jpg")


def check_figure(path: str | Path, *inputs: str | Path | None) -> None:
    """Find out whether a figure can be written, before the work that it shows.

    Raises:
        RecordingError: there is no such format, it is one of the inputs or of another kind, or cannot be written.
    """
    suffix = Path(path).suffix
    if suffix.lower() not in FIGURE_SUFFIXES:
        raise RecordingError(
            f"{path}: cannot be written: pictures are {', '.join(FIGURE_SUFFIXES)}, not {suffix or 'without a suffix'}"
        )
    check_target(path, "picture", *inputs, force=True)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure, in place of one that is there; the suffix picks the format.

    Raises:
        RecordingError: there is no such format, a file of another kind is there, or the file cannot be written.
    """
    check_figure(path)
    partial = PartialFile(path, force=True, kind="picture")
    try:
        figure.savefig(partial.path, dpi=120)
        partial.commit()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecordingError(f"{path}: cannot be written: {reason}") from error
    finally:
        partial.discard()


def figure_png(figure: Figure) -> bytes:
    """A figure as the bytes of a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=90)
    return buffer.getvalue()


def estimate_figure(
    depth: np.ndarray,  # (H, W) metres, NaN where unknown
    std: np.ndarray,  # (H, W) 1/m
    far_diopters: float,
    near_diopters: float,
) -> Figure:
    """A depth map and its deviation side by side."""
    figure, left, right = _side_by_side(depth)
    _draw_scaled_depth(figure, left, depth, far_diopters, near_diopters)
    right.set_facecolor(UNKNOWN)
    _bare(right)
    figure.colorbar(right.imshow(std, cmap=ACTIVITY_COLOURS, vmin=0), ax=right, location="bottom").set_label(
        "one standard deviation (1/m)"
    )
    return figure


def scene_figure(
    intensity: np.ndarray,  # (H, W) linear radiance
    depth: np.ndarray,  # (H, W) metres
    far_diopters: float,
    near_diopters: float,
) -> Figure:
    """A scene all in focus, and its depth."""
    figure, left, right = _side_by_side(depth)
    white = max(float(np.quantile(intensity, 0.99)), 1e-9)
    image = left.imshow((intensity / white).clip(0, 1) ** (1 / 2.2), cmap="gray", vmin=0, vmax=1)
    _bare(left)
    figure.colorbar(image, ax=left, location="bottom").set_label("brightness, all in focus")
    _draw_scaled_depth(figure, right, depth, far_diopters, near_diopters)
    return figure


def _side_by_side(image: np.ndarray) -> tuple[Figure, Axes, Axes]:
    height, width = image.shape
    figure = Figure(figsize=(9, 4.5 * height / width + 1), layout="constrained")
    left, right = figure.subplots(1, 2)
    return figure, left, right


def _draw_scaled_depth(
    figure: Figure, axis: Axes, depth: np.ndarray, far_diopters: float, near_diopters: float
) -> None:
    """A depth map and its scale below it."""
    bar = figure.colorbar(draw_depth(axis, depth, far_diopters, near_diopters), ax=axis, location="bottom")
    ticks = np.linspace(far_diopters, near_diopters, 5)
    bar.set_ticks(ticks.tolist(), labels=[f"{1 / d:.2f}" if d > 0 else "∞" for d in ticks])
    bar.set_label("depth (m), spaced evenly in 1/m")


def _focus(diopters: float) -> str:
    return f"{1 / diopters:.2f} m" if diopters > 0 else "infinity"


def _bare(axis: Axes) -> None:
    axis.set_xticks([])
    axis.set_yticks([])
