"""A process that generates scenes, and the owner's side of it.

Blender leaks memory, hangs and crashes, and only ending its process reliably frees everything. So scenes are generated
in a process that can be killed: `SceneProcess` is the owner's side, `main` runs in the process. They exchange JSON over
a socket; Blender's output goes to a log.
"""

import ctypes
import importlib
import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, Literal

from ...capture.child import Child, describe_end, take_job
from ...capture.errors import SweepdepthError
from ...capture.files.dataset import DiskFullError
from .config import ConfigError

STARTUP_LIMIT_S = 120.0
_PR_SET_PDEATHSIG = 1  # linux/prctl.h

FailureKind = Literal["crashed", "too slow", "error", "disk full", "configuration"]


class SceneFailure(Exception):
    """A scene could not be made; the text says why, in one line. `log` is the end of the process's output."""

    def __init__(self, kind: FailureKind, text: str, log: str = "") -> None:
        super().__init__(text)
        self.kind = kind
        self.log = log


class SceneProcess:
    """A process that generates scenes one by one; it must be closed, and cannot be used after a failure.

    `maker` is "module:function", called in the process as function(order, index). `order` and the function's result are
    mappings of JSON values.

    Raises:
        SceneFailure: the process does not start.
    """

    def __init__(self, maker: str, order: Mapping[str, Any], time_limit_s: float) -> None:
        self.made = 0
        self._time_limit_s = time_limit_s
        self._child = Child(__spec__.name, {"owner": os.getpid(), "maker": maker})
        self.close = self._child.close
        try:
            self._child.send(order)
            self._receive(STARTUP_LIMIT_S)
        except BaseException:
            self.close()
            raise

    def make(self, index: int) -> dict[str, Any]:
        """Make one scene.

        Raises:
            SceneFailure: it could not be made; the process is ended.
        """
        try:
            self._child.send({"index": index})
            result = self._receive(self._time_limit_s)
        except BaseException:
            self.close()
            raise
        self.made += 1
        return result

    def _receive(self, limit_s: float) -> dict[str, Any]:
        try:
            if not self._child.poll(limit_s):
                raise self._failure("too slow", f"took longer than {limit_s:g} s")
            message = self._child.receive()
        except (EOFError, OSError) as error:
            raise self._failure("crashed", f"its process {describe_end(self._child.wait())}") from error
        if "kind" in message:
            raise self._failure(message["kind"], message["text"])
        return message

    def _failure(self, kind: FailureKind, text: str) -> SceneFailure:
        return SceneFailure(kind, text, self._child.log_tail())


def main() -> None:
    """Generate scenes until the owner closes the connection."""
    job, connection = take_job()
    _end_with(job["owner"])
    order = json.loads(connection.recv_bytes())
    message: dict[str, Any] = {}
    while True:
        try:
            connection.send_bytes(json.dumps(_answer(job["maker"], order, **message)).encode())
            message = json.loads(connection.recv_bytes())
        except (EOFError, OSError):
            return


def _answer(maker: str, order: dict[str, Any], index: int | None = None) -> dict[str, Any]:
    """The maker's result, an empty mapping at the start, or a description of the error.

    For sweepdepth's own errors that is their message; for others it includes the class, and the traceback is logged.
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
    """Let the kernel end this process when its owner ends, even in the middle of a scene."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != owner:
        sys.exit()


if __name__ == "__main__":
    main()
