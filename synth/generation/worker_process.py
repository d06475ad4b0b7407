"""A process that makes scenes, and its owner's end of it.

Blender leaks, hangs and crashes, and nothing but the end of its process is sure to free what it holds. So scenes are
made in a process that can be killed: `SceneProcess` is the owner's side, `main` what runs there. They talk in JSON
over a socket; what Blender prints goes to a log.
"""

import ctypes
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import weakref
from collections.abc import Mapping
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import IO, Any, Literal

from ...capture.errors import SweepdepthError
from ...capture.files.dataset import DiskFullError
from .config import ConfigError

STARTUP_LIMIT_S = 120.0
_LOG_TAIL_BYTES = 4000
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

FailureKind = Literal["crashed", "too slow", "error", "disk full", "configuration"]


class SceneFailure(Exception):
    """A scene that was not made, and why, in one line. `log` is the end of what the process printed."""

    def __init__(self, kind: FailureKind, text: str, log: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.log = log


class SceneProcess:
    """A running process that makes scenes one by one; it must be closed, and is not used again after a failure.

    `maker` is "module:function", called there as function(order, index) with `order`, a mapping of JSON values; what
    it returns must be one, too.

    Raises:
        SceneFailure: the process does not start.
    """

    def __init__(self, maker: str, order: Mapping[str, Any], time_limit_s: float) -> None:
        self.made = 0
        self._time_limit_s = time_limit_s
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        ours, theirs = socket.socketpair()
        self._connection = Connection(ours.detach())
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __spec__.name, str(theirs.fileno()), str(os.getpid()), maker],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=(theirs.fileno(),),
                process_group=0,  # Ctrl-C is for the owner
            )
        self.close = weakref.finalize(self, _end, self._process, self._connection, self._log)
        try:
            self._send(dict(order))
            self._receive(STARTUP_LIMIT_S)
        except BaseException:
            self.close()
            raise

    def make(self, index: int) -> dict[str, Any]:
        """Make one scene.

        Raises:
            SceneFailure: it was not made; the process is ended.
        """
        try:
            self._send({"index": index})
            result = self._receive(self._time_limit_s)
        except BaseException:
            self.close()
            raise
        self.made += 1
        return result

    def _send(self, message: dict[str, Any]) -> None:
        with suppress(OSError):  # that it is gone shows in `_receive`
            self._connection.send_bytes(json.dumps(message).encode())

    def _receive(self, limit_s: float) -> dict[str, Any]:
        try:
            if not self._connection.poll(limit_s):
                raise self._failure("too slow", f"took longer than {limit_s:g} s")
            message = json.loads(self._connection.recv_bytes())
        except (EOFError, OSError) as error:
            code = self._process.wait()
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
            raise self._failure("crashed", f"its process {how}") from error
        if "kind" in message:
            raise self._failure(message["kind"], message["text"])
        return message

    def _failure(self, kind: FailureKind, text: str) -> SceneFailure:
        size = os.fstat(self._log.fileno()).st_size
        log = os.pread(self._log.fileno(), _LOG_TAIL_BYTES, max(0, size - _LOG_TAIL_BYTES))
        return SceneFailure(kind, text, log.decode(errors="replace").strip())


def _end(process: subprocess.Popen[bytes], connection: Connection, log: IO[bytes]) -> None:
    connection.close()
    process.kill()
    process.wait()
    log.close()


def main() -> None:
    """Make scenes until the owner has gone."""
    fd, owner, maker = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    _end_with(owner)
    connection = Connection(fd)
    order = json.loads(connection.recv_bytes())
    message: dict[str, Any] = {}
    while True:
        try:
            connection.send_bytes(json.dumps(_answer(maker, order, **message)).encode())
            message = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return


def _answer(maker: str, order: dict[str, Any], index: int | None = None) -> dict[str, Any]:
    """What the maker returns, nothing where there is no scene to make yet, or what went wrong.

    Our own errors are their line; others carry their class, and their traceback goes to the log.
    """
    try:
        module, function = maker.split(":")
        make = getattr(importlib.import_module(module), function)
        return {} if index is None else make(order, index)
    except DiskFullError as error:
        return {"kind": "disk full", "text": str(error)}
    except ConfigError as error:
        return {"kind": "configuration", "text": str(error)}
    except SweepdepthError as error:
        return {"kind": "error", "text": str(error)}
    except Exception as error:
        sys.excepthook(type(error), error, error.__traceback__)
        return {"kind": "error", "text": f"{type(error).__name__}: {error}".splitlines()[0]}


def _end_with(owner: int) -> None:
    """Let the kernel end this process with its owner, even in the middle of a scene."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != owner:
        sys.exit()


if __name__ == "__main__":
    main()
