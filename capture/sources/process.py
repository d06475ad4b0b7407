"""The owner's side of a worker process: it is started, awaited with timeouts, and always ended."""

import os
import signal
import subprocess
import time
from math import ceil
from typing import Any, Literal

from ..child import SINGLE_THREADED, Child, anonymous_file, describe_end
from .ring import LIVE_SLOTS, SLOTS, Ring, ring_bytes

STARTUP_TIMEOUT_S = 60.0
LONGEST_WAIT = 10
LONGEST_WAIT_S = 120.0
"""A worker that gets too little processor time is waited for at most this many times as long, and at most this long."""

_DEADLINE_SLACK_S = 5
_BUSY = 0.01
"""From this fraction of a processor up, a worker is doing something."""

Kind = Literal["error", "crashed", "killed", "spinning", "waiting", "starved"]

_IDLE = {"D": "has waited for the disk", "T": "was stopped"}


def longest_wait_s(timeout_s: float) -> float:
    """Longest wait, in seconds, for a worker that is limited to `timeout_s` of processor time and gets too little."""
    return max(timeout_s, min(LONGEST_WAIT * timeout_s, LONGEST_WAIT_S))


class WorkerFailure(Exception):
    """The worker reported an error, crashed, was killed or stalled; the text says which.

    `kind` is "error" for errors that it reported itself; "crashed"; "killed" if it was ended from outside; "spinning"
    if it computed without a result; "waiting" if it did nothing; "starved" if it got too little processor time, or did
    not start. Its standard error is attached as a note.
    """

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class WorkerProcess:
    """A process that runs one decoder (role `source`, or `camera` if live) or encoder (`sink`, or `recorder` if live),
    and the owner's end of its ring.

    `function` is "module:name", called in the worker with `arguments` (JSON values). Every wait for the worker is
    limited to `stall_timeout_s` of its processor time, or of time in which it does nothing; on a busy machine that may
    take up to `longest_wait_s`. Call `close` when done (repeated calls do nothing); garbage collection and exit
    end the process, too. A camera's process may still be starting when the constructor returns; its first message says
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
        except WorkerFailure as failure:
            self.close()
            if failure.kind in ("spinning", "waiting"):
                raise WorkerFailure("starved", f"has not started: it {failure}") from failure
            raise
        except BaseException:
            self.close()
            raise

    @property
    def pid(self) -> int:
        return self._child.pid

    def receive(self) -> dict[str, Any]:
        """The next message.

        Raises:
            WorkerFailure: the worker reported an error, has ended, or sent nothing in time.
        """
        return self._receive(self._stall_timeout_s)

    def _receive(self, timeout_s: float) -> dict[str, Any]:
        if self._child.is_closed:
            raise WorkerFailure("crashed", "is closed")
        try:
            self._await_message(timeout_s)
            message = self._child.receive()
        except (EOFError, OSError) as error:
            raise self._how_it_ended() from error
        if "error" in message:
            raise self._failure("error", message["error"])
        return message

    def _await_message(self, timeout_s: float) -> None:
        """Wait until the worker has used the timeout up, by its own processor time, or does nothing."""
        if self._child.poll(0):
            return
        began = time.monotonic()
        first = before = self._child.activity()
        wait_s = timeout_s
        while not self._child.poll(wait_s):
            now, waited_s = self._child.activity(), time.monotonic() - began
            if first is None or before is None or now is None:
                raise self._failure("waiting", f"has not answered for {waited_s:.0f} s")
            used_s, (_, state) = now[0] - first[0], now
            if used_s >= 0.9 * timeout_s:
                raise self._failure("spinning", f"has computed for {used_s:.0f} s without a result")
            if state != "R" and now[0] - before[0] < _BUSY * wait_s:
                raise self._failure("waiting", f"{_IDLE.get(state, 'has done nothing')} for {waited_s:.0f} s")
            if waited_s >= longest_wait_s(timeout_s):
                raise self._failure(
                    "starved",
                    f"got only {used_s:.1f} s of processor time in {waited_s:.0f} s, since the machine is busy",
                )
            left_s = longest_wait_s(timeout_s) - waited_s
            before, wait_s = now, max(0.1 * timeout_s, min(timeout_s - used_s, left_s))

    def _how_it_ended(self) -> WorkerFailure:
        silent = f"has not answered for {self._stall_timeout_s:g} s"
        try:
            status = self._child.wait(_DEADLINE_SLACK_S)
        except subprocess.TimeoutExpired:
            return self._failure("waiting", silent)
        if status == -signal.SIGPROF:
            return self._failure("spinning", f"has computed for {self._stall_timeout_s:g} s without a result")
        if status == -signal.SIGALRM:
            return self._failure("waiting", silent)
        if status in (-signal.SIGKILL, -signal.SIGTERM):
            return self._failure("killed", f"{describe_end(status)}, from outside or because memory ran out")
        return self._failure("crashed", describe_end(status))

    def _failure(self, kind: Kind, text: str) -> WorkerFailure:
        failure = WorkerFailure(kind, text)
        log = self._child.log_tail()
        if log:
            failure.add_note(f"The worker process wrote:\n{log}")
        return failure
