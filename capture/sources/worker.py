"""The worker process: `python -m sweepdepth.capture.sources.worker JOB` runs one decoder or encoder.

On damaged data, libraries for event files may loop forever, crash or exhaust memory, and nothing inside a process can
stop them. This process isolates them: it does nothing else, its memory is limited, and it is killed when a call takes
too long or its parent has ended.
"""

import errno
import importlib
import json
import os
import resource
import signal
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from ..child import take_job
from ..errors import SweepdepthError
from .chunks import CutShort, LiveSink, Sink, Source
from .process import LONGEST_WAIT
from .ring import Producer, Ring, consume

MEMORY_BYTES = 2 << 30
_LOG_BYTES = 1 << 20
_PARENT_CHECK_S = 1.0
RECORDER_FLUSH_S = 0.5
"""Interval of flushing a live recording; with the events waiting in the ring, less than a second can be lost."""

DISK_RESERVE_BYTES = 1 << 20
"""Disk space that a live recording leaves free, needed for closing the file."""


class ParentGone(Exception):
    """The parent process has ended."""


class ParentPort:
    """The worker's end of the ring: it waits for a busy parent, and ends if the parent has ended."""

    def __init__(self, ring: Ring, connection: Connection) -> None:
        self.ring = ring
        self._connection = connection
        self._parent = os.getppid()
        self._checked = 0.0

    def check_parent(self) -> None:
        """Check from time to time whether the parent still exists."""
        if time.monotonic() > self._checked + _PARENT_CHECK_S:
            self._checked = time.monotonic()
            if os.getppid() != self._parent:
                raise ParentGone

    def send(self, message: dict[str, Any]) -> None:
        try:
            self._connection.send_bytes(json.dumps(message).encode())
        except OSError as error:
            raise ParentGone from error

    def poll(self, timeout_s: float) -> bool:
        try:
            return self._connection.poll(timeout_s)
        except OSError as error:
            raise ParentGone from error

    def receive(self) -> dict[str, Any]:
        try:
            # A forked sibling may hold the parent's end open after the parent's death, so check the parent's id, too.
            while not self._connection.poll(_PARENT_CHECK_S):
                if os.getppid() != self._parent:
                    raise ParentGone
            return json.loads(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise ParentGone from error


def main() -> None:
    """Run the job in `sys.argv[1]`, report the result, and exit without running any library's destructors."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # sent to the whole group; the owner ends this process
    job, connection = take_job()
    arguments = {name: tuple(value) if isinstance(value, list) else value for name, value in job["arguments"].items()}
    port = ParentPort(Ring(job["ring_fd"]), connection)
    try:
        _limit(job["role"])
        module, function = job["function"].split(":")
        work = getattr(importlib.import_module(module), function)
        port.send({"ready": os.getpid()})
        serve = _ROLES[job["role"]]
        serve(port, work, arguments, job["deadline_s"])
    except ParentGone:
        pass
    except BaseException as error:
        traceback.print_exc()
        with suppress(ParentGone):
            port.send({"error": explain(error)})
    os._exit(0)


def _serve_source(port: ParentPort, decode: Callable[..., Source], arguments: dict[str, Any], deadline_s: int) -> None:
    source = _within(deadline_s, decode, **arguments)
    port.send({"header": vars(source.header)})
    producer = Producer(port, source.flush_s)
    chunks = iter(source.chunks)
    try:
        while (chunk := _within(deadline_s, next, chunks, None)) is not None:
            producer.put(chunk)
    except CutShort as cut:
        source.losses.notes.append(str(cut))
    except ParentGone:
        raise
    except BaseException:
        producer.flush()
        raise
    producer.flush()
    port.send({"end": vars(source.losses)})


def _serve_camera(port: ParentPort, decode: Callable[..., Source], arguments: dict[str, Any], deadline_s: int) -> None:
    """Like a file, but without waiting for a busy parent, and with a sign of activity while there are no events.

    Chunks arrive at least several times a second, empty ones if there are no events.
    """
    source = _within(deadline_s, decode, **arguments)
    port.send({"header": vars(source.header)})
    producer = Producer(port, source.flush_s, live=True)
    chunks = iter(source.chunks)
    try:
        while (chunk := _within(deadline_s, next, chunks, None)) is not None:
            producer.put(chunk)
            port.ring.vitals["alive_ns"] = time.monotonic_ns()
            port.check_parent()
    except BaseException:
        producer.flush()
        raise
    producer.flush()
    port.send({"end": None})


def _serve_sink(port: ParentPort, encode: Callable[..., Sink], arguments: dict[str, Any], deadline_s: int) -> None:
    sink = _within(deadline_s, encode, **arguments)
    for chunk in consume(port):
        _within(deadline_s, sink.write, chunk.events, chunk.triggers)
    _within(deadline_s, sink.close)
    port.send({"done": True})


def _serve_recorder(
    port: ParentPort, encode: Callable[..., LiveSink], arguments: dict[str, Any], deadline_s: int
) -> None:
    """Like a file, but flushed regularly, and finished even if the parent is killed."""
    sink = _within(deadline_s, encode, **arguments)
    port.send({"open": True})
    flushed, fresh, wanted = time.monotonic(), False, True
    try:
        while wanted:
            if port.poll(RECORDER_FLUSH_S):
                message = port.receive()
                wanted = "end" not in message
                if wanted:
                    slot = message["slot"]
                    events = port.ring.events(slot)[: message["events"]]
                    triggers = port.ring.triggers(slot)[: message["triggers"]]
                    _check_room(arguments["path"], events.nbytes + triggers.nbytes)
                    _within(deadline_s, sink.write, events, triggers)
                    port.send({"free": slot})
                    fresh = True
            port.check_parent()
            if fresh and time.monotonic() - flushed >= RECORDER_FLUSH_S:
                _within(deadline_s, sink.flush)
                flushed, fresh = time.monotonic(), False
    except (ParentGone, OSError):
        _within(deadline_s, sink.close)
        raise
    _within(deadline_s, sink.close)
    port.send({"done": True})


def _check_room(path: str, n_bytes: int) -> None:
    """Stop before the disk is full: a library that fails during a write leaves the file in an undefined state, while
    one closed in time leaves a valid file."""
    stat = os.statvfs(path)
    if stat.f_bavail * stat.f_frsize < DISK_RESERVE_BYTES + 2 * n_bytes:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _within(deadline_s: int, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call a function, and let the operating system end this process if it does not return in time.

    Its time is that of the processor: on a busy machine, little of that may pass in a minute. The default actions of
    these signals do not involve Python, so they also end a library that loops with the interpreter locked after the
    parent, which normally notices first, has died.
    """
    signal.setitimer(signal.ITIMER_PROF, deadline_s)
    signal.alarm(LONGEST_WAIT * deadline_s)
    try:
        return call(*args, **kwargs)
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)


def _limit(role: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if role in ("source", "camera"):  # they write only a log, which a looping library could fill without limit
        resource.setrlimit(resource.RLIMIT_FSIZE, (_LOG_BYTES, _LOG_BYTES))


_ROLES = {"source": _serve_source, "camera": _serve_camera, "sink": _serve_sink, "recorder": _serve_recorder}


def explain(error: BaseException) -> str:
    """Explain an error in one line, without C++ signatures or stack traces."""
    if isinstance(error, SweepdepthError):
        return str(error)
    if isinstance(error, MemoryError):
        return f"it asks for more than {MEMORY_BYTES >> 30} GiB of memory, as damaged files do"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line for line in lines if line and "::" not in line), type(error).__name__)[:300]


if __name__ == "__main__":
    main()
