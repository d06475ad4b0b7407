"""Serial link to a Lens Driver 4; commands are repeated when they or their answers are corrupted."""

import time
from collections import Counter
from contextlib import suppress
from typing import Any

from .codec import BAUD, HANDSHAKE, READY, command, take_answer

TRIES = 4
PATIENCE_S, MOST_PATIENCE_S = 0.3, 2.0
"""Answer timeout, initial and longest: it doubles with every late answer."""

_READ_S = 0.05
_LONGEST_ANSWER = 256


class LinkLost(Exception):
    """The port has disappeared, is in use by another program, or does not answer; the text says which."""


class Refused(Exception):
    """The driver answered with an error."""


class Link:
    """An open port, locked so that no other program can open it.

    `tally` counts `crc_errors`, `timeouts` and `late_answers`.

    Raises:
        LinkLost: it cannot be opened, or no Lens Driver 4 answers.
    """

    def __init__(self, port: str, tally: Counter[str]) -> None:
        try:
            from serial import Serial, SerialException
        except ImportError:
            raise LinkLost("lens drivers need pyserial; pip install 'sweepdepth[lens]'") from None
        self._lost: tuple[type[Exception], ...] = (SerialException, OSError)
        self._tally = tally
        self._patience_s = PATIENCE_S
        self._owed = 0  # answers that timed out and may still arrive
        self._received = bytearray()
        try:
            self._serial: Any = Serial(port, BAUD, timeout=_READ_S, write_timeout=MOST_PATIENCE_S, exclusive=True)
        except self._lost as error:
            raise LinkLost(_explain(error)) from error
        try:
            self._shake_hands()
        except BaseException:
            self.close()
            raise

    def send(self, body: bytes) -> None:
        """Send a command that has no answer.

        Raises:
            LinkLost: the port has disappeared.
        """
        self._settle()
        self._write(command(body))

    def ask(self, body: bytes, kind: bytes, size: int) -> bytes:
        """Send a command until a complete answer arrives; returns the `size` bytes that follow `kind` in it.

        The command must be idempotent; all of this driver's are.

        Raises:
            Refused: the driver answered with an error, to this or an earlier command.
            LinkLost: the port has disappeared, or no complete answer arrived in `TRIES` attempts.
        """
        self._settle()
        for _ in range(TRIES):
            self._write(command(body))
            damaged = self._tally["crc_errors"]
            deadline = time.monotonic() + self._patience_s
            while (answer := self._next(deadline)) is not None:
                if answer.startswith(kind) and len(answer) == len(kind) + size:
                    return answer[len(kind) :]
                if answer.startswith(b"E"):
                    raise Refused(f"refused {body[:4]!r} with error {answer[1:].hex() or '?'}")
            if self._tally["crc_errors"] == damaged:
                self._tally["timeouts"] += 1
                self._owed += 1
                self._patience_s = min(2 * self._patience_s, MOST_PATIENCE_S)
        raise LinkLost(f"no whole answer to {body[:4]!r} after {TRIES} tries")

    def close(self) -> None:
        """Close the port. May be called repeatedly."""
        with suppress(*self._lost):  # a port that has disappeared is closed
            self._serial.close()

    def _shake_hands(self) -> None:
        for _ in range(TRIES):
            self._write(HANDSHAKE)
            deadline = time.monotonic() + self._patience_s
            while time.monotonic() < deadline:
                self._read()
                if READY in self._received:
                    # A late driver answers every attempt; wait until the line is quiet.
                    self._drop_input()
                    return
            self._tally["timeouts"] += 1
        raise LinkLost("no Lens Driver 4 answers there")

    def _drop_input(self) -> None:
        while self._read():
            continue
        self._received.clear()

    def _settle(self) -> None:
        """Wait for outstanding answers, so that none is mistaken for the next command's answer."""
        if self._owed:
            deadline = time.monotonic() + self._patience_s
            while self._owed and self._next(deadline) is not None:
                self._owed -= 1
                self._tally["late_answers"] += 1
            self._owed = 0
        self._received.clear()

    def _next(self, deadline: float) -> bytes | None:
        """The next complete answer; None at the deadline, or immediately after a damaged one."""
        while True:
            answer, damaged = take_answer(self._received)
            if answer is not None:
                self._tally["crc_errors"] += damaged
                return answer
            quiet = not self._read()
            whole = quiet and self._received.endswith(b"\r\n")
            if whole or len(self._received) > _LONGEST_ANSWER:
                self._tally["crc_errors"] += 1
                self._received.clear()
                return None
            if quiet and time.monotonic() >= deadline:
                return None

    def _read(self) -> int:
        """Read the available bytes, waiting briefly; returns their number."""
        try:
            data = self._serial.read(max(1, self._serial.in_waiting))
        except self._lost as error:
            raise LinkLost(_explain(error)) from error
        self._received += data
        return len(data)

    def _write(self, data: bytes) -> None:
        try:
            self._serial.write(data)
        except self._lost as error:
            raise LinkLost(_explain(error)) from error


def _explain(error: Exception) -> str:
    """Explain in one line why a port failed."""
    text = str(error)
    number = getattr(error, "errno", None)
    if number == 2 or "No such file" in text:
        return "no such port; is it plugged in?"
    if number == 13 or "Permission denied" in text:
        return "no permission to open it; join the group that owns it (dialout on most systems)"
    if number in (11, 16) or "exclusively lock" in text:
        return "another program uses it"
    return f"the port is gone ({text.splitlines()[0] if text else type(error).__name__})"
