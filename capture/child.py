"""One owned child process: started with one end of a socket, spoken to in JSON, and always ended.

What may hang, crash or leak runs in a process of its own: decoders, cameras, lenses, Blender. `Child` is its owner's
side, `take_job` where it begins.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Variables for a child whose memory is limited, or which does nothing that threads would help with."""

_LOG_TAIL_BYTES = 4000


class Child:
    """A process that runs `python -m module`, and this side's end of the socket between.

    It finds the modules that this process finds. Ctrl-C is for its owner. What it prints is kept in memory, and
    `log_tail` reads the end of it. Owning it is owning a process: call `close`, which may be repeated; it is also ended
    when it is garbage-collected, and at exit.

    Args:
        module: what it runs; it begins with `take_job`.
        job: what it is to do, JSON values.
        pass_fds: file descriptors that it inherits, under the same numbers.
        environment: variables to set for it besides those of this process.
        patience_s: how long it may take to end by itself once it is hung up on; after that it goes on alone. 0: it is
            killed at once.
    """

    def __init__(
        self,
        module: str,
        job: Mapping[str, Any],
        *,
        pass_fds: Sequence[int] = (),
        environment: Mapping[str, str] | None = None,
        patience_s: float = 0.0,
    ) -> None:
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        self._log_fd = anonymous_file()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", module, json.dumps({**job, "control_fd": theirs.fileno()})],
                stdin=subprocess.DEVNULL,
                stdout=self._log_fd,
                stderr=self._log_fd,
                pass_fds=(theirs.fileno(), *pass_fds),
                process_group=0,  # Ctrl-C is for the owner, which may want to finish what it has
                env={**os.environ, **(environment or {}), "PYTHONPATH": _module_path()},
            )
        except BaseException:
            self._connection.close()
            os.close(self._log_fd)
            raise
        finally:
            theirs.close()
        self.close = weakref.finalize(
            self, _end, os.getpid(), self._process, self._connection, self._log_fd, patience_s
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_closed(self) -> bool:
        return not self.close.alive

    def send(self, message: Mapping[str, Any]) -> None:
        """Send one message. That the child is gone shows in `receive`, after all that it still had to say."""
        with suppress(OSError):
            self._connection.send_bytes(json.dumps(message).encode())

    def poll(self, timeout_s: float) -> bool:
        """Whether a message, or the news that the child is gone, comes within a time."""
        try:
            return self.is_closed or self._connection.poll(timeout_s)
        except OSError:
            return True

    def receive(self) -> dict[str, Any]:
        """The next message; waits for it.

        Raises:
            EOFError, OSError: the child is gone.
        """
        return json.loads(self._connection.recv_bytes())

    def wait(self, timeout_s: float | None = None) -> int:
        """The status that the child ended with, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: it goes on for longer than that.
        """
        return self._process.wait(timeout_s)

    def log_tail(self) -> str:
        """The end of what it printed; nothing once it is closed."""
        if self.is_closed:
            return ""
        try:
            size = os.fstat(self._log_fd).st_size
            log = os.pread(self._log_fd, _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES))
        except OSError:  # closed by another thread just now
            return ""
        return log.decode(errors="replace").strip()


def take_job() -> tuple[dict[str, Any], Connection]:
    """For the child: its job, and its end of the socket to the owner."""
    job = json.loads(sys.argv[1])
    return job, Connection(job["control_fd"])


def describe_end(status: int) -> str:
    """How a process ended, by its status."""
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def anonymous_file(size: int = 0) -> int:
    """A file descriptor of a file without a name, `size` bytes long, in memory where the system has such files."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("sweepdepth")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


def _module_path() -> str:
    """Where this process finds modules, and where its environment says that its children do."""
    path = [entry or os.getcwd() for entry in sys.path]
    path += [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry not in ("", *path)]
    return os.pathsep.join(path)


def _end(owner: int, process: subprocess.Popen[bytes], connection: Connection, log_fd: int, patience_s: float) -> None:
    if os.getpid() != owner:  # a fork inherits the object, not the child
        return
    connection.close()
    try:
        if not patience_s:
            process.kill()
        process.wait(patience_s or None)
    except subprocess.TimeoutExpired:
        process.returncode = 0  # it goes on; nobody is to wait for it, nor to warn of it
    os.close(log_fd)
