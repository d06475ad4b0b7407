"""Running the command and killing its processes."""

import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

COMMAND = str(Path(sys.executable).with_name("sweepdepth"))
LIMIT_S, LONG_S = 240.0, 600.0
"""Timeouts of one command on a busy machine, and of one that starts several processes in sequence."""


def start(*arguments: object, **options: object) -> "subprocess.Popen[str]":
    """The running command."""
    command = [COMMAND, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]


def run(*arguments: object, **options: object) -> tuple[int, str]:
    """Exit status of the command, and its standard error."""
    return end(start(*arguments, **options))


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for a command; returns its exit status and its standard error."""
    try:
        _, complaint = process.communicate(timeout=LIMIT_S)
    finally:
        process.kill()
    return process.returncode, complaint


def is_alive(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def family(pid: int, part: str = "") -> list[psutil.Process]:
    """The running descendants of a process whose command line contains `part`."""
    found = []
    with suppress(psutil.NoSuchProcess):
        for process in psutil.Process(pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                if part in " ".join(process.cmdline()) and is_alive(process):
                    found.append(process)
    return found


def wait_for(true: Callable[[], object], timeout_s: float = LIMIT_S) -> bool:
    """Whether a condition becomes true in time."""
    deadline = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True


def one_line_error(complaint: str) -> str:
    """The error of a failed command: its last line, and the only error line."""
    assert "Traceback" not in complaint, complaint
    lines = [line for line in complaint.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, complaint
    return lines[0].removeprefix("error: ")
