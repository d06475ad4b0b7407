"""How Ctrl-C and SIGTERM end a command: both alike, with what was written finished, and exit status 130."""

import signal
import sys
import threading

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def until_interrupted(*others: threading.Event) -> threading.Event:
    """An event that Ctrl-C or SIGTERM sets from now on, and the others with it: for commands that finish what they have
    by themselves."""
    interrupted = threading.Event()

    def interrupt(*_: object) -> None:
        for event in (interrupted, *others):
            event.set()

    for number in SIGNALS:
        signal.signal(number, interrupt)
    return interrupted


def exit_when_interrupted() -> None:
    """Let Ctrl-C and SIGTERM end the command where it is, its files whole or gone; what is there until a command does
    better. A second signal does not interrupt the cleaning up after the first."""

    def leave(*_: object) -> None:
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        sys.exit(130)

    for number in SIGNALS:
        signal.signal(number, leave)
