"""Optotune liquid lenses on a Lens Driver 4."""

import time
from typing import Any

from ..calibration import Calibration
from ..child import SINGLE_THREADED, Child, describe_end
from ..closing import Closing
from ..errors import LensError
from .lens import LensLimits, LensStatus
from .settings import optotune_settings

OPENING_TIMEOUT_S = 20.0
MOVING_TIMEOUT_S = 10.0
RESTING_TIMEOUT_S = 10.0
BUSY_PATIENCE_S = 3.0
"""How long to retry a port in use: the keeper of a crashed run may be about to release it."""

_ANSWER_TIMEOUT_S = 0.5
_LOOK_S = 0.02
_KNOWN = tuple(LensStatus.__dataclass_fields__)


class OptotuneLens(Closing):
    """A `Lens` behind the serial port of an Optotune Lens Driver 4.

    A separate process, the keeper, owns the port and brings the lens to rest when this process ends, also if it crashes
    or is killed. It reconnects to an unplugged driver at growing intervals of at most 2 s and resumes the sweep.

    Raises:
        CalibrationError: the `[driver]` table is missing or invalid.
        LensError: there is no Lens Driver 4 at that port, or it cannot make the calibration's sweep.
    """

    def __init__(self, port: str, calibration: Calibration) -> None:
        self.port = port
        self._name = f"optotune:{port}"
        self._job = {
            "port": port,
            "settings": optotune_settings(calibration).model_dump(),
            "sweep": calibration.sweep.model_dump(),
        }
        self._n = 0
        self._want = "rest"
        self._report: dict[str, Any] = {}
        self._keeper_failures = 0
        self._keeper = self._start_keeper()
        try:
            self._await_connection()
        except BaseException:
            self.close()
            raise

    @property
    def limits(self) -> LensLimits:
        """Its maximum current, focal power in "focal_power" mode, serial number, and firmware type and version."""
        limits = dict(self._report["limits"])
        power = limits.pop("focal_power_diopters")
        return LensLimits(**limits, focal_power_diopters=None if power is None else tuple(power))

    def start(self) -> None:
        self._ask("sweep")
        self._await("moving", MOVING_TIMEOUT_S, "does not begin to sweep")

    def stop(self) -> None:
        self._ask("rest")
        self._await("rests", RESTING_TIMEOUT_S, "does not confirm that it rests")

    def status(self) -> LensStatus:
        """The current status; the last known one if the keeper does not answer in time."""
        if self._keeper.is_closed:
            return LensStatus(connected=False, moving=False, last_error="closed")
        self._ask(None)
        return LensStatus(**{name: self._report[name] for name in _KNOWN if name in self._report})

    def close(self) -> None:
        """Bring the lens to rest and close it. May be called repeatedly. Waits for the keeper, at most 10 s.

        A keeper that has not finished by then keeps trying on its own.
        """
        self._keeper.close()

    def _start_keeper(self) -> Child:
        # Closing the connection makes the keeper bring the lens to rest.
        return Child(f"{__package__}.keeper", self._job, environment=SINGLE_THREADED, patience_s=RESTING_TIMEOUT_S)

    def _ask(self, want: str | None, timeout_s: float = _ANSWER_TIMEOUT_S) -> None:
        """Send the wanted state to the keeper and read the lens's status."""
        if self._keeper.is_closed:
            raise LensError(f"{self._name}: is closed; open it again")
        self._want = want or self._want
        self._n += 1
        try:
            self._keeper.send({"n": self._n, "want": want})
            while self._keeper.poll(timeout_s):
                report = self._keeper.receive()
                self._report = {**report, "reconnects": report["reconnects"] + self._keeper_failures}
                if report["n"] == self._n:
                    return
        except (EOFError, OSError):
            # The keeper was killed: start another one, or nothing would stop the lens at the end.
            self._keeper.close()
            self._keeper_failures += 1
            self._report = {**self._report, "connected": False, "moving": False, "rests": False, "far_end_ns": None}
            self._report["last_error"] = f"its keeper {describe_end(self._keeper.wait())}"
            self._keeper = self._start_keeper()
            self._keeper.send({"n": self._n, "want": self._want})

    def _await_connection(self) -> None:
        began = time.monotonic()
        self._ask(None, OPENING_TIMEOUT_S)
        while not self._report.get("connected"):
            if self._report.get("failures") or self._keeper_failures:
                why = self._report.get("last_error")
                busy = why == "another program uses it" and time.monotonic() < began + BUSY_PATIENCE_S
                if not busy:
                    raise LensError(f"{self._name}: cannot be opened: {why}")
            if time.monotonic() > began + OPENING_TIMEOUT_S:
                raise LensError(f"{self._name}: cannot be opened: no answer for {OPENING_TIMEOUT_S:g} s")
            time.sleep(_LOOK_S)
            self._ask(None)

    def _await(self, what: str, timeout_s: float, complaint: str) -> None:
        deadline = time.monotonic() + timeout_s
        while not self._report.get(what):
            if time.monotonic() > deadline:
                why = self._report.get("last_error")
                raise LensError(f"{self._name}: {complaint} within {timeout_s:g} s" + (f" ({why})" if why else ""))
            time.sleep(_LOOK_S)
            self._ask(None)
