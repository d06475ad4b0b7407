"""Network streams of dv-processing, as `NetworkWriter` sends them: events on one TCP port, triggers on another."""

import ipaddress
import socket
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import CameraError
from ..events import TRIGGER_DTYPE, join
from ..recordings.aedat4 import external_edges
from ..sources.chunks import NO_EVENTS, NO_TRIGGERS, Chunk, Header, Source

FLUSH_S = 0.005
_IDLE_S = 0.002
_RETRY_S = 0.1


def decode(host: str, events_port: int, triggers_port: int | None, patience_s: float, settings: dict) -> Source:
    """Connect to a stream, trying again for `patience_s`."""
    address = _resolve(host)
    deadline = time.monotonic() + patience_s
    events = _connect(address, host, events_port, deadline)
    if not events.isEventStreamAvailable():
        raise CameraError(f"port {events_port} sends no events; is it the port of the triggers?")
    triggers = None
    if triggers_port is not None:
        triggers = _connect(address, host, triggers_port, deadline)
        if not triggers.isTriggerStreamAvailable():
            raise CameraError(f"port {triggers_port} sends no triggers; is it the port of the events?")
    width, height = events.getEventResolution() or (0, 0)
    name = events.getCameraName() or "network stream"
    return Source(Header(name, int(width), int(height)), _chunks(events, triggers, settings["trigger_hold_s"]), FLUSH_S)


def _chunks(events: Any, triggers: Any | None, hold_s: float) -> Iterator[Chunk]:
    """Merged chunks: events are held back until the triggers before them, on the other port, must have arrived."""
    held: deque[tuple[float, np.ndarray]] = deque()
    hold_s = 0.0 if triggers is None else hold_s
    while True:
        running = events.isRunning() and (triggers is None or triggers.isRunning())
        store = events.getNextEventBatch()
        if store is not None:
            held.append((time.monotonic() + hold_s, store.numpy()))
        edges = NO_TRIGGERS if triggers is None else _edges(triggers)
        due = NO_EVENTS
        if held and (not running or held[0][0] <= time.monotonic()):
            due = held.popleft()[1]
        yield Chunk(due, edges)
        if store is None and not len(due):
            if not running:
                raise CameraError("the peer closed the connection")
            time.sleep(_IDLE_S)


def _edges(triggers: Any) -> np.ndarray:
    """All external edges received so far."""
    found = []
    while (packet := triggers.getNextTriggerBatch()) is not None:
        if len(packet):
            found.append(external_edges(packet)[1])
    return join(found, TRIGGER_DTYPE) if found else NO_TRIGGERS


def _resolve(host: str) -> str:
    """The IP address of a host: the library accepts no names."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise CameraError(f"there is no host {host}: {error.strerror or error}") from error
    return str(min(found, key=lambda entry: entry[0] != socket.AF_INET)[4][0])


def _connect(address: str, host: str, port: int, deadline: float) -> Any:
    import dv_processing as dv

    while True:
        try:
            return dv.io.NetworkReader(address, port)
        except RuntimeError as error:
            if time.monotonic() + _RETRY_S > deadline:
                raise CameraError(f"{host} port {port}: {_explain(error)}") from error
        time.sleep(_RETRY_S)


def _explain(error: RuntimeError) -> str:
    text = str(error)
    if "refused" in text:
        return "nobody listens there; start the sender, or correct the port"
    if "End of file" in text or "reset" in text:
        return "the peer closed the connection: it does not speak dv-processing's protocol, or has too many clients"
    return text.splitlines()[0].split(" [")[0] if text else "cannot be connected to"
