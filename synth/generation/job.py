"""The generation job: renders the missing scenes of a dataset on many workers, and can be resumed at any time.

    report = generate("dataset", scenes=1000, seed=0, config=GenerationConfig())

Scenes are tasks of dask.distributed, on a local cluster or on a running scheduler. Dask cannot cancel a task that
hangs, so workers do not render scenes themselves: each task slot owns a `SceneProcess`, which is killed when a scene
takes too long, and replaced after a number of scenes. A scene that fails is retried once in a new process, then skipped
and listed. Files are written atomically, so any process may be killed at any time: the next run, or dask itself, makes
the missing scenes.

Workers on other machines need access to the dataset's folder under the same path, and sweepdepth and Blender installed.
On SLURM, with dask-jobqueue:

    from dask_jobqueue import SLURMCluster
    cluster = SLURMCluster(cores=8, processes=8, memory="16GB", walltime="12:00:00")
    cluster.scale(jobs=8)                                    # 64 scenes at a time
    generate("dataset", scenes=100_000, seed=0, config=config, scheduler=cluster.scheduler_address)
"""

import logging
import os
import time
import uuid
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...capture.errors import SweepdepthError
from ...capture.files.dataset import DiskFullError, Manifest, create_dataset, remove_partial_scenes, versions
from ..blender import session
from .config import ConfigError, GenerationConfig
from .inputs import check_inputs

if TYPE_CHECKING:
    from .scene_plugin import ScenePlugin

MAKER = "sweepdepth.synth.generation.make_scene:make_scene"
DEFAULT_TIME_LIMIT_S = 1800.0
DEFAULT_SCENES_PER_PROCESS = 25
PATCH_SCENES_PER_PROCESS = 2000
"""Scenes per process for patch scenes, which do not leak memory and are fast compared with starting a process."""
WORKER_MEMORY_BYTES = 2 << 30
"""Memory of one worker with Blender; limits the number of workers on a machine."""

_TASKS_PER_SLOT = 2  # submitted ahead, so that no worker waits
_MOST_FAILURES_AT_FIRST = 20  # if the first scenes all fail, the job is aborted
_CONNECT_TIMEOUT_S = 20


@dataclass(frozen=True)
class SkippedScene:
    """A scene that failed twice."""

    index: int
    reason: str
    log: str = ""  # the end of its process's output


@dataclass(frozen=True)
class JobProgress:
    """Progress of a job."""

    made: int
    skipped: int
    to_make: int
    elapsed_s: float
    slots: int

    @property
    def scenes_per_hour(self) -> float:
        return 3600 * self.made / self.elapsed_s if self.elapsed_s > 0 else 0.0

    @property
    def left_s(self) -> float | None:
        """Estimated remaining seconds at the rate so far; None before the first scene."""
        remaining = self.to_make - self.made - self.skipped
        return None if not self.made else remaining * self.elapsed_s / self.made


@dataclass(frozen=True)
class JobReport:
    """Result of a job. The dataset is complete if nothing was skipped."""

    folder: Path
    made: int
    present: int  # scenes that existed before
    skipped: tuple[SkippedScene, ...]
    elapsed_s: float
    events: int  # in the new recordings
    render_s: float  # of the new scenes, summed over the workers, as are the next two
    total_s: float
    cpu_s: float  # processor time

    @property
    def scenes_per_hour(self) -> float:
        return 3600 * self.made / self.elapsed_s if self.elapsed_s > 0 else 0.0


@dataclass
class _Tally:
    made: int = 0
    events: int = 0
    render_s: float = 0.0
    total_s: float = 0.0
    cpu_s: float = 0.0
    skipped: list[SkippedScene] = field(default_factory=list)


def generate(
    folder: str | Path,
    scenes: int,
    seed: int,
    config: GenerationConfig,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    time_limit_s: float = DEFAULT_TIME_LIMIT_S,
    scenes_per_process: int | None = None,
    on_progress: Callable[[JobProgress], None] = lambda progress: None,
    maker: str = MAKER,
) -> JobReport:
    """Generate the missing ones of the scenes 0 … `scenes` − 1 of a dataset.

    Args:
        folder: of the dataset; created if missing.
        scenes: total number of scenes.
        seed: of all random choices; scene i depends only on it, on i and on `config`.
        config: the generation configuration.
        workers: processes on this machine; by default as many as cores and memory allow.
        scheduler: address of a running dask scheduler to use instead of local workers.
        time_limit_s: a scene that takes longer is aborted.
        scenes_per_process: number of scenes after which a process is replaced, to free memory that Blender leaks; by
            default 25, and 2000 for patch scenes.
        on_progress: called after every scene, from this thread.
        maker: "module:function" that generates one scene; see `SceneProcess`.

    Returns:
        A report of the scenes made, and of those skipped after two failures.

    Raises:
        RecordingError: the folder holds another dataset, or cannot be written.
        DiskFullError: the disk is full; scenes made so far are kept.
        ConfigError: the configuration is inconsistent, or a file that it names is invalid.
        SweepdepthError: dask is not installed, no scheduler answers, or all scenes fail.
    """
    if scenes < 0:
        raise ConfigError(f"--scenes ({scenes}) must not be negative")
    if workers is not None and workers < 1:
        raise ConfigError(f"--workers ({workers}) must be at least 1")
    if maker == MAKER and scheduler is None and config.render != "patches" and not session.is_installed():
        raise session.RenderError(
            "Blender is missing: pip install 'sweepdepth[blender]' (needs Python 3.11), or --render patches"
        )
    check_inputs(config, seed)
    if scenes_per_process is None:
        scenes_per_process = PATCH_SCENES_PER_PROCESS if config.render == "patches" else DEFAULT_SCENES_PER_PROCESS
    dataset = create_dataset(Path(folder).absolute(), Manifest(seed, config.fingerprint(), versions()))
    missing = dataset.missing(scenes)
    start = time.monotonic()
    tally = _Tally()
    if missing:
        try:
            with _cluster(min(workers or default_workers(), len(missing)), scheduler) as (client, threads):
                from .scene_plugin import ScenePlugin

                order = {
                    "folder": str(dataset.folder),
                    "seed": seed,
                    "config": config.model_dump(mode="json"),
                    "threads": config.rendering.threads or threads,
                }
                name = f"sweepdepth-{uuid.uuid4().hex}"
                plugin = ScenePlugin(
                    name, maker, order, time_limit_s, scenes_per_process, own_cluster=scheduler is None
                )
                with closing(_outcomes(client, plugin, missing)) as outcomes:
                    for index, outcome, slots in outcomes:
                        _count(index, outcome, tally)
                        elapsed = time.monotonic() - start
                        on_progress(JobProgress(tally.made, len(tally.skipped), len(missing), elapsed, slots))
        finally:
            remove_partial_scenes(dataset.folder)
    return JobReport(
        folder=dataset.folder,
        made=tally.made,
        present=scenes - len(missing),
        skipped=tuple(sorted(tally.skipped, key=lambda scene: scene.index)),
        elapsed_s=time.monotonic() - start,
        events=tally.events,
        render_s=tally.render_s,
        total_s=tally.total_s,
        cpu_s=tally.cpu_s,
    )


def default_workers() -> int:
    """One worker per core available to this process, limited by memory."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(1, min(_cores(), memory // WORKER_MEMORY_BYTES))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _cluster(workers: int, scheduler: str | None) -> Iterator[tuple[Any, int]]:
    """A dask client, and the number of threads per scene."""
    try:
        from distributed import Client, LocalCluster
    except ImportError as error:
        raise SweepdepthError("dask is missing: pip install 'sweepdepth[cluster]'") from error
    if scheduler is not None:
        try:
            client = Client(scheduler, timeout=_CONNECT_TIMEOUT_S, set_as_default=False)
        except (OSError, ValueError) as error:
            raise SweepdepthError(f"{scheduler}: no dask scheduler answers; start one with `dask scheduler`") from error
        with client:
            yield client, 1  # one scene per thread of the workers
        return
    options: dict[str, Any] = {
        "n_workers": workers,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": "127.0.0.1:0",
        "memory_limit": 0,  # the memory is used by the scenes' processes
        "silence_logs": logging.CRITICAL,  # killed workers are handled here
    }
    with LocalCluster(**options) as cluster, Client(cluster, set_as_default=False) as client:
        yield client, max(1, _cores() // workers)


def _outcomes(
    client: Any, plugin: "ScenePlugin", indices: list[int]
) -> Generator[tuple[int, dict[str, Any], int], None, None]:
    """Yield scene number, result and number of task slots as scenes finish; cancels running scenes at the end."""
    from distributed import as_completed

    from .scene_plugin import make_on_worker

    client.register_plugin(plugin, name=plugin.name)
    waiting, running = deque(indices), {}
    done = as_completed(loop=client.loop)
    try:
        slots = max(1, sum(client.nthreads().values()))
        while waiting or running:
            while waiting and len(running) < _TASKS_PER_SLOT * slots:
                index = waiting.popleft()
                future = client.submit(make_on_worker, plugin.name, index, key=f"{plugin.name}-{index}", pure=False)
                running[future.key] = (index, future)
                done.add(future)
            finished = next(done)
            index, _ = running.pop(finished.key)
            if finished.status == "finished":
                outcome = finished.result()
            else:  # dask gives up on a task that has lost several workers
                outcome = {"kind": "crashed", "text": f"its worker was lost: {finished.exception()}", "log": ""}
            slots = max(1, sum(client.nthreads().values()))
            yield index, outcome, slots
    finally:
        with suppress(OSError, TimeoutError, KeyError):  # the cluster itself may have failed
            client.cancel([future for _, future in running.values()], force=True)
            client.unregister_worker_plugin(plugin.name)


def _count(index: int, outcome: dict[str, Any], tally: _Tally) -> None:
    if "kind" not in outcome:
        tally.made += 1
        tally.events += outcome["events"]
        tally.render_s += outcome["render_s"]
        tally.total_s += outcome["total_s"]
        tally.cpu_s += outcome["cpu_s"]
        return
    kind, text = outcome["kind"], outcome["text"]
    if kind == "disk full":
        raise DiskFullError(text)
    if kind == "configuration":
        raise ConfigError(text)
    tally.skipped.append(SkippedScene(index, text, outcome["log"]))
    if not tally.made and len(tally.skipped) >= _MOST_FAILURES_AT_FIRST:
        raise SweepdepthError(f"none of {len(tally.skipped)} scenes could be made; the last failed since {text}")
