"""Dataset generation: scenes per hour by number of workers, time of a scene by stage, overhead of the job, and memory.

    ./run bench generation --config examples/weights/train.toml --scenes 12 --workers 1 2
    ./run bench generation --stages 8 --scenes 0 --tasks 0 --memory 0

"stages" is the CPU time of one process with one thread for scenes of every kind of rendering, without that of starting
it, which is shown apart; "an hour" is that of all cores computed from it, as if they were idle.
"job" is the time of an empty scene: sending, receiving and counting. Client and scheduler are one process here, whose
CPU time per scene limits any number of workers. "memory" is the peak of a scene process by the end of each of its
scenes.
"""

import argparse
import os
import resource
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from functools import wraps
from importlib import import_module
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
SYNTH = "sweepdepth.synth."
STAGES = {
    "build": [("blender.stage", "build_scene")],
    "render": [("blender.stage", "Stage._render"), ("patches", "render_patches")],
    "read": [("blender.stage", "read_grey")],
    "refocus": [("generation.make_scene", "refocus_sweep")],
    "simulate": [("generation.make_scene", "simulate_sweeps")],
    "write": [("generation.make_scene", "write_scene")],
}
"""The functions of each stage. The time of one inside another counts only for the inner one."""
KINDS: dict[str, dict[str, Any]] = {
    "traced": {},
    "computed": {"rendering": {"lighting": "computed"}},
    "patches": {"render": "patches"},
}


def empty_scene(order: Mapping[str, Any], index: int) -> dict[str, Any]:
    """A scene maker that does nothing."""
    return {"events": 0, "render_s": 0.0, "total_s": 0.0, "cpu_s": 0.0}


def weighed_scene(order: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Make a scene; adds the peak memory of the process so far."""
    return make_scene(order, index) | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def staged_scene(order: Mapping[str, Any], index: int) -> dict[str, Any]:
    """Make a scene; adds the CPU seconds of each stage, and those of the process before it."""
    seconds = dict.fromkeys([*STAGES, "other"], 0.0)
    running = ["other"]
    since = time.process_time()

    def switch(stage: str | None) -> None:
        """Charge the time since the last switch; begin a stage, or return to the outer one."""
        nonlocal since
        now = time.process_time()
        seconds[running[-1]] += now - since
        since = now
        if stage is None:
            running.pop()
        else:
            running.append(stage)

    def measured(work: Callable[..., Any], stage: str) -> Callable[..., Any]:
        @wraps(work)
        def wrapped(*arguments: Any, **named: Any) -> Any:
            switch(stage)
            try:
                return work(*arguments, **named)
            finally:
                switch(None)

        return wrapped

    kept = []
    started = since
    for stage, places in STAGES.items():
        for module, path in places:
            holder: Any = import_module(SYNTH + module)
            *outer, name = path.split(".")
            for step in outer:
                holder = getattr(holder, step)
            kept.append((holder, name, getattr(holder, name)))
            setattr(holder, name, measured(getattr(holder, name), stage))
    try:
        made = make_scene(order, index)
    finally:
        for holder, name, work in kept:
            setattr(holder, name, work)
    switch("other")
    return made | {"stages": seconds, "before_s": started}


def stages(config: GenerationConfig, scenes: int) -> Table:
    """CPU time of a scene by stage, for every kind of rendering."""
    camera = config.camera.window or config.camera
    table = Table(title=f"{scenes} scenes of {camera.width}×{camera.height}: CPU ms of a scene by stage")
    for column in ("rendering", *STAGES, "other", "all", f"an hour on {os.cpu_count()} cores", "first scene", "start"):
        table.add_column(column, justify="right")
    for name, changed in KINDS.items():
        values = config.model_dump(mode="json")
        for key, update in changed.items():
            values[key] = {**values[key], **update} if isinstance(update, dict) else update
        with tempfile.TemporaryDirectory() as folder:
            order = {"folder": folder, "seed": 0, "config": values, "threads": 1}
            with closing(SceneProcess(f"{__name__}:{staged_scene.__name__}", order, TIME_LIMIT_S)) as process:
                first, *made = [process.make(index) for index in range(scenes + 1)]
        mean = {stage: float(np.mean([scene["stages"][stage] for scene in made])) for stage in first["stages"]}
        total = sum(mean.values())
        table.add_row(
            name,
            *(f"{1e3 * seconds:.0f}" for seconds in mean.values()),
            f"{1e3 * total:.0f}",
            f"{3600 * (os.cpu_count() or 1) / total:,.0f}",
            f"{1e3 * sum(first['stages'].values()):.0f}",
            f"{1e3 * first['before_s']:.0f}",
        )
    return table


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
    parser.add_argument("--stages", type=int, default=0, help="scenes of each kind to time by stage; 0: none")
    parser.add_argument("--tasks", type=int, default=1000, help="scenes that take no time; 0: none")
    parser.add_argument("--memory", type=int, default=3, help="scenes whose process is weighed; 0: none")
    options = parser.parse_args()
    console = Console()
    config = GenerationConfig() if options.config is None else GenerationConfig.load(options.config)
    if options.stages:
        console.print(stages(config, options.stages))
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
