"""Generates one scene of a dataset: sample, render, simulate, write."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...capture.calibration import Calibration
from ...capture.files.dataset import SceneRecording, SceneTruth, scene_path, versions, write_scene
from ...capture.files.photographs import PLANS
from ..optics.conventional import coupled_plan, expose, named_plan, photograph_sweep, sample_sweep, take
from ..optics.lightfield import LightField
from ..optics.refocus import refocus, refocus_sweep
from ..simulate import focus_steps, simulate_sweeps
from .config import GenerationConfig
from .draws import sample_calibration, sample_sensor, sample_window

FULL_LIGHT_LUX = 1000.0
FULL_LIGHT_F_NUMBER = 2.0
"""Full light, to which a sensor's constants refer; see `sensor.Sensor`."""

_IMAGES = 13  # random stream


def light_of(illuminance_lux: float, calibration: Calibration) -> float:
    """Light on the chip, relative to full light, from a white surface under this illuminance."""
    return illuminance_lux / FULL_LIGHT_LUX * (FULL_LIGHT_F_NUMBER / calibration.lens.f_number) ** 2


@dataclass(frozen=True)
class SweepImages:
    """Images over one sweep of a scene, with ground truth."""

    stack: np.ndarray  # (S + 1, H, W) float32, linear radiance, at `focus_steps`
    depth: np.ndarray  # (H, W) float32, metres
    intensity: np.ndarray  # (H, W) float32, linear radiance, all in focus
    image_at: Callable[[float, float], np.ndarray] | None = None  # (focus in 1/m, aperture scale) → (H, W) radiance


def sweep_light_field(
    light_field: LightField, calibration: Calibration, config: GenerationConfig, threads: int
) -> SweepImages:
    """Refocus a light field over the sweep."""
    stack = refocus_sweep(light_field, focus_steps(calibration, config.blur_step_px), calibration, threads=threads)
    return SweepImages(
        stack,
        light_field.depth,
        light_field.intensity,
        lambda focus, scale: refocus(light_field, focus, calibration, scale, threads),
    )


def make_scene(order: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Sample, render, simulate and write scene `index`; `order` has `folder`, `seed`, `config` and `threads`.

    Returns the number of events in all its recordings, and the seconds for rendering, in total, and of CPU time.

    Raises:
        SweepdepthError: the scene cannot be rendered, or its file cannot be written.
    """
    start, cpu_start = time.perf_counter(), time.process_time()
    seed, threads = order["seed"], order["threads"]
    config = GenerationConfig.model_validate(order["config"])
    whole = sample_calibration(seed, index, config)
    calibration = sample_window(seed, index, config, whole)
    draw = _draw_patches if config.render == "patches" else _draw_in_blender
    images, description = draw(seed, index, config, whole, calibration, threads)
    rendered = time.perf_counter()
    attributes = {"scene": description}
    events = write_recordings(images, calibration, config, Path(order["folder"]), seed, index, attributes, threads)
    return {
        "events": events,
        "render_s": rendered - start,
        "total_s": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu_start,
    }


def _draw_in_blender(
    seed: int, index: int, config: GenerationConfig, whole: Calibration, calibration: Calibration, threads: int
) -> tuple[SweepImages, str]:
    from ..blender.stage import Stage
    from ..scenes.layouts import sample_scene

    scene = sample_scene(seed, index, config.scene, whole)
    with Stage(scene, calibration, config.rendering.model_copy(update={"threads": threads})) as stage:
        if config.render == "lightfield":
            images = sweep_light_field(stage.light_field(), calibration, config, threads)
        else:
            stack = np.stack([stage.defocused(focus) for focus in focus_steps(calibration, config.blur_step_px)])
            images = SweepImages(stack, stage.depth(), stage.intensity())
    return images, scene.model_dump_json()


def _draw_patches(
    seed: int, index: int, config: GenerationConfig, whole: Calibration, calibration: Calibration, threads: int
) -> tuple[SweepImages, str]:
    from ..patches import render_patches, sample_patches

    scene = sample_patches(seed, index, config.scene, whole)
    light_field = render_patches(scene, calibration, config.rendering, threads=threads)
    return sweep_light_field(light_field, calibration, config, threads), scene.description()


def write_recordings(
    images: SweepImages,
    calibration: Calibration,
    config: GenerationConfig,
    folder: Path,
    seed: int,
    index: int,
    attributes: Mapping[str, Any],
    threads: int = 1,
) -> int:
    """Simulate and write all variants of a scene, the scene itself last; returns the number of events.

    Raises:
        ValueError: the images have negative or non-finite values.
        RecordingError: a file cannot be written.
    """
    if not (np.isfinite(images.stack).all() and images.stack.min() >= 0):
        raise ValueError(f"scene {index}: its images are not finite, or negative; they cannot be simulated")
    total = 0
    for variant in reversed(range(config.variants)):
        sensor, illuminance_lux = sample_sensor(seed, index, variant, config)
        light = light_of(illuminance_lux, calibration)
        sensor_seed, images_seed = np.random.SeedSequence([seed, index, variant]).generate_state(2, np.uint64).tolist()
        recording = simulate_sweeps(
            images.stack,
            calibration,
            sensor,
            sweeps=config.sweeps,
            seed=sensor_seed,
            light=light,
            threads=max(1, threads),
        )
        random = np.random.default_rng([images_seed, _IMAGES])
        frames, diopters = None, None
        if config.intensity.frames and config.intensity.noise:
            frames, diopters = photograph_sweep(
                images.stack, calibration, illuminance_lux, config.intensity.frames, random
            )
        elif config.intensity.frames:
            frames, diopters = sample_sweep(images.stack, calibration, config.intensity.frames)
        plans = {}
        if config.intensity.aperture_pair:
            plans["coupled"] = coupled_plan(calibration)
        if config.intensity.photographs:
            plans |= {name: named_plan(name, calibration) for name in PLANS}
        image_at = images.image_at
        photographs = {} if image_at is None else {name: take(image_at, plan) for name, plan in plans.items()}
        if config.intensity.noise:
            photographs = {
                name: expose(ideal, calibration, illuminance_lux, random) for name, ideal in photographs.items()
            }
        about = {
            "seed": seed,
            "index": index,
            "variant": variant,
            "sensor": sensor.model_dump_json(),
            "sensor_seed": sensor_seed,
            "illuminance_lux": illuminance_lux,
            "light": light,
            "versions": json.dumps(versions()),
        }
        truth = SceneTruth(
            calibration,
            images.depth,
            images.intensity,
            frames,
            diopters,
            photographs.pop("coupled", None),
            photographs,
            {**attributes, **about},
        )
        write_scene(scene_path(folder, index, variant), SceneRecording(recording.events, recording.triggers, truth))
        total += len(recording.events)
    return total
