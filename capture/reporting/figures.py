"""Figures of stacks and depth, for reports and talks, with colour maps suited to colour-blind readers."""

import io
from collections.abc import Mapping
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..atomic import PartialFile, check_target
from ..errors import RecordingError
from ..optics import to_diopters

DEPTH_COLOURS = "viridis"
EVENT_COLOURS = "PuOr"
ERROR_COLOURS = "magma"
ACTIVITY_COLOURS = "cividis"
ON_COLOUR, OFF_COLOUR = "#5e3c99", "#e66101"  # those of EVENT_COLOURS
UNKNOWN = "0.85"


def stack_figure(
    images: np.ndarray,  # (B, H, W) signed events, far to near
    diopters: np.ndarray,  # (B,) 1/m: focus of each
    title: str = "Event focal stack",
) -> Figure:
    """All bins of a stack side by side, far to near: OFF in orange, ON in purple.

    Args:
        images: (B, H, W) signed events, far to near.
        diopters: (B,) focus of each bin in 1/m.
        title: of the figure.

    Returns:
        A figure of matplotlib.
    """
    bins, height, width = images.shape
    columns = min(5, bins)
    rows = -(-bins // columns)
    figure = Figure(figsize=(3 * columns, 3 * rows * height / width + 1), layout="constrained")
    axes = np.atleast_1d(figure.subplots(rows, columns)).ravel()
    for axis, image, focus in zip(axes, images, diopters, strict=False):
        draw_events(axis, image)
        axis.set_title(focus_text(focus), fontsize=9)
    for axis in axes[bins:]:
        axis.set_visible(False)
    figure.suptitle(title)
    return figure


def depth_figure(
    images: np.ndarray,  # (B, H, W) signed events, far to near
    diopters: np.ndarray,  # (B,) 1/m: focus of each, from end to end of the sweep
    depths: Mapping[str, np.ndarray],  # title → (H, W) metres, NaN where unknown
    truth: np.ndarray | None = None,  # (H, W) metres
) -> Figure:
    """Three bins of the stack above; below, the depth maps and, if given, the ground truth and the error.

    Args:
        images: (B, H, W) signed events, far to near.
        diopters: (B,) focus of each bin in 1/m, from end to end of the sweep.
        depths: title → (H, W) metres, NaN where unknown.
        truth: (H, W) metres, ground truth if known.

    Returns:
        A figure of matplotlib.
    """
    bins, height, width_px = images.shape
    far, near = float(diopters[0]), float(diopters[-1])
    panels = len(depths) + (0 if truth is None else 1 + len(depths))
    width, aspect = 3.4 * panels, height / width_px
    heights = [0.25 * width * aspect + 0.4, width / panels * aspect + 1.2]
    figure = Figure(figsize=(width, sum(heights)), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=heights)[:, 0]

    for axis, bin_ in zip(above.subplots(1, 3), np.linspace(0, bins - 1, 5).round().astype(int)[1:4], strict=True):
        draw_events(axis, images[max(0, bin_ - 1) : bin_ + 2].sum(axis=0))
        axis.set_title(f"events around {focus_text(diopters[bin_])}")

    axes = np.atleast_1d(below.subplots(1, panels))
    maps = dict(depths) | ({} if truth is None else {"truth": truth})
    image = None
    for axis, (title, depth) in zip(axes, maps.items(), strict=False):
        image = draw_depth(axis, depth, far, near)
        axis.set_title(title)
    if image is not None:
        bar = below.colorbar(image, ax=axes[: len(maps)], location="bottom", shrink=0.6, aspect=40)
        ticks = np.linspace(far, near, 5)
        bar.set_ticks(ticks.tolist(), labels=[f"{1 / d:.2f}" if d > 0 else "∞" for d in ticks])
        bar.set_label("depth (m), spaced evenly in 1/m")
    if truth is not None:
        for axis, (title, depth) in zip(axes[len(maps) :], depths.items(), strict=True):
            error = np.abs(to_diopters(depth) - to_diopters(truth)) / (near - far)
            axis.set_facecolor(UNKNOWN)
            image = axis.imshow(error, cmap=ERROR_COLOURS, vmin=0, vmax=0.2)
            axis.set_title(f"error: {title.removeprefix('depth: ')}")
            bare(axis)
        if image is not None:
            bar = below.colorbar(image, ax=axes[len(maps) :], location="bottom", shrink=0.8)
            bar.set_label("|error| (of the sweep range)")
    return figure


def draw_events(axis: Axes, image: np.ndarray) -> None:  # (H, W) signed events
    """Draw the signed events of one bin."""
    limit = max(1.0, float(np.quantile(np.abs(image), 0.99)))
    axis.imshow(image, cmap=EVENT_COLOURS, vmin=-limit, vmax=limit)
    bare(axis)


def draw_depth(axis: Axes, depth: np.ndarray, far_diopters: float, near_diopters: float):
    """Draw a depth map with colours uniform in diopters; grey where unknown."""
    axis.set_facecolor(UNKNOWN)
    bare(axis)
    return axis.imshow(to_diopters(depth), cmap=DEPTH_COLOURS, vmin=far_diopters, vmax=near_diopters)


def depth_image(
    depth: np.ndarray,  # (H, W) metres, NaN where unknown
    far_diopters: float,
    near_diopters: float,
    colour_map: str = DEPTH_COLOURS,
) -> np.ndarray:
    """Colours of a depth map, uniform in diopters.

    Args:
        depth: (H, W) metres, NaN where unknown.
        far_diopters: 1/m at the far end of the colours.
        near_diopters: 1/m at the near end of the colours.
        colour_map: name of a colour map of matplotlib.

    Returns:
        (H, W, 4) uint8 RGBA; transparent where unknown.

    Examples:
        >>> depth_image(np.array([[0.4, np.nan]]), 0.5, 2.5)[..., 3]
        array([[255,   0]], dtype=uint8)
    """
    position = (to_diopters(depth) - far_diopters) / (near_diopters - far_diopters)
    colours = matplotlib.colormaps[colour_map](np.nan_to_num(position), bytes=True)
    colours[~np.isfinite(position)] = 0
    return colours


FIGURE_SUFFIXES = (".png", ".pdf", ".svg", ".jpg")


def check_figure(path: str | Path, *inputs: str | Path | None, force: bool) -> None:
    """Check that a figure can be written before doing the work that it shows.

    Raises:
        RecordingError: unknown suffix, one of the input files, an existing file of another kind or, without `force`, of
            any kind, or not writable.
    """
    suffix = Path(path).suffix
    if suffix.lower() not in FIGURE_SUFFIXES:
        raise RecordingError(
            f"{path}: cannot be written: pictures are {', '.join(FIGURE_SUFFIXES)}, not {suffix or 'without a suffix'}"
        )
    check_target(path, "picture", *inputs, force=force)


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format of the suffix, replacing an existing picture.

    Args:
        figure: of matplotlib.
        path: .png, .pdf, .svg or .jpg.

    Raises:
        RecordingError: unknown suffix, the path is a file of another kind, or it cannot be written.
    """
    check_figure(path, force=True)
    try:
        with PartialFile(path, force=True, kind="picture") as partial:
            figure.savefig(partial, dpi=120)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise RecordingError(f"{path}: cannot be written: {reason}") from error


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
    """A depth map and its standard deviation side by side."""
    figure, left, right = _side_by_side(depth)
    _draw_scaled_depth(figure, left, depth, far_diopters, near_diopters)
    right.set_facecolor(UNKNOWN)
    bare(right)
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
    """All-in-focus image and depth of a scene, side by side."""
    figure, left, right = _side_by_side(depth)
    white = max(float(np.quantile(intensity, 0.99)), 1e-9)
    image = left.imshow((intensity / white).clip(0, 1) ** (1 / 2.2), cmap="gray", vmin=0, vmax=1)
    bare(left)
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
    """Draw a depth map with its scale below."""
    bar = figure.colorbar(draw_depth(axis, depth, far_diopters, near_diopters), ax=axis, location="bottom")
    ticks = np.linspace(far_diopters, near_diopters, 5)
    bar.set_ticks(ticks.tolist(), labels=[f"{1 / d:.2f}" if d > 0 else "∞" for d in ticks])
    bar.set_label("depth (m), spaced evenly in 1/m")


def focus_text(diopters: float) -> str:
    """A focus as a distance, for titles."""
    return f"{1 / diopters:.2f} m" if diopters > 0 else "infinity"


def bare(axis: Axes) -> None:
    """Remove the ticks of an image."""
    axis.set_xticks([])
    axis.set_yticks([])
