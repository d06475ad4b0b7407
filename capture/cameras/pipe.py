"""Events from another program, through a UNIX pipe or socket; docs/pipe.md specifies the format."""

import os
import selectors
import socket
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import suppress

import numpy as np

from ..errors import CameraError
from ..events import EVENT_DTYPE, TRIGGER_DTYPE, make_triggers
from ..sources.chunks import NO_EVENTS, NO_TRIGGERS, Chunk, Header, Source

MAGIC, VERSION = b"SWEEPEVT", 1
HEADER = struct.Struct("<8sHHHH")  # magic, version, width, height, 0
BATCH = struct.Struct("<IIq")  # kind, count, complete_us
EVENTS, TRIGGERS = 1, 2
UNKNOWN_US = -1
LARGEST_BATCH = 1 << 20
ITEM_BYTES = 16

FLUSH_S = 0.005
_LOOK_S = 0.05
_RETRY_S = 0.1
_PIPE_BYTES = 1 << 20


def decode(path: str, patience_s: float, settings: dict) -> Source:
    """Open a pipe for reading, or connect to a socket, and read the header; waits `patience_s` for a sender."""
    deadline = time.monotonic() + patience_s
    while True:
        line = _Line(_open(path, deadline))
        try:
            header = bytes(line.read(HEADER.size, deadline))
            break
        except _Ended as ended:
            # A pipe without a sender ends at once, and so does a socket whose owner is just exiting.
            line.close()
            if ended.n:
                raise CameraError(f"it ended after {ended.n} bytes of its header of {HEADER.size}") from None
        if time.monotonic() > deadline:
            raise CameraError(f"no sender wrote to it within {patience_s:g} s; start the sender (see docs/pipe.md)")
        time.sleep(_RETRY_S)
    return Source(Header("pipe", *_size(header)), _chunks(line), FLUSH_S)


def _size(header: bytes) -> tuple[int, int]:
    """Width and height from the header of a stream."""
    magic, version, width, height, zero = HEADER.unpack(header)
    if magic != MAGIC:
        raise CameraError(f"the data is not an event stream: it starts with {bytes(magic)!r}, not {MAGIC!r}")
    if version != VERSION:
        raise CameraError(f"its stream has version {version}; this program reads version {VERSION}")
    if not (width and height) or zero:
        raise CameraError(f"its header is damaged: it has {width}×{height} pixels and {zero} where 0 belongs")
    return width, height


def _chunks(line: "_Line") -> Iterator[Chunk]:
    n_batches = 0
    while True:
        try:
            if not line.wait(_LOOK_S):
                yield Chunk(NO_EVENTS, NO_TRIGGERS)
                continue
            kind, count, complete_us = BATCH.unpack(line.read(BATCH.size))
            if kind not in (EVENTS, TRIGGERS) or count > LARGEST_BATCH or complete_us < UNKNOWN_US:
                raise CameraError(
                    f"batch {n_batches} is damaged: kind {kind}, {count} items, complete to {complete_us} µs; expected "
                    f"kind {EVENTS} or {TRIGGERS}, and at most {LARGEST_BATCH} items"
                )
            body = line.read(count * ITEM_BYTES)
        except _Ended as ended:
            where = f" in the middle of batch {n_batches}" if ended.n else ""
            raise CameraError(f"the sender closed it{where}") from None
        n_batches += 1
        complete = None if complete_us == UNKNOWN_US else complete_us
        if kind == EVENTS:
            yield Chunk(np.frombuffer(body, EVENT_DTYPE), NO_TRIGGERS, complete)
        else:
            edges = np.frombuffer(body, TRIGGER_DTYPE)  # a pipe carries one trigger input, so the padding is ignored
            yield Chunk(NO_EVENTS, make_triggers(edges["timestamp"], edges["edge"]), complete)


def _open(path: str, deadline: float) -> int:
    """A non-blocking file descriptor of a pipe or a connected socket."""
    while True:
        try:
            mode = os.stat(path).st_mode
            if stat.S_ISFIFO(mode):
                fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
                _widen(fd)
                return fd
            if not stat.S_ISSOCK(mode):
                raise CameraError(f"{path} is neither a pipe nor a socket; make one with mkfifo (see docs/pipe.md)")
            with socket.socket(socket.AF_UNIX) as connection:
                connection.connect(path)
                connection.setblocking(False)
                return connection.detach()
        except OSError as error:
            if time.monotonic() + _RETRY_S > deadline:
                hint = "make it with mkfifo, or start the sender (see docs/pipe.md)"
                raise CameraError(f"{path} cannot be opened: {error.strerror or error}; {hint}") from error
        time.sleep(_RETRY_S)


def _widen(fd: int) -> None:
    """Enlarge a pipe's buffer to about one batch where the system allows it; the default 64 KiB stall a busy sender."""
    import fcntl

    with suppress(OSError, AttributeError):
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)


class _Ended(Exception):
    """The sender closed the connection after `n` of the bytes to be read."""

    def __init__(self, n: int) -> None:
        super().__init__(n)
        self.n = n


class _Line:
    """Reads exact lengths from a non-blocking file descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._selector = selectors.DefaultSelector()
        self._selector.register(fd, selectors.EVENT_READ)

    def wait(self, timeout_s: float) -> bool:
        """Whether there is something to read, or the end of the stream, within a time."""
        return bool(self._selector.select(timeout_s))

    def read(self, n: int, deadline: float | None = None) -> bytearray:
        """Read exactly `n` bytes; without a deadline, wait for a sender that pauses in between.

        Raises:
            _Ended: the stream ended before, or the deadline passed.
        """
        data = bytearray(n)
        view, at = memoryview(data), 0
        while at < n:
            try:
                got = os.readv(self._fd, [view[at:]])
            except BlockingIOError:
                if not self.wait(_LOOK_S) and deadline is not None and time.monotonic() > deadline:
                    raise _Ended(at) from None
                continue
            except OSError:
                raise _Ended(at) from None
            if got == 0:
                raise _Ended(at)
            at += got
        return data

    def close(self) -> None:
        self._selector.close()
        os.close(self._fd)
