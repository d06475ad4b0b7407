"""The table at the end of a long run, and small disks."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..stream.conftest import make_frame  # noqa: F401  a fixture
from .table import ROUNDS, ROWS, lines


def pytest_terminal_summary(terminalreporter):
    if ROUNDS and ROWS:
        for line in ["", *lines()]:
            terminalreporter.write_line(line)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Callable[[int], Path]]:
    """Makes a disk of the given number of bytes; called again, it resizes the same disk."""
    folder = tmp_path / "disk"

    def disk(n_bytes: int) -> Path:
        options = f"size={n_bytes}" + (",remount" if folder.exists() else "")
        folder.mkdir(exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)]
        if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
            pytest.skip("only root can make a small disk")
        return folder

    yield disk
    if folder.is_mount():
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
