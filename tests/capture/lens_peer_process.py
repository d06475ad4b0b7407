"""Runs the simulated lens driver of `lens_peer.py` in its own process."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

DRIVER = '\n[driver]\nkind = "optotune"\n'
CURRENTS = DRIVER + "far_ma = 40.0\nnear_ma = 120.0\n"
POWERS = DRIVER + 'mode = "focal_power"\nfar_power = -1.0\nnear_power = 1.5\n'


class Peer:
    """The process of a simulated lens driver, and its state."""

    def __init__(self, link: Path, firmware_type: str = "A") -> None:
        self.port = str(link)
        script = Path(__file__).with_name("lens_peer.py")
        self._process = subprocess.Popen(
            [sys.executable, str(script), self.port, firmware_type],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def await_state(self, holds: Callable[[dict[str, Any]], bool], timeout_s: float = 15.0) -> dict[str, Any]:
        deadline = time.monotonic() + timeout_s
        while not holds(state := self.ask(state=True)):
            assert time.monotonic() < deadline, state
            time.sleep(0.02)
        return state

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(5)
        self._process.stdout.close()
