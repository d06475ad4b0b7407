"""An owned child process that exchanges JSON messages over a socket and is always ended.

Code that may hang, crash or leak runs in its own process: decoders, cameras, lenses, Blender. `Child` is the owner's
side; the child begins with `take_job`.
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
from pathlib import Path
from typing import Any

SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
"""Environment of a child whose memory is limited, or that gains nothing from threads."""

_LOG_TAIL_BYTES = 4000


class Child:
    """A process that runs `python -m module`, and the owner's end of the socket to it.

    It has the module path of this process, and Ctrl-C does not reach it. Its output is kept in memory; `log_tail`
    returns the end of it. Call `close` when done (repeated calls do nothing); garbage collection and exit end the
    process, too.

    Args:
        module: the module to run; it begins with `take_job`.
        job: the child's task, as JSON values.
        pass_fds: file descriptors that it inherits, with the same numbers.
        environment: variables set in addition to those of this process.
        patience_s: how long `close` waits for it to end by itself after the socket is closed; after that it runs on
            unattended. 0: it is killed at once.
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
                process_group=0,  # Ctrl-C goes to the owner only, which may want to finish its work
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
        """Send one message. If the child has ended, `receive` reports it after the child's remaining messages."""
        with suppress(OSError):
            self._connection.send_bytes(json.dumps(message).encode())

    def poll(self, timeout_s: float) -> bool:
        """Whether a message or the child's end arrives within a time."""
        try:
            return self.is_closed or self._connection.poll(timeout_s)
        except OSError:
            return True

    def receive(self) -> dict[str, Any]:
        """Wait for the next message.

        Raises:
            EOFError, OSError: the child has ended.
        """
        return json.loads(self._connection.recv_bytes())

    def wait(self, timeout_s: float | None = None) -> int:
        """Wait for the child's end; returns its exit status, negative for a signal.

        Raises:
            subprocess.TimeoutExpired: it has not ended by then.
        """
        return self._process.wait(timeout_s)

    def activity(self) -> tuple[float, str] | None:
        """Its processor time in seconds, and its state by the kernel's letter (R: runs or waits for a processor, D:
        waits for a disk, T: stopped); None if it has ended or the system has no /proc."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except OSError:
            return None
        state, *numbers = stat.rpartition(")")[2].split()
        return (int(numbers[10]) + int(numbers[11])) / os.sysconf("SC_CLK_TCK"), state

    def log_tail(self) -> str:
        """The end of its output; empty once it is closed."""
        if self.is_closed:
            return ""
        try:
            size = os.fstat(self._log_fd).st_size
            log = os.pread(self._log_fd, _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES))
        except OSError:  # closed by another thread just now
            return ""
        return log.decode(errors="replace").strip()


def take_job() -> tuple[dict[str, Any], Connection]:
    """Called by the child: its job, and its end of the socket to the owner."""
    job = json.loads(sys.argv[1])
    return job, Connection(job["control_fd"])


def describe_end(status: int) -> str:
    """Describe an exit status in words."""
    return f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"


def anonymous_file(size: int = 0) -> int:
    """File descriptor of an anonymous file of `size` bytes, in memory where the system supports it."""
    if hasattr(os, "memfd_create"):
        fd = os.memfd_create("sweepdepth")
    else:
        with tempfile.TemporaryFile() as file:
            fd = os.dup(file.fileno())
    os.ftruncate(fd, size)
    return fd


def _module_path() -> str:
    """PYTHONPATH for the child: this process's module path, and PYTHONPATH of its environment."""
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
        process.returncode = 0  # it runs on; suppresses the ResourceWarning about it
    os.close(log_fd)
