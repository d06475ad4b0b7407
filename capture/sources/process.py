"""The worker as its owner sees it: a process that is started, listened to with a limit, and always ended."""

import json
import os
import signal
import socket
import subprocess
import sys
import weakref
from contextlib import suppress
from math import ceil
from multiprocessing.connection import Connection
from typing import Any, Literal

from .ring import LIVE_SLOTS, SLOTS, Ring, anonymous_file, ring_bytes

STARTUP_TIMEOUT_S = 60.0
_DEADLINE_SLACK_S = 5
_LOG_TAIL_BYTES = 4000


class WorkerFailure(Exception):
    """A worker that reported an error, crashed, was killed or stalled; the text says which.

    `kind` is "error" for what it reported itself, else "stalled" or "crashed". What it wrote to its standard error is
    attached as a note.
    """

    def __init__(self, kind: Literal["error", "stalled", "crashed"], text: str) -> None:
        super().__init__(text)
        self.kind = kind


class WorkerProcess:
    """A process that runs one decoder (`source`, or `camera` when it is live) or encoder (`sink`, or `recorder`), and
    this side's end of its ring.

    `function` is "module:name", called there with `arguments` (JSON values). Every wait for the worker is limited to
    `stall_timeout_s`. Owning it is owning a process: call `close`, which may be repeated; it is also ended when it is
    garbage-collected, and at exit. A camera's process may still be starting when it is here: its first message says
    that it is ready.

    Raises:
        WorkerFailure: it did not start.
    """

    def __init__(
        self,
        role: Literal["source", "camera", "sink", "recorder"],
        function: str,
        arguments: dict[str, Any],
        stall_timeout_s: float,
    ) -> None:
        self._stall_timeout_s = stall_timeout_s
        ring_fd = anonymous_file(ring_bytes(LIVE_SLOTS if role in ("camera", "recorder") else SLOTS))
        log_fd = anonymous_file()
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        try:
            self.ring = Ring(ring_fd)
            job = {
                "role": role,
                "function": function,
                "arguments": arguments,
                "ring_fd": ring_fd,
                "control_fd": theirs.fileno(),
                "deadline_s": ceil(stall_timeout_s) + _DEADLINE_SLACK_S,
            }
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", f"{__package__}.worker", json.dumps(job)],
                stdin=subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                pass_fds=(ring_fd, theirs.fileno()),
                # Ctrl-C is for the owner, which may want to finish what it has.
                process_group=0,
                env=environment(),
            )
        except BaseException:
            self._connection.close()
            os.close(log_fd)
            raise
        finally:
            theirs.close()
            os.close(ring_fd)
        self._log_fd = log_fd
        self.close = weakref.finalize(self, _end, os.getpid(), self._process, self._connection, log_fd)
        if role == "camera":
            return
        try:
            self._receive(STARTUP_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    def send(self, message: dict[str, Any]) -> None:
        """Send one message. That the worker is gone shows in `receive`, after all that it still had to say."""
        with suppress(OSError):
            self._connection.send_bytes(json.dumps(message).encode())

    def receive(self) -> dict[str, Any]:
        """The next message.

        Raises:
            WorkerFailure: the worker reported an error, is gone, or said nothing for `stall_timeout_s`.
        """
        return self._receive(self._stall_timeout_s)

    def poll(self, timeout_s: float) -> bool:
        """Whether a message, or the news that the worker is gone, comes within a time."""
        try:
            return not self.close.alive or self._connection.poll(timeout_s)
        except OSError:
            return True

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        if not self.close.alive:
            raise WorkerFailure("crashed", "is closed")
        try:
            if not self._connection.poll(timeout_s):
                raise self._failure("stalled", f"has not answered for {timeout_s:g} s")
            message = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            raise self._how_it_ended() from error
        if "error" in message:
            raise self._failure("error", message["error"])
        return message

    def _how_it_ended(self) -> WorkerFailure:
        stalled = f"has not answered for {self._stall_timeout_s:g} s"
        try:
            code = self._process.wait(_DEADLINE_SLACK_S)
        except subprocess.TimeoutExpired:
            return self._failure("stalled", stalled)
        if code == -signal.SIGALRM:
            return self._failure("stalled", stalled)
        if code < 0:
            return self._failure("crashed", f"was ended by {signal.Signals(-code).name}")
        return self._failure("crashed", f"ended with status {code}")

    def _failure(self, kind: Literal["error", "stalled", "crashed"], text: str) -> WorkerFailure:
        failure = WorkerFailure(kind, text)
        size = os.fstat(self._log_fd).st_size
        log = os.pread(self._log_fd, _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES)).decode(errors="replace").strip()
        if log:
            failure.add_note(f"The worker process wrote:\n{log}")
        return failure


def environment() -> dict[str, str]:
    """The worker finds what this process finds, and starts no thread pools that count against its memory limit."""
    path = [entry or os.getcwd() for entry in sys.path]
    return {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(path),
        "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
        "RUST_BACKTRACE": "0",
    }


def _end(owner: int, process: subprocess.Popen[bytes], connection: Connection, log_fd: int) -> None:
    if os.getpid() != owner:  # a fork inherits the object, not the child
        return
    connection.close()
    process.kill()
    process.wait()
    os.close(log_fd)
