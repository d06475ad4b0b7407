"""The dask worker plugin that generates scenes; separate from `job`, since its base class needs dask."""

import logging
import queue
import signal
import threading
from collections.abc import Mapping
from typing import Any

from distributed import WorkerPlugin, get_worker

from .worker_process import SceneFailure, SceneProcess

_ATTEMPTS = 2
_FATAL = ("disk full", "configuration")  # affect all other scenes, too


class ScenePlugin(WorkerPlugin):
    """Owns the scene processes of a worker, one for each concurrent task.

    A process is killed when a scene takes too long, and replaced after `scenes_per_process` scenes. Workers of the
    job's own cluster leave Ctrl-C and SIGTERM to the job, and do not log connections that end with it.
    """

    def __init__(
        self,
        name: str,
        maker: str,
        order: Mapping[str, Any],
        time_limit_s: float,
        scenes_per_process: int,
        own_cluster: bool,
    ) -> None:
        self.name = name
        self._own_cluster = own_cluster
        self._maker, self._order = maker, dict(order)
        self._time_limit_s, self._scenes_per_process = time_limit_s, scenes_per_process

    def setup(self, worker: Any) -> None:
        if self._own_cluster and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        self._idle: queue.SimpleQueue[SceneProcess] = queue.SimpleQueue()
        self._all: set[SceneProcess] = set()
        self._closing = threading.Event()

    def teardown(self, worker: Any) -> None:
        self._closing.set()
        for process in list(self._all):
            process.close()

    def make(self, index: int) -> dict[str, Any]:
        """Make a scene: the result of `SceneProcess.make`, or `kind`, `text` and `log` of the last failure."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                return self._make_once(index)
            except SceneFailure as failure:
                if attempt == _ATTEMPTS or failure.kind in _FATAL or self._closing.is_set():
                    return {"kind": failure.kind, "text": str(failure), "log": failure.log}
        raise AssertionError("unreachable")

    def _make_once(self, index: int) -> dict[str, Any]:
        try:
            process = self._idle.get_nowait()
        except queue.Empty:
            process = SceneProcess(self._maker, self._order, self._time_limit_s)
            self._all.add(process)
        try:
            made = process.make(index)
        except BaseException:
            self._retire(process)
            raise
        if process.made >= self._scenes_per_process:
            self._retire(process)
        else:
            self._idle.put(process)
        return made

    def _retire(self, process: SceneProcess) -> None:
        process.close()
        self._all.discard(process)


def make_on_worker(plugin: str, index: int) -> dict[str, Any]:
    """The dask task: makes a scene in its worker's plugin."""
    return get_worker().plugins[plugin].make(index)  # pyright: ignore[reportAttributeAccessIssue]
