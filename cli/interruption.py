"""Handling of Ctrl-C and SIGTERM: outputs are finished, and the exit status is 130."""

import signal
import sys
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM)


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

    def leave(*_: object) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        sys.exit(130)

    for number in SIGNALS:
        signal.signal(number, leave)
