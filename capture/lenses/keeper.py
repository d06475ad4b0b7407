"""The lens keeper: a process that owns a lens's port and always leaves the lens at rest.

Started as `python -m sweepdepth.capture.lenses.keeper JOB`. Its owner sends the wanted state and requests the status.
When the owner ends for any reason, crashes included, the keeper brings the lens to rest and exits. After a lost
connection it reconnects and restores the wanted state.
"""

import json
import os
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any, Literal

from ..calibration import SweepSettings
from ..child import take_job
from .drive import STEP_S, LensDrive, Rhythm
from .lens import LensLimits
from .link import Link, LinkLost, Refused
from .settings import OptotuneSettings

Want = Literal["rest", "sweep", "leave"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 2.0
LAST_WORD_S = 30.0
"""How long to keep trying to stop an unreachable lens after the owner has closed it or ended."""

TEMPERATURE_PERIOD_S = 1.0
_OWNER_CHECK_S = 0.5


class LensKeeper:
    """Drives one lens in its own thread; `report` returns the status without waiting."""

    def __init__(self, port: str, settings: OptotuneSettings, sweep: SweepSettings) -> None:
        self._port = port
        self._settings = settings
        self._sweep = sweep
        self._tally: Counter[str] = Counter()
        self._want: Want = "rest"
        self._wake = threading.Event()
        self._limits: LensLimits | None = None
        self._connected = False
        self._rests = False
        self._to_be_stopped = False  # was started, and has not been confirmed at rest since
        self._rhythm: Rhythm | None = None
        self._temperature_c: float | None = None
        self._failures = 0
        self._last_error: str | None = None
        self._thread = threading.Thread(target=self._run, name="lens")
        self._thread.start()

    def want(self, want: Want) -> None:
        self._want = want
        self._wake.set()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def report(self) -> dict[str, Any]:
        """The status, as JSON values."""
        rhythm = self._rhythm
        return {
            "connected": self._connected,
            "moving": rhythm is not None,
            "rests": self._rests,
            "temperature_c": self._temperature_c,
            "far_end_ns": None if rhythm is None else rhythm.last_far_end_ns(time.monotonic_ns()),
            "limits": None if self._limits is None else vars(self._limits),
            "failures": self._failures,
            "last_error": self._last_error,
            **{name: self._tally[name] for name in ("reconnects", "crc_errors", "timeouts", "late_answers")},
        }

    def leave(self) -> None:
        """Bring the lens to rest; returns when it is at rest or has been unreachable for `LAST_WORD_S`."""
        self.want("leave")
        self._thread.join()

    def _run(self) -> None:
        pause_s, give_up = FIRST_PAUSE_S, None
        while True:
            try:
                link = Link(self._port, self._tally)
                try:
                    drive = LensDrive(link, self._settings, self._sweep)
                    self._limits, self._connected = drive.limits, True
                    pause_s = FIRST_PAUSE_S
                    self._serve(drive)
                    return
                finally:
                    link.close()
            except (LinkLost, Refused) as error:
                self._tally["reconnects"] += self._connected
                self._connected = self._rests = False
                self._rhythm = self._temperature_c = None
                self._last_error = str(error)
                self._failures += 1
            if self._want == "leave":
                give_up = give_up or time.monotonic() + LAST_WORD_S
                if not self._to_be_stopped or time.monotonic() > give_up:
                    return
            self._wake.wait(pause_s)
            self._wake.clear()
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _serve(self, drive: LensDrive) -> None:
        """Keep the lens in the wanted state until the keeper is to leave."""
        next_temperature = 0.0
        while True:
            self._wake.clear()
            want = self._want
            if want == "sweep" and self._rhythm is None:
                self._rests, self._to_be_stopped = False, True
                self._rhythm = drive.begin_sweep()
            elif want != "sweep" and not self._rests:
                drive.rest()
                self._rhythm, self._rests, self._to_be_stopped = None, True, False
            if want == "leave":
                return
            if time.monotonic() >= next_temperature:
                self._temperature_c = drive.temperature_c()
                next_temperature = time.monotonic() + TEMPERATURE_PERIOD_S
            if drive.is_led and self._rhythm is not None:
                drive.step(self._rhythm)
                self._wake.wait(STEP_S)
            else:
                self._wake.wait(next_temperature - time.monotonic())


def main() -> None:
    """Drive the lens of the job in `sys.argv[1]` for the process at the other end of the control socket."""
    job, connection = take_job()
    owner = os.getppid()
    keeper = LensKeeper(job["port"], OptotuneSettings(**job["settings"]), SweepSettings(**job["sweep"]))
    leaving = threading.Event()
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: leaving.set())
    with suppress(EOFError, OSError):
        # A forked sibling may hold the owner's end open after the owner's death, so check the parent's id, too.
        while keeper.is_alive and not leaving.is_set() and os.getppid() == owner:
            if connection.poll(_OWNER_CHECK_S):
                message = json.loads(connection.recv_bytes())
                if message["want"] is not None:
                    keeper.want(message["want"])
                connection.send_bytes(json.dumps({"n": message["n"], **keeper.report()}).encode())
    keeper.leave()


if __name__ == "__main__":
    main()
