"""Patch scenes: CPU time of rendering and simulating, by kind of scene.

    ./run bench patches --scenes 3 --views 96

Each scene is a 160×120 window of a DAVIS346 with a lens of the default configuration, on one thread. "rays" is the time
per ray of a view; "recording" that of refocusing and of simulating two sweeps.
"""

import argparse
import time

import numpy as np
from rich.console import Console
from rich.table import Table

from sweepdepth.synth.generation.config import GenerationConfig
from sweepdepth.synth.generation.draws import sample_calibration, sample_sensor, sample_window
from sweepdepth.synth.generation.make_scene import sweep_light_field
from sweepdepth.synth.patches import render_patches, sample_patches
from sweepdepth.synth.patches.render import Caster
from sweepdepth.synth.patches.sampling import KINDS
from sweepdepth.synth.simulate import simulate_sweeps

CONFIG = GenerationConfig.parse(
    {
        "render": "patches",
        "camera": {"width": 346, "height": 260, "window": {"width": 160, "height": 120}},
        "rendering": {"intensity_samples": 4},
    }
)


def timed(seed: int, index: int, views: int) -> tuple[str, list[float]]:
    """Kind of a scene, seconds for its textures, light field and recording, and the number of rays in its views."""
    whole = sample_calibration(seed, index, CONFIG)
    calibration = sample_window(seed, index, CONFIG, whole)
    start = time.thread_time()
    scene = sample_patches(seed, index, CONFIG.scene, whole)
    Caster(scene, calibration)
    textured = time.thread_time()
    field = render_patches(scene, calibration, CONFIG.rendering, n_views=views)
    rendered = time.thread_time()
    images = sweep_light_field(field, calibration, CONFIG, threads=1)
    sensor, _ = sample_sensor(seed, index, 0, CONFIG)
    simulate_sweeps(images.stack, calibration, sensor, sweeps=2, seed=1)
    return scene.kind, [textured - start, rendered - textured, time.thread_time() - rendered, field.views.size]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=3, help="of each kind")
    parser.add_argument("--views", type=int, default=96)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    timed(options.seed, 0, 2)  # compiles
    seen: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    index = 0
    while any(len(times) < options.scenes for times in seen.values()):
        index += 1
        whole = sample_calibration(options.seed, index, CONFIG)
        if len(seen[sample_patches(options.seed, index, CONFIG.scene, whole).kind]) < options.scenes:
            kind, times = timed(options.seed, index, options.views)
            seen[kind].append(times)

    table = Table(title=f"Patch scenes, 160×120, {options.views} views, seconds of one thread")
    for column in ("scene", "textures", "light field", "of it rays, ns", "recording"):
        table.add_column(column, justify="left" if column == "scene" else "right")
    for kind, times in [*seen.items(), ("all", [row for rows in seen.values() for row in rows])]:
        textures, field, recording, rays = np.mean(times, axis=0)
        table.add_row(
            kind, f"{textures:.2f}", f"{field:.2f}", f"{1e9 * (field - textures) / rays:.0f}", f"{recording:.2f}"
        )
    Console().print(table)
