"""Light fields against Blender's own depth of field: error, and time per sweep, in one run; the refocusing kernel."""

import argparse
import itertools
import os
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from rich.console import Console
from rich.table import Table

from sweepdepth import Calibration
from sweepdepth.synth import blender
from sweepdepth.synth import refocus as refocus_module
from sweepdepth.synth.lightfield import LightField
from sweepdepth.synth.refocus import refocus, refocus_sweep, shift_and_add, shift_and_add_numpy
from sweepdepth.synth.render import RenderSettings, Stage
from sweepdepth.synth.sampling import SceneConfig, sample_scene

T = TypeVar("T")
DOF_SAMPLES = 64


def lens(width: int, f_number: float) -> Calibration:
    """A camera of the DAVIS346's field of view behind a 12 mm lens that sweeps from 2 m to 0.4 m."""
    height, fx = round(width * 260 / 346), width * 648.6 / 346
    return Calibration.parse(f"""
        camera = {{ width = {width}, height = {height}, pixel_pitch_um = {12000 / fx}, fx = {fx}, fy = {fx}, \
cx = {width / 2}, cy = {height / 2} }}
        lens = {{ focal_length_mm = 12.0, f_number = {f_number} }}
        sweep = {{ waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, \
sync = "trigger" }}
    """)


def timed(work: Callable[[], T]) -> tuple[T, float, float]:
    """A result, and the seconds of wall clock and of processor time that it took."""
    wall, processor = time.perf_counter(), time.process_time()
    result = work()
    return result, time.perf_counter() - wall, time.process_time() - processor


def rmse(image: np.ndarray, reference: np.ndarray) -> float:
    """Root mean square error of linear radiance."""
    return float(np.sqrt(np.mean((image - reference) ** 2)))


def variants(stage: Stage, n_views: int) -> list[tuple[LightField, float]]:
    """Light fields made in other ways, and the blend between samples that each is read with."""
    blend = refocus_module.BLEND
    made = [(stage.light_field(n_views), 1.0), (stage.light_field(n_views // 2), blend)]
    made.append((stage.light_field(n_views * 2), blend))
    cycles = blender.load().context.scene.cycles
    cycles.use_denoising, cycles.denoiser = True, "OPENIMAGEDENOISE"
    cycles.denoising_input_passes, cycles.denoising_prefilter = "RGB_ALBEDO_NORMAL", "ACCURATE"
    made.append((stage.light_field(n_views), blend))
    cycles.use_denoising = False
    return made


def read_with(blend: float, field: LightField, focus: float, calibration: Calibration) -> np.ndarray:
    """Refocus with another blend between samples."""
    kept, refocus_module.BLEND = refocus_module.BLEND, blend
    try:
        return refocus(field, focus, calibration)
    finally:
        refocus_module.BLEND = kept


def compare(options: argparse.Namespace, console: Console) -> LightField:
    """Render scenes both ways, print errors and times, save the picture; returns the last light field."""
    settings = RenderSettings(dof_samples=DOF_SAMPLES, threads=options.threads)
    others = ("bilinear", "half views", "twice", "denoised") if options.variants else ()
    errors = Table(title=f"RMSE · 1000 against {options.reference}-sample depth of field, {options.width} px wide")
    for column in ("scene", "stop", "1/m", "mean", "ours", f"DoF {DOF_SAMPLES}", *others):
        errors.add_column(column, justify="right", no_wrap=True)
    times = Table(title=f"A sweep of {options.steps} images, {settings.threads} threads")
    for column in ("scene", "stop", "clock", "views", "light field", "refocus", "DoF", "ratio"):
        times.add_column(column, justify="right", no_wrap=True)
    panels: list[list[np.ndarray]] = []
    fields: list[LightField] = []
    for index, stop in itertools.product(options.scenes, options.stops):
        calibration = lens(options.width, stop)
        scene = sample_scene(0, index, SceneConfig(), calibration)
        with Stage(scene, calibration, settings) as stage:
            stage.depth()  # Blender prepares the scene once, for either way
            field, *render_time = timed(stage.light_field)
            fields.append(field)
            refocus(field, 1.0, calibration)  # compiled
            sweep = np.linspace(0.5, 2.5, options.steps)
            _, *refocus_time = timed(partial(refocus_sweep, field, sweep, calibration, threads=options.threads))
            ways = variants(stage, len(field.views)) if options.variants else []
            dof_times = []
            for focus in (0.5, 1.5, 2.5):
                reference = stage.defocused(focus, options.reference, seed=1)
                dof, *dof_time = timed(partial(stage.defocused, focus))
                dof_times.append(dof_time)
                ours = refocus(field, focus, calibration)
                images = [ours, dof, *(read_with(blend, way, focus, calibration) for way, blend in ways)]
                errors.add_row(
                    f"{index} {scene.kind}",
                    f"f/{stop}",
                    f"{focus}",
                    f"{1000 * reference.mean():.0f}",
                    *(f"{1000 * rmse(image, reference):.2f}" for image in images),
                )
                panels.append([reference, ours, dof])
        for i, clock in enumerate(("wall", "processor")):
            all_dof = options.steps * float(np.mean([t[i] for t in dof_times]))
            times.add_row(
                f"{index} {scene.kind}",
                f"f/{stop}",
                clock,
                str(len(field.views)),
                f"{render_time[i]:.1f} s",
                f"{refocus_time[i]:.2f} s",
                f"{all_dof:.0f} s",
                f"{all_dof / (render_time[i] + refocus_time[i]):.0f}×",
            )
    console.print(errors)
    console.print(times)
    if options.out is not None:
        save_picture(panels, options.out)
        console.print(f"picture: {options.out}")
    return fields[-1]


def save_picture(panels: list[list[np.ndarray]], path: Path) -> None:
    """Reference, light field and depth of field side by side, and what either is off by."""
    from matplotlib.figure import Figure

    titles = ["reference", "light field", f"{DOF_SAMPLES}-sample DoF", "error of light field", "error of DoF"]
    figure = Figure(figsize=(15, 2.4 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 5, squeeze=False)
    for row, (reference, ours, dof) in zip(axes, panels, strict=True):
        white = np.percentile(reference, 99)
        for axis, image in zip(row, (reference, ours, dof), strict=False):
            axis.imshow((image / white).clip(0, 1) ** 0.45, cmap="gray", vmin=0, vmax=1)
        for axis, image in zip(row[3:], (ours, dof), strict=True):
            axis.imshow((image - reference) / white, cmap="RdBu", vmin=-0.1, vmax=0.1)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.set_title(title)
    for axis in axes.flat:
        axis.axis("off")
    figure.savefig(path, dpi=90)


def kernel(field: LightField, width: int, console: Console) -> None:
    """The refocusing kernel on one core, against its NumPy twin and a plain copy."""
    sweep = np.linspace(0.5, 2.5, 20)
    everything = np.full(len(field.views), True)
    columns, rows = refocus_module._reading_positions(field, sweep, lens(width, 1.4), everything)
    weights = np.full(len(field.views), 1 / len(field.views), np.float32)
    height = field.depth.shape[0]
    out = np.empty((len(sweep), *field.depth.shape), np.float32)
    shift_and_add(field.views, columns, rows, weights, 0, height, out)
    ours = min(timed(lambda: shift_and_add(field.views, columns, rows, weights, 0, height, out))[1] for _ in range(5))
    twin = timed(lambda: shift_and_add_numpy(field.views, columns[:2], rows[:2], weights))[1] * len(sweep) / 2
    big = np.zeros(64_000_000, np.float32)
    target = np.empty_like(big)
    copy = min(timed(lambda: np.copyto(target, big))[1] for _ in range(3))
    read = len(sweep) * field.views.nbytes
    table = Table(title="Refocusing, one core")
    for column in ("", "ms per image", "GB/s of views"):
        table.add_column(column, justify="right")
    table.add_row("kernel", f"{1e3 * ours / len(sweep):.2f}", f"{read / ours / 1e9:.1f}")
    table.add_row("NumPy twin", f"{1e3 * twin / len(sweep):.1f}", f"{read / twin / 1e9:.2f}")
    table.add_row("np.copyto, read and written", "", f"{2 * big.nbytes / copy / 1e9:.1f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=87, help="346 for the size of a DAVIS346")
    parser.add_argument("--scenes", type=int, nargs="+", default=[9], help="numbers of procedural scenes")
    parser.add_argument("--stops", type=float, nargs="+", default=[1.4, 2.8], help="f-numbers")
    parser.add_argument("--reference", type=int, default=512, help="samples of the reference")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--variants", action="store_true", help="other ways to make a light field, too")
    parser.add_argument("--out", type=Path, help="where the picture goes (PNG)")
    options = parser.parse_args()
    console = Console()
    field = compare(options, console)
    kernel(field, options.width, console)


if __name__ == "__main__":
    main()
