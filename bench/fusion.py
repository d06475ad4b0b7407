"""Fusion of sweeps on still and moving scenes: error at pixels with events, of single and fused sweeps.

    ./run bench fusion --scenes 12

A window of 128×120 moves over patch scenes of 160×120 by a given number of pixels per sweep, with the sensor models of
training. Each method estimates eight sweeps; the last four are scored against the ground truth at the middle of each
sweep.
"""

import argparse
from collections.abc import Iterator

import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sweepdepth.capture.calibration import Calibration
from sweepdepth.capture.optics import to_diopters
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.estimators import Fuse, make_estimator
from sweepdepth.synth.generation.config import GenerationConfig
from sweepdepth.synth.generation.draws import draw_sensor, sample_calibration, sample_window
from sweepdepth.synth.generation.make_scene import light_of, sweep_light_field
from sweepdepth.synth.patches import render_patches, sample_patches
from sweepdepth.synth.resimulate import ORDINARY, IdealScene
from sweepdepth.synth.scenes.random_source import RandomSource
from sweepdepth.synth.sensor import Sensor, expose_sequence

CONFIG = GenerationConfig.parse(
    {
        "render": "patches",
        "camera": {"width": 346, "height": 260, "window": {"width": 160, "height": 120}},
        "lens": {"blur_px": [8.0, 20.0]},
        "sweep": {"breathing_share": 0.0},
        "rendering": {"intensity_samples": 4},
    }
)
SWEEPS, COUNTED = 8, 4
DURATION_US = 200_000
MARGIN = 32
LEAST_CHANGE = 0.15
METHODS: dict[str, Fuse | None] = {"alone": None, "4 sweeps": 4, "auto": "auto"}


def scenes(seed: int, count: int) -> Iterator[tuple[IdealScene, RandomSource]]:
    """Patch scenes with enough texture for depth, and a random generator for each."""
    index = 0
    while count:
        index += 1
        whole = sample_calibration(seed, index, CONFIG)
        calibration = sample_window(seed, index, CONFIG, whole)
        field = render_patches(sample_patches(seed, index, CONFIG.scene, whole), calibration, CONFIG.rendering)
        images = sweep_light_field(field, calibration, CONFIG, threads=1)
        scene = IdealScene(f"scene {index}", images.stack, images.depth, calibration)
        if scene.change >= LEAST_CHANGE:
            count -= 1
            yield scene, RandomSource(seed, index, 1)


def window(images: np.ndarray, left: float) -> np.ndarray:
    """The columns from `left` on of images (…, W), between pixels interpolated."""
    first, width = int(left), images.shape[-1] - MARGIN
    share = np.float32(left - first)
    return (1 - share) * images[..., first : first + width] + share * images[..., first + 1 : first + 1 + width]


def drifting_events(scene: IdealScene, sensor: Sensor, light: float, px_per_sweep: float, seed: int) -> np.ndarray:
    """Events of `SWEEPS` sweeps, after one that initialises the sensor, while the window moves."""
    steps = len(scene.stack) - 1

    def blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for sweep in range(-1, SWEEPS):
            stack = scene.stack if sweep % 2 == 0 else scene.stack[::-1]
            first = 0 if sweep < 0 else 1
            phase = np.arange(first, steps + 1) / steps
            left = np.maximum(sweep + phase, 0) * px_per_sweep
            shown = np.stack([window(image, at) for image, at in zip(stack[first:], left, strict=True)])
            yield shown, (sweep + phase) * DURATION_US

    images = blocks()
    shown, times = next(images)

    def all_blocks() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield shown[:1], times[:1]
        yield shown[1:], times[1:]
        yield from images

    return expose_sequence(sensor, all_blocks(), light=light, seed=seed)


def cropped(calibration: Calibration) -> Calibration:
    """The calibration of the window's camera."""
    camera = calibration.camera.model_copy(update={"width": calibration.camera.width - MARGIN})
    return calibration.model_copy(update={"camera": camera})


def errors(scene: IdealScene, events: np.ndarray, px_per_sweep: float, fuse: Fuse | None) -> float:
    """Mean error at pixels with events over the scored sweeps, as a fraction of the range; NaN without any."""
    estimator = make_estimator("net", fuse=fuse)
    calibration = cropped(scene.calibration)
    settings = calibration.sweep
    found: list[float] = []
    for number in range(SWEEPS):
        start = number * DURATION_US
        direction = Direction.FAR_TO_NEAR if number % 2 == 0 else Direction.NEAR_TO_FAR
        sweep = Sweep(start, start + DURATION_US, direction, calibration)
        inside = events[slice(*np.searchsorted(events["timestamp"], [sweep.start_us, sweep.end_us]))]
        estimate = estimator(EventFocalStack.build(inside, sweep, estimator.bins, estimator.polarity))
        if number < SWEEPS - COUNTED:
            continue
        left = round((number + 0.5) * px_per_sweep)
        truth = to_diopters(scene.depth[:, left : left + calibration.camera.width])
        judged = np.zeros(truth.shape, bool)
        judged[inside["y"], inside["x"]] = True
        judged &= (truth >= settings.far_diopters) & (truth <= settings.near_diopters)
        if judged.any():
            found.append(float(np.abs(estimate.diopters - truth)[judged].mean()) / settings.range_diopters)
    return float(np.mean(found)) if found else np.nan


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=12)
    parser.add_argument("--seed", type=int, default=500)
    parser.add_argument("--drift", type=float, nargs="+", default=[0.0, 0.5, 1.0, 2.0, 3.0], help="px in each sweep")
    options = parser.parse_args()
    if not 0 <= min(options.drift) <= max(options.drift) <= (MARGIN - 1) / SWEEPS:
        parser.error(f"--drift: from 0 to {(MARGIN - 1) / SWEEPS:g} px in each sweep, so that the window stays inside")
    rows: dict[float, list[list[float]]] = {drift: [] for drift in options.drift}
    for scene, random in track(scenes(options.seed, options.scenes), "scenes", total=options.scenes):
        sensor, lux = draw_sensor(random, ORDINARY.sensor, ORDINARY.light)
        light, seed = light_of(lux, scene.calibration), random.seed()
        for drift in options.drift:
            events = drifting_events(scene, sensor, light, drift, seed)
            rows[drift].append([errors(scene, events, drift, fuse) for fuse in METHODS.values()])

    table = Table(title=f"Mean error at events, % of the range, {options.scenes} scenes, sweeps of 200 ms")
    for column in ("drift, px a sweep", *METHODS, "4 against alone", "auto against alone"):
        table.add_column(column, justify="right")
    for drift, found in rows.items():
        alone, four, auto = np.nanmean(found, axis=0)
        table.add_row(
            f"{drift:g}",
            *(f"{100 * value:.1f}" for value in (alone, four, auto)),
            *(f"{100 * (value / alone - 1):+.0f} %" for value in (four, auto)),
        )
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
