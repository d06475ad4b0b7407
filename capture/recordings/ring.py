"""A ring of slots in shared memory, and the two ends that pass chunks through it.

One process produces, the other consumes; either may be the worker. The memory is an anonymous file that lives as long
as somebody has it open, so nothing is left behind however a process ends. Small JSON messages say which slot is full
and which is free again; nothing is ever unpickled.
"""

import mmap
import os
import tempfile
import time
from collections import deque
from collections.abc import Generator
from typing import Any, Protocol

import numpy as np

from ..events import EVENT_DTYPE, TRIGGER_DTYPE
from .source import Chunk

SLOTS = 8
SLOT_EVENTS = 1 << 17
SLOT_TRIGGERS = 1 << 12
_EVENT_BYTES = SLOT_EVENTS * EVENT_DTYPE.itemsize
_SLOT_BYTES = _EVENT_BYTES + SLOT_TRIGGERS * TRIGGER_DTYPE.itemsize
RING_BYTES = SLOTS * _SLOT_BYTES


class Port(Protocol):
    """One end of the ring with its control messages. `receive` waits as long as this end is willing to."""

    @property
    def ring(self) -> "Ring": ...

    def send(self, message: dict[str, Any]) -> None: ...

    def receive(self) -> dict[str, Any]: ...


def anonymous_file(size: int = 0) -> int:
    """A file descriptor of a file without a name, `size` bytes long, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("sweepdepth")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


class Ring:
    """`SLOTS` slots of `SLOT_EVENTS` events and `SLOT_TRIGGERS` triggers, mapped from a file descriptor."""

    def __init__(self, fd: int) -> None:
        memory = np.frombuffer(mmap.mmap(fd, RING_BYTES), np.uint8).reshape(SLOTS, _SLOT_BYTES)
        self._events = memory[:, :_EVENT_BYTES].view(EVENT_DTYPE)
        self._triggers = memory[:, _EVENT_BYTES:].view(TRIGGER_DTYPE)

    def events(self, slot: int) -> np.ndarray:
        """(SLOT_EVENTS,) EVENT_DTYPE, the slot's own memory."""
        return self._events[slot]

    def triggers(self, slot: int) -> np.ndarray:
        """(SLOT_TRIGGERS,) TRIGGER_DTYPE, the slot's own memory."""
        return self._triggers[slot]


class Producer:
    """Packs chunks into slots, and sends a slot when it is full or `flush_s` after its first event came."""

    def __init__(self, port: Port, flush_s: float) -> None:
        self._port = port
        self._flush_s = flush_s
        self._free = deque(range(SLOTS))
        self._slot: int | None = None
        self._n_events = self._n_triggers = 0
        self._complete_us: int | None = None
        self._since = 0.0

    def put(self, chunk: Chunk) -> None:
        """Take in one chunk of any length; returns once all of it is in the ring."""
        events, triggers = chunk.events, chunk.triggers
        at = trigger_at = 0
        while at < len(events) or trigger_at < len(triggers):
            slot = self._claim()
            # Triggers go first, so that none comes after an event that it precedes.
            n = min(SLOT_TRIGGERS - self._n_triggers, len(triggers) - trigger_at)
            _copy(self._port.ring.triggers(slot), self._n_triggers, triggers[trigger_at : trigger_at + n])
            self._n_triggers += n
            trigger_at += n
            if trigger_at == len(triggers):
                n = min(SLOT_EVENTS - self._n_events, len(events) - at)
                _copy(self._port.ring.events(slot), self._n_events, events[at : at + n])
                self._n_events += n
                at += n
            if self._n_events == SLOT_EVENTS or self._n_triggers == SLOT_TRIGGERS:
                self.flush()
        if chunk.complete_us is not None:
            self._claim()
            self._complete_us = chunk.complete_us
        if self._slot is not None and time.monotonic() - self._since >= self._flush_s:
            self.flush()

    def flush(self) -> None:
        """Send what is waiting."""
        if self._slot is None:
            return
        self._port.send(
            {
                "slot": self._slot,
                "events": self._n_events,
                "triggers": self._n_triggers,
                "complete_us": self._complete_us,
            }
        )
        self._slot = self._complete_us = None
        self._n_events = self._n_triggers = 0

    def _claim(self) -> int:
        if self._slot is None:
            while not self._free:
                self._free.append(self._port.receive()["free"])
            self._slot = self._free.popleft()
            self._since = time.monotonic()
        return self._slot


def consume(port: Port) -> Generator[Chunk, None, str | None]:
    """Chunks from the other end until it says that there are no more; returns the note it ended with.

    A chunk is the slot's own memory: it goes back to the other end when the next one is asked for.
    """
    while "end" not in (message := port.receive()):
        slot = message["slot"]
        yield Chunk(
            port.ring.events(slot)[: message["events"]],
            port.ring.triggers(slot)[: message["triggers"]],
            message["complete_us"],
        )
        port.send({"free": slot})
    return message["end"]


def _copy(target: np.ndarray, at: int, source: np.ndarray) -> None:
    """`target[at:at + len(source)] = source`, as 16 plain bytes an item: NumPy takes far longer field by field."""
    source = np.ascontiguousarray(source, target.dtype)
    target[at : at + len(source)].view("V16")[:] = source.view("V16")
