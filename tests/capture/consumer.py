"""Helpers for tests of live sources: a consumer in a thread, camera-like times, and settings with short timeouts."""

import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import psutil
import pytest

from sweepdepth.capture.cameras import CameraSettings
from sweepdepth.capture.cameras.camera import Camera
from sweepdepth.capture.events import TRIGGER_DTYPE, Batch, join

EPOCH_US = 1_763_000_511_821_624
QUICK = CameraSettings(connect_timeout_s=0.3)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    yield
    assert [p for p in psutil.Process().children() if "sources.worker" in " ".join(p.cmdline())] == []


class Collector:
    """Iterates over a camera in a separate thread, like the runtime."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.batches: list[Batch] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for batch in self.camera:
            self.batches.append(batch)

    def wait(self, holds: Callable[[], bool], timeout_s: float = 40.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, self.camera.status()
            assert self._thread.is_alive()
            time.sleep(0.01)

    @property
    def n_events(self) -> int:
        return sum(len(batch.events) for batch in self.batches)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Close the camera and return its events and triggers, after checking the guarantees of the batches."""
        closed = time.monotonic()
        self.camera.close()
        self._thread.join(5)
        assert not self._thread.is_alive()
        assert time.monotonic() - closed < 3.0
        end_us = -(1 << 63)
        for batch in self.batches:
            for times in (batch.events["timestamp"], batch.triggers["timestamp"]):
                if len(times):
                    assert end_us <= times[0]
                    assert np.all(times[1:] >= times[:-1])
                    assert times[-1] < batch.end_us
            end_us = batch.end_us
        return join([b.events for b in self.batches]), join([b.triggers for b in self.batches], TRIGGER_DTYPE)
