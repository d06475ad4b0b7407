"""The owner's side of a worker process: it is started, awaited with timeouts, and always ended."""

import os
import signal
import subprocess
from math import ceil
from typing import Any, Literal

from ..child import SINGLE_THREADED, Child, anonymous_file, describe_end
from .ring import LIVE_SLOTS, SLOTS, Ring, ring_bytes

STARTUP_TIMEOUT_S = 60.0
_DEADLINE_SLACK_S = 5


class WorkerFailure(Exception):
    """The worker reported an error, crashed, was killed or stalled; the text says which.

    `kind` is "error" for errors that it reported itself, else "stalled" or "crashed". Its standard error is attached as
    a note.
    """

    def __init__(self, kind: Literal["error", "stalled", "crashed"], text: str) -> None:
        super().__init__(text)
        self.kind = kind


class WorkerProcess:
    """A process that runs one decoder (role `source`, or `camera` if live) or encoder (`sink`, or `recorder` if live),
    and the owner's end of its ring.

    `function` is "module:name", called in the worker with `arguments` (JSON values). Every wait for the worker is
    limited to `stall_timeout_s`. Call `close` when done (repeated calls do nothing); garbage collection and exit end
    the process, too. A camera's process may still be starting when the constructor returns; its first message says that
    it is ready.

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
        try:
            self.ring = Ring(ring_fd)
            job = {
                "role": role,
                "function": function,
                "arguments": arguments,
                "ring_fd": ring_fd,
                "deadline_s": ceil(stall_timeout_s) + _DEADLINE_SLACK_S,
            }
            environment = {**SINGLE_THREADED, "RUST_BACKTRACE": "0"}
            self._child = Child(f"{__package__}.worker", job, pass_fds=(ring_fd,), environment=environment)
        finally:
            os.close(ring_fd)
        self.close, self.send, self.poll = self._child.close, self._child.send, self._child.poll
        if role == "camera":
            return
        try:
            self._receive(STARTUP_TIMEOUT_S)
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._child.pid

    def receive(self) -> dict[str, Any]:
        """The next message.

        Raises:
            WorkerFailure: the worker reported an error, has ended, or sent nothing for `stall_timeout_s`.
        """
        return self._receive(self._stall_timeout_s)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        if self._child.is_closed:
            raise WorkerFailure("crashed", "is closed")
        try:
            if not self._child.poll(timeout_s):
                raise self._failure("stalled", f"has not answered for {timeout_s:g} s")
            message = self._child.receive()
        except (EOFError, OSError) as error:
            raise self._how_it_ended() from error
        if "error" in message:
            raise self._failure("error", message["error"])
        return message

    def _how_it_ended(self) -> WorkerFailure:
        stalled = f"has not answered for {self._stall_timeout_s:g} s"
        try:
            status = self._child.wait(_DEADLINE_SLACK_S)
        except subprocess.TimeoutExpired:
            return self._failure("stalled", stalled)
        if status == -signal.SIGALRM:
            return self._failure("stalled", stalled)
        return self._failure("crashed", describe_end(status))

    def _failure(self, kind: Literal["error", "stalled", "crashed"], text: str) -> WorkerFailure:
        failure = WorkerFailure(kind, text)
        log = self._child.log_tail()
        if log:
            failure.add_note(f"The worker process wrote:\n{log}")
        return failure
