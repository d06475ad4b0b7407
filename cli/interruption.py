"""How commands end: on Ctrl-C and SIGTERM, outputs are finished, and the exit status is 130; where some of several
inputs failed, it is 3."""

import signal
import sys
import threading
from types import FrameType

import typer

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_AGAIN_S = 0.05
"""Time after which a signal that came during a compiler callback is handled again."""


def until_interrupted(*others: threading.Event) -> threading.Event:
    """Return an event that Ctrl-C or SIGTERM sets from now on, together with the given ones; for commands that finish
    their outputs themselves."""
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        for event in (interrupted, *others):
            event.set()

    for number in SIGNALS:
        signal.signal(number, interrupt)
    return interrupted


def exit_when_interrupted() -> None:
    """Let Ctrl-C and SIGTERM end the command immediately, with its partial files deleted: the default until a command
    handles them itself. A second signal does not interrupt the cleanup after the first."""

    def leave(_: int, frame: FrameType | None) -> None:
        if _in_compiler_callback(frame):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
            return
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        sys.exit(130)

    for number in SIGNALS:
        signal.signal(number, leave)
    if hasattr(signal, "SIGALRM"):
        signal.signal(signal.SIGALRM, leave)


def _in_compiler_callback(frame: FrameType | None) -> bool:
    """Whether numba's compiler is calling back into Python: an exception there is printed and dropped, and what was
    being compiled fails."""
    while frame is not None:
        if frame.f_code.co_name == "_raw_object_cache_notify":
            return hasattr(signal, "SIGALRM")
        frame = frame.f_back
    return False


def exit_unless_all(done: int, left_out: int) -> None:
    """End the command if some of several inputs failed or were left out: with status 3 if the others are written, with
    1 if nothing is."""
    if left_out:
        raise typer.Exit(3 if done else 1)
