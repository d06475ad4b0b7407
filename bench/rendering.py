"""Light fields compared with Blender's own depth of field: error and time per sweep; and the refocusing kernel.

    ./run bench rendering --width 346 --scenes 0 1 2 --threads 2

Both methods are compared with depth of field of many samples. Times are elapsed time and CPU time, which is independent
of other load. "paths" is the number of traced paths, which dominates the time.
"""

import argparse
import io
import itertools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from sweepdepth import Calibration
from sweepdepth.synth.blender import session
from sweepdepth.synth.blender.stage import Stage
from sweepdepth.synth.optics import refocus as refocusing
from sweepdepth.synth.optics.lightfield import LightField
from sweepdepth.synth.optics.refocus import refocus, refocus_sweep, shift_and_add, shift_and_add_numpy
from sweepdepth.synth.optics.render_settings import RenderSettings
from sweepdepth.synth.scenes.layouts import SceneConfig, sample_scene

T = TypeVar("T")
FOCUS = (0.5, 1.5, 2.5)


class Seconds(NamedTuple):
    """Elapsed time and CPU time."""

    wall: float
    processor: float


@dataclass(frozen=True)
class Comparison:
    """One scene with one lens, rendered by both methods."""

    name: tuple[str, str]  # scene and stop
    light_field: LightField
    making: Seconds  # the light field, depth and all-in-focus image
    refocusing: Seconds  # all images of the sweep
    dof_frame: Seconds  # one image, on average
    images: dict[float, dict[str, np.ndarray]]  # by focus and method, "reference" first

    def ratio(self, steps: int, clock: int) -> float:
        """Ratio of the time of a sweep with depth of field to that with the light field."""
        return steps * self.dof_frame[clock] / (self.making[clock] + self.refocusing[clock])


def lens(width: int, f_number: float) -> Calibration:
    """A camera with the DAVIS346's field of view and a 12 mm lens that sweeps from 2 m to 0.4 m."""
    height, fx = round(width * 260 / 346), width * 648.6 / 346
    return Calibration.parse(f"""
        camera = {{ width = {width}, height = {height}, pixel_pitch_um = {12000 / fx}, fx = {fx}, fy = {fx}, \
cx = {width / 2}, cy = {height / 2} }}
        lens = {{ focal_length_mm = 12.0, f_number = {f_number} }}
        sweep = {{ waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, \
sync = "trigger" }}
    """)


def timed(work: Callable[[], T]) -> tuple[T, Seconds]:
    """Time a function."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, Seconds(time.perf_counter() - wall, time.process_time() - processor)


def rmse(image: np.ndarray, reference: np.ndarray) -> float:
    """Root mean square error of linear radiance."""
    return float(np.sqrt(np.mean((image - reference) ** 2)))


@contextmanager
def bilinear() -> Iterator[None]:
    """Context in which views are sampled with bilinear interpolation."""
    kept, refocusing.BLEND = refocusing.BLEND, 1.0
    try:
        yield
    finally:
        refocusing.BLEND = kept


def variants(stage: Stage, n_views: int) -> dict[str, LightField]:
    """Light fields rendered with other settings."""
    made = {"half": stage.light_field(n_views // 2), "twice": stage.light_field(n_views * 2)}
    cycles = session.load().context.scene.cycles
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB_ALBEDO_NORMAL", "ACCURATE"
    made["denoised"] = stage.light_field(n_views)
    cycles.use_denoising = False
    return made


def compare(index: int, stop: float, options: argparse.Namespace, settings: RenderSettings) -> Comparison:
    """Render one scene by both methods."""
    calibration = lens(options.width, stop)
    scene = sample_scene(0, index, SceneConfig(), calibration)
    sweep = np.linspace(FOCUS[0], FOCUS[-1], options.steps)
    with Stage(scene, calibration, settings) as stage:
        stage.depth()  # Blender prepares the scene once for both methods
        field, making = timed(stage.light_field)
        refocus(field, FOCUS[0], calibration)  # compiled
        _, refocusing_took = timed(partial(refocus_sweep, field, sweep, calibration, threads=options.threads))
        others = variants(stage, len(field.views)) if options.variants else {}
        images: dict[float, dict[str, np.ndarray]] = {}
        dof_took = []
        for focus in FOCUS:
            reference = stage.defocused(focus, options.reference, seed=1)
            dof, took = timed(partial(stage.defocused, focus))
            dof_took.append(took)
            images[focus] = {"reference": reference, "light field": refocus(field, focus, calibration), "DoF": dof}
            images[focus] |= {name: refocus(other, focus, calibration) for name, other in others.items()}
            if others:
                with bilinear():
                    images[focus]["bilinear"] = refocus(field, focus, calibration)
    dof_frame = Seconds(*np.mean(dof_took, axis=0))
    return Comparison((f"{index} {scene.kind}", f"f/{stop}"), field, making, refocusing_took, dof_frame, images)


def errors_table(made: list[Comparison], options: argparse.Namespace) -> Table:
    """Errors of each method at each focus, and on average."""
    ways = [way for way in made[0].images[FOCUS[0]] if way != "reference"]
    table = Table(title=f"RMSE · 1000 against {options.reference}-sample depth of field, {options.width} px wide")
    for column in ("scene", "stop", "1/m", "mean", *ways):
        table.add_column(column, justify="right", no_wrap=True)
    errors = []
    for comparison in made:
        for focus, images in comparison.images.items():
            reference = images["reference"]
            errors.append([1000 * rmse(images[way], reference) for way in ways])
            table.add_row(
                *comparison.name, f"{focus}", f"{1000 * reference.mean():.0f}", *(f"{e:.2f}" for e in errors[-1])
            )
    table.add_section()
    table.add_row("mean", "", "", "", *(f"{e:.2f}" for e in np.mean(errors, axis=0)))
    return table


def times_table(made: list[Comparison], options: argparse.Namespace, settings: RenderSettings) -> Table:
    """Time of a sweep by each method, with both clocks, and the number of traced paths."""
    table = Table(
        title=f"A sweep of {options.steps} images, {options.threads} threads, DoF of {settings.dof_samples} samples"
    )
    for column in (
        "scene",
        "stop",
        "clock",
        "light field",
        "refocus",
        "DoF",
        "ratio",
        "M paths",
        "of DoF",
        "M/s",
        "M/s",
    ):
        table.add_column(column, justify="right", no_wrap=True)
    for comparison in made:
        field, pixels = comparison.light_field, comparison.light_field.depth.size
        paths = (field.views.size + pixels * (settings.intensity_samples + 1)) / 1e6
        dof_paths = pixels * settings.dof_samples / 1e6
        for clock, name in enumerate(Seconds._fields):
            table.add_row(
                *(comparison.name if not clock else ("", "")),
                name,
                f"{comparison.making[clock]:.1f} s",
                f"{comparison.refocusing[clock]:.2f} s",
                f"{options.steps * comparison.dof_frame[clock]:.0f} s",
                f"{comparison.ratio(options.steps, clock):.0f}×",
                f"{paths:.1f}",
                f"{options.steps * dof_paths:.0f}",
                f"{paths / comparison.making[clock]:.2f}",
                f"{dof_paths / comparison.dof_frame[clock]:.2f}",
            )
    return table


def save_picture(made: list[Comparison], path: Path) -> None:
    """Reference, light field and depth of field side by side with errors; one row per scene and stop."""
    from matplotlib.figure import Figure

    rows = list(zip(made, itertools.cycle(FOCUS)))
    shown = ("reference", "light field", "DoF")
    figure = Figure(figsize=(11, 1.75 * len(rows) + 0.3), layout="constrained")
    for axes, (comparison, focus) in zip(figure.subplots(len(rows), 5, squeeze=False), rows, strict=True):
        images = comparison.images[focus]
        white = np.percentile(images["reference"], 99)
        for axis, way in zip(axes, shown, strict=False):
            axis.imshow((images[way] / white).clip(0, 1) ** 0.45, cmap="gray", vmin=0, vmax=1)
            axis.set_title(way, fontsize=8)
        for axis, way in zip(axes[3:], shown[1:], strict=True):
            axis.imshow((images[way] - images["reference"]) / white, cmap="RdBu", vmin=-0.1, vmax=0.1)
            axis.set_title(f"error of {way}", fontsize=8)
        axes[0].set_ylabel(f"{comparison.name[1]}, {1 / focus:.2g} m", fontsize=8)
        for axis in axes:
            axis.set_xticks([])
            axis.set_yticks([])
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=90)
    Image.open(drawn).convert("RGB").quantize(128, dither=Image.Dither.NONE).save(path, optimize=True)


def kernel(field: LightField) -> Table:
    """The refocusing kernel on one core, compared with its NumPy reference and a plain copy."""
    height, width = field.depth.shape
    shift = np.random.default_rng(0).uniform(0.5, 2 * field.margin - 1.5, (20, len(field.views), 1)).astype(np.float32)
    columns, rows = shift + np.arange(width, dtype=np.float32), shift + np.arange(height, dtype=np.float32)
    weights = np.full(len(field.views), 1 / len(field.views), np.float32)
    out = np.empty((len(shift), height, width), np.float32)
    fast = partial(shift_and_add, field.views, columns, rows, weights, 0, height, out)
    fast()
    ours = min(timed(fast)[1].processor for _ in range(5)) / len(shift)
    twin = timed(partial(shift_and_add_numpy, field.views, columns[:2], rows[:2], weights))[1].processor / 2
    big, target = np.ones((2, 64_000_000), np.float32)
    copying = min(timed(partial(np.copyto, target, big))[1].processor for _ in range(3))
    table = Table(title=f"Refocusing {len(field.views)} views, one core")
    for column in ("", "ms an image", "GB/s of views"):
        table.add_column(column, justify="right")
    table.add_row("kernel", f"{1e3 * ours:.2f}", f"{field.views.nbytes / ours / 1e9:.1f}")
    table.add_row("NumPy twin", f"{1e3 * twin:.1f}", f"{field.views.nbytes / twin / 1e9:.2f}")
    table.add_row("np.copyto, read and written", "", f"{2 * big.nbytes / copying / 1e9:.1f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--width", type=int, default=87, help="346 for the size of a DAVIS346")
    parser.add_argument("--scenes", type=int, nargs="+", default=[9], help="numbers of procedural scenes")
    parser.add_argument("--stops", type=float, nargs="+", default=[1.4, 2.8], help="f-numbers")
    parser.add_argument("--reference", type=int, default=512, help="samples of the reference")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--variants", action="store_true", help="other ways to make a light field, too")
    parser.add_argument("--out", type=Path, help="where the picture goes (PNG)")
    options = parser.parse_args()
    console = Console(width=130)
    settings = RenderSettings(threads=options.threads)
    made: list[Comparison] = []
    for stop, index in itertools.product(options.stops, options.scenes):
        made.append(compare(index, stop, options, settings))
        console.print(errors_table(made, options), times_table(made, options, settings))
    console.print(kernel(made[-1].light_field))
    if options.out is not None:
        save_picture(made, options.out)
        console.print(f"picture: {options.out}")


if __name__ == "__main__":
    main()
