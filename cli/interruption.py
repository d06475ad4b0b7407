"""How commands end: on Ctrl-C and SIGTERM, outputs are finished, and the exit status is 130; where some of several
inputs failed, it is 3."""

import atexit
import signal
import sys
import threading
import weakref
from types import FrameType

import typer

SIGNALS = (signal.SIGINT, signal.SIGTERM)

_AGAIN_S = 0.05
"""Time between two looks at whether the exception of a signal was dropped."""

_HAS_TIMER = hasattr(signal, "setitimer")


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


class _Interruption(SystemExit):
    """The end of a command on Ctrl-C or SIGTERM."""


class ExitWhenInterrupted:
    """Let Ctrl-C and SIGTERM end the command immediately, with its partial files deleted: the default until a command
    handles them itself. A second signal does not interrupt the cleanup after the first.

    Python drops exceptions that are raised in a destructor, and libraries in C drop or rename those raised in their
    callbacks: the command would go on, or call a file damaged. So the exception is raised again once it is gone.
    """

    def __init__(self) -> None:
        self.came = False
        """Whether a signal came."""
        self._raised: weakref.ref[_Interruption] | None = None
        for number in SIGNALS:
            signal.signal(number, self._leave)
        if _HAS_TIMER:
            signal.signal(signal.SIGALRM, self._leave)
            atexit.register(self._no_more)

    def end(self) -> None:
        """Exit with status 130 if a signal came, and don't interrupt the cleanup from now on."""
        self._no_more()
        if self.came:
            sys.exit(130)

    def _leave(self, _: int, frame: FrameType | None) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        self.came = True
        if _HAS_TIMER:
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
            on_its_way = self._raised is not None and self._raised() is not None
            if on_its_way or _drops_exceptions(frame):
                return
        raise self._interruption()

    def _interruption(self) -> _Interruption:
        """Return the exception to raise. The frame of the handler, which its traceback holds, must not hold it."""
        interruption = _Interruption(130)
        self._raised = weakref.ref(interruption)
        return interruption

    @staticmethod
    def _no_more() -> None:
        if _HAS_TIMER:
            signal.setitimer(signal.ITIMER_REAL, 0)


def _drops_exceptions(frame: FrameType | None) -> bool:
    """Whether an exception raised here would be printed and dropped: in a destructor, and where numba's compiler calls
    back into Python, which also spoils what is compiled."""
    while frame is not None:
        if frame.f_code.co_name in ("__del__", "_raw_object_cache_notify"):
            return True
        frame = frame.f_back
    return False


def exit_unless_all(done: int, left_out: int) -> None:
    """End the command if some of several inputs failed or were left out: with status 3 if the others are written, with
    1 if nothing is."""
    if left_out:
        raise typer.Exit(3 if done else 1)
