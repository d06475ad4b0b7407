"""Dataset generation: scenes per hour by number of workers, overhead of the job per scene, and memory.

    ./run bench generation --config examples/weights/train.toml --scenes 12 --workers 1 2

"job" is the time of an empty scene: sending, receiving and counting. Client and scheduler are one process here, whose
CPU time per scene limits any number of workers. "memory" is the peak of a scene process by the end of each of its
scenes.
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sweepdepth.synth.generation.config import GenerationConfig
from sweepdepth.synth.generation.job import generate
from sweepdepth.synth.generation.make_scene import make_scene
from sweepdepth.synth.generation.worker_process import SceneProcess

TIME_LIMIT_S = 3600.0


def empty_scene(order: Mapping[str, Any], index: int) -> dict[str, Any]:
    """A scene maker that does nothing."""
    return {"events": 0, "render_s": 0.0, "total_s": 0.0, "cpu_s": 0.0}


def weighed_scene(order: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Make a scene; adds the peak memory of the process so far."""
    return make_scene(order, index) | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def rates(config: GenerationConfig, scenes: int, workers: list[int]) -> Table:
    """The same scenes with different numbers of workers."""
    table = Table(title=f"{scenes} scenes of {config.camera.width}×{config.camera.height}, started from nothing")
    for column in ("workers", "seconds", "scenes/hour", "processor s/scene", "of it rendering", "events/scene"):
        table.add_column(column, justify="right")
    for number in workers:
        with tempfile.TemporaryDirectory() as folder:
            report = generate(folder, scenes, 0, config, workers=number)
        table.add_row(
            f"{number}",
            f"{report.elapsed_s:.0f}",
            f"{report.scenes_per_hour:.0f}",
            f"{report.cpu_s / report.made:.1f}",
            f"{report.render_s / report.total_s:.0%}",
            f"{report.events / report.made:,.0f}",
        )
    return table


def job_seconds(tasks: int, workers: int) -> tuple[float, float]:
    """Overhead of the job in seconds per scene: elapsed time, and CPU time of this process with client and
    scheduler."""
    ends: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        generate(
            folder,
            tasks,
            0,
            GenerationConfig(),
            workers=workers,
            scenes_per_process=tasks,
            on_progress=lambda _: ends.append((time.perf_counter(), time.process_time())),
            maker=f"{__name__}:{empty_scene.__name__}",
        )
    wall, processor = np.subtract(ends[-1], ends[0]) / (tasks - 1)
    return float(wall), float(processor)


def memory(config: GenerationConfig, scenes: int) -> Table:
    """Peak memory of one process over its first scenes."""
    table = Table(title=f"Memory of a process that makes scenes of {config.camera.width}×{config.camera.height}")
    for column in ("scene", "peak so far", "seconds"):
        table.add_column(column, justify="right")
    with tempfile.TemporaryDirectory() as folder:
        order = {"folder": folder, "seed": 0, "config": config.model_dump(mode="json"), "threads": 0}
        process = SceneProcess(f"{__name__}:{weighed_scene.__name__}", order, TIME_LIMIT_S)
        with closing(process):
            for index in range(scenes):
                made = process.make(index)
                table.add_row(f"{index}", f"{made['peak_mb']:.0f} MB", f"{made['total_s']:.0f}")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, help="generation configuration; the defaults without it")
    parser.add_argument("--scenes", type=int, default=12, help="scenes a run; 0: none")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--tasks", type=int, default=1000, help="scenes that take no time; 0: none")
    parser.add_argument("--memory", type=int, default=3, help="scenes whose process is weighed; 0: none")
    options = parser.parse_args()
    console = Console()
    config = GenerationConfig() if options.config is None else GenerationConfig.load(options.config)
    if options.scenes:
        console.print(rates(config, options.scenes, options.workers))
    if options.tasks:
        wall, processor = job_seconds(options.tasks, max(options.workers))
        console.print(
            f"job: {1e3 * wall:.1f} ms a scene, of which the scheduler's process computes {1e3 * processor:.1f} ms: "
            f"it serves {1 / processor:,.0f} scenes a second at most"
        )
    if options.memory:
        console.print(memory(config, options.memory))


if __name__ == "__main__":
    main()
