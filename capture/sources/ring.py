"""A ring buffer of slots in shared memory, and the producer and consumer that pass chunks through it.

One process produces, the other consumes; either may be the worker. The memory is an anonymous file that exists only
while a process has it open, so nothing is left behind. Small JSON messages say which slot is full and which is free
again; nothing is unpickled. Values that must not wait for messages are in the ring's `vitals`.
"""

import mmap
import os
import time
from collections.abc import Generator
from typing import Any, Protocol

import numpy as np

from ..events import EVENT_DTYPE, TRIGGER_DTYPE
from .chunks import Chunk

SLOTS = 8
LIVE_SLOTS = 32
"""A camera cannot wait, so its ring holds 4 million events, the most that the fastest camera makes in 0.2 s. Memory is
allocated only when written to."""

SLOT_EVENTS = 1 << 17
SLOT_TRIGGERS = 1 << 12
_EVENT_BYTES = SLOT_EVENTS * EVENT_DTYPE.itemsize
_SLOT_BYTES = _EVENT_BYTES + SLOT_TRIGGERS * TRIGGER_DTYPE.itemsize
_VITALS_DTYPE = np.dtype([("alive_ns", "<i8"), ("dropped_events", "<i8"), ("dropped_triggers", "<i8")])
_VITALS_BYTES = mmap.PAGESIZE


class Port(Protocol):
    """One end of the ring with its control messages. `receive` waits up to this end's timeout."""

    @property
    def ring(self) -> "Ring": ...

    def send(self, message: dict[str, Any]) -> None: ...

    def receive(self) -> dict[str, Any]: ...

    def poll(self, timeout_s: float) -> bool:
        """Whether a message is available within a time."""
        ...


def ring_bytes(slots: int) -> int:
    """Size of a ring's file."""
    return _VITALS_BYTES + slots * _SLOT_BYTES


class Ring:
    """Slots of `SLOT_EVENTS` events and `SLOT_TRIGGERS` triggers, mapped from a file of `ring_bytes(slots)`.

    `vitals` is one record written by the producer: `alive_ns`, the host's monotonic clock at its last sign of activity,
    and the numbers of events and triggers that it dropped because no slot was free.
    """

    def __init__(self, fd: int) -> None:
        whole = np.frombuffer(mmap.mmap(fd, os.fstat(fd).st_size), np.uint8)
        self.vitals = whole[: _VITALS_DTYPE.itemsize].view(_VITALS_DTYPE)
        memory = whole[_VITALS_BYTES:].reshape(-1, _SLOT_BYTES)
        self.slots = len(memory)
        self._events = memory[:, :_EVENT_BYTES].view(EVENT_DTYPE)
        self._triggers = memory[:, _EVENT_BYTES:].view(TRIGGER_DTYPE)

    def events(self, slot: int) -> np.ndarray:
        """(SLOT_EVENTS,) EVENT_DTYPE, a view of the slot's memory."""
        return self._events[slot]

    def triggers(self, slot: int) -> np.ndarray:
        """(SLOT_TRIGGERS,) TRIGGER_DTYPE, a view of the slot's memory."""
        return self._triggers[slot]


class Producer:
    """Packs chunks into slots, and sends a slot when it is full or `flush_s` after its first event.

    The slot freed last is used first: it is still in the processor's cache, and those that are never needed take no
    memory. If no slot is free, it waits for one. A `live` producer never waits: it fills its current slot, then drops
    and counts events.
    """

    def __init__(self, port: Port, flush_s: float, *, live: bool = False) -> None:
        self._port = port
        self._flush_s = flush_s
        self._live = live
        self._free = list(range(port.ring.slots))
        self._slot: int | None = None
        self._n_events = self._n_triggers = 0
        self._complete_us: int | None = None
        self._since = 0.0

    def put(self, chunk: Chunk) -> None:
        """Add a chunk of any length; returns once it is in the ring, or dropped."""
        events, triggers = self._fitting(chunk) if self._live else (chunk.events, chunk.triggers)
        at = trigger_at = 0
        while at < len(events) or trigger_at < len(triggers):
            slot = self._claim()
            # Triggers first, so that none follows an event that it precedes.
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
        if chunk.complete_us is not None and (not self._live or self._slot is not None or self._free):
            self._claim()
            self._complete_us = chunk.complete_us
        # A live producer without another free slot fills this one up.
        may_flush = self._slot is not None and (not self._live or self._free)
        if may_flush and time.monotonic() - self._since >= self._flush_s:
            self.flush()

    def flush(self) -> None:
        """Send the current slot."""
        if self._slot is None:
            return
        self._port.send(
            {
                "slot": self._slot,
                "events": self._n_events,
                "triggers": self._n_triggers,
                "complete_us": self._complete_us,
                "at_ns": time.monotonic_ns(),
                "dropped": int(self._port.ring.vitals["dropped_events"][0]),  # up to its end
            }
        )
        self._slot = self._complete_us = None
        self._n_events = self._n_triggers = 0

    def _fitting(self, chunk: Chunk) -> tuple[np.ndarray, np.ndarray]:
        """The part of a chunk that fits: all of it, or its triggers only, which are few and more important."""
        while self._port.poll(0):
            self._free.append(self._port.receive()["free"])
        events, triggers = chunk.events, chunk.triggers
        dropped = self._port.ring.vitals
        if not self._has_room(len(events), len(triggers)):
            dropped["dropped_events"] += len(events)
            events = events[:0]
        if not self._has_room(0, len(triggers)):
            dropped["dropped_triggers"] += len(triggers)
            triggers = triggers[:0]
        return events, triggers

    def _has_room(self, n_events: int, n_triggers: int) -> bool:
        full = (self._n_events + n_events) // SLOT_EVENTS + (self._n_triggers + n_triggers) // SLOT_TRIGGERS
        return full < len(self._free) + (self._slot is not None)

    def _claim(self) -> int:
        if self._slot is None:
            while not self._free:
                self._free.append(self._port.receive()["free"])
            self._slot = self._free.pop()
            self._since = time.monotonic()
        return self._slot


def consume(port: Port) -> Generator[Chunk, None, dict[str, Any] | None]:
    """Yield chunks from the producer until its last; returns the `Losses` of a file as a dictionary.

    A chunk is a view of its slot, which is returned to the producer when the next chunk is requested.
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
    """`target[at:at + len(source)] = source` as 16 plain bytes per item; NumPy's copy field by field is far slower."""
    source = np.ascontiguousarray(source, target.dtype)
    target[at : at + len(source)].view("V16")[:] = source.view("V16")
