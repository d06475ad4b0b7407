"""The ring of slots between two processes, its two ends in one process."""

from collections import deque
from typing import Any

import numpy as np
import pytest

from sweepdepth.capture.child import anonymous_file
from sweepdepth.capture.events import make_events
from sweepdepth.capture.sources.chunks import NO_TRIGGERS, Chunk
from sweepdepth.capture.sources.ring import LIVE_SLOTS, Producer, Ring, ring_bytes


class Prompt:
    """A port whose consumer frees slots as soon as `lagging` later ones have come."""

    def __init__(self, lagging: int) -> None:
        self.ring = Ring(anonymous_file(ring_bytes(LIVE_SLOTS)))
        self.used: list[int] = []
        self._lagging = lagging
        self._freed: deque[int] = deque()

    def send(self, message: dict[str, Any]) -> None:
        self.used.append(message["slot"])
        if len(self.used) > self._lagging:
            self._freed.append(self.used[-1 - self._lagging])

    def receive(self) -> dict[str, Any]:
        return {"free": self._freed.popleft()}

    def poll(self, timeout_s: float) -> bool:
        return bool(self._freed)


@pytest.mark.parametrize("lagging", [0, 1, 5])
def test_a_camera_whose_events_are_taken_in_time_touches_only_the_slots_that_wait(lagging):
    port = Prompt(lagging)
    producer = Producer(port, flush_s=0.0, live=True)
    event = make_events(*(np.array([value]) for value in (7, 1, 2, 1)))
    for _ in range(100):
        producer.put(Chunk(event, NO_TRIGGERS))
    assert len(port.used) == 100
    assert len(set(port.used)) == lagging + 1
    assert int(port.ring.vitals["dropped_events"][0]) == 0
