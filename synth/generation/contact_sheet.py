"""Contact sheet of a dataset's scenes, for inspection before training."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from ...capture.calibration import Calibration
from ...capture.errors import RecordingError
from ...capture.events import RISING
from ...capture.files.dataset import Dataset, SceneRecording, read_scene
from ...capture.reporting.figures import draw_depth, draw_events
from ...capture.stack import EventFocalStack
from ...capture.sweeps import Direction, Sweep

_BINS = 5
_SHOWN = (0, 2, 4)  # bins around the far end, the middle and the near end
_PANEL_INCHES = 2.2
_WHITE_PERCENTILE = 99.5


def contact_sheet(dataset: Dataset, scenes: int = 8) -> Figure:
    """Scenes spread evenly over the dataset, one row each: all-in-focus image, three bins of the first sweep, and
    depth.

    Variants are omitted. Images are sRGB with white at their 99.5 % quantile; depth has colours uniform in diopters
    over the scene's sweep.

    Raises:
        RecordingError: a scene is damaged, or there are none.
    """
    paths = [path for path in dataset.scenes if "_v" not in path.name]
    if not paths:
        raise RecordingError(f"{dataset.folder}: the dataset has no scenes yet")
    chosen = [paths[i] for i in np.unique(np.linspace(0, len(paths) - 1, min(scenes, len(paths))).round().astype(int))]
    columns = len(_SHOWN) + 2
    first = read_scene(chosen[0])
    aspect = first.truth.depth.shape[0] / first.truth.depth.shape[1]
    figure = Figure(
        figsize=(columns * _PANEL_INCHES, len(chosen) * (_PANEL_INCHES * aspect + 0.25) + 0.3), layout="constrained"
    )
    grid = figure.subplots(len(chosen), columns, squeeze=False)
    for axes, path in zip(grid, chosen, strict=True):
        scene = read_scene(path)
        _draw_row(axes, path, scene)
    for axis, title in zip(grid[0], ("all in focus", "events, far", "middle", "near", "depth"), strict=True):
        axis.set_title(title, fontsize=9)
    return figure


def _draw_row(axes: np.ndarray, path: Path, scene: SceneRecording) -> None:
    truth = scene.truth
    sweep = truth.calibration.sweep
    axes[0].imshow(_developed(truth.intensity), cmap="gray", vmin=0, vmax=1)
    axes[0].set_xticks([])
    axes[0].set_yticks([])
    lens = truth.calibration.lens
    axes[0].set_ylabel(path.stem.removeprefix("scene_").lstrip("0") or "0", fontsize=9)
    axes[0].set_xlabel(
        f"{lens.focal_length_mm:.0f} mm f/{lens.f_number:.1f}, {_distance(sweep.near_diopters)}–"
        f"{_distance(sweep.far_diopters)} m, {len(scene.events):,} events",
        fontsize=6,
    )
    first = _first_sweep(scene, truth.calibration)
    begin, end = np.searchsorted(scene.events["timestamp"], [first.start_us, first.end_us])
    stack = EventFocalStack.build(scene.events[begin:end], first, _BINS)
    for axis, bin_ in zip(axes[1:], _SHOWN, strict=False):
        draw_events(axis, stack.data[bin_])
    draw_depth(axes[-1], truth.depth, sweep.far_diopters, sweep.near_diopters)


def _first_sweep(scene: SceneRecording, calibration: Calibration) -> Sweep:
    """The sweep between the first two edges."""
    times = scene.triggers["timestamp"][:2] + calibration.sweep.delay_us
    direction = Direction.FAR_TO_NEAR if scene.triggers["edge"][0] == RISING else Direction.NEAR_TO_FAR
    return Sweep(int(times[0]), int(times[1]), direction, calibration)


def _developed(radiance: np.ndarray) -> np.ndarray:
    """Convert linear radiance to sRGB grey (IEC 61966-2-1) in [0, 1]."""
    linear = np.clip(radiance / max(float(np.percentile(radiance, _WHITE_PERCENTILE)), 1e-9), 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _distance(diopters: float) -> str:
    return f"{1 / diopters:.2g}" if diopters > 0 else "∞"
