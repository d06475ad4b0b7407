"""Trial run of a lens, for `sweepdepth lens test`."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from ..calibration import Calibration
from .lens import LensLimits, LensStatus
from .make import make_lens

_LOOK_S = 0.1


@dataclass(frozen=True)
class Trial:
    """Result of a trial run. `after` is the status after the lens was brought to rest."""

    limits: LensLimits
    moving: LensStatus  # at the end of the trial, before stopping
    after: LensStatus
    seconds: float  # time that the driver reported it moving
    coldest_c: float | None
    hottest_c: float | None

    @property
    def is_well(self) -> bool:
        """Whether it moved as commanded, always answered, and is at rest."""
        quiet = self.moving.reconnects == 0 and self.moving.timeouts == 0 and self.moving.crc_errors == 0
        return self.moving.connected and self.seconds > 0 and quiet and not self.after.moving


def try_lens(
    driver: str,
    calibration: Calibration,
    seconds: float,
    stop: threading.Event | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Trial:
    """Sweep a lens for some seconds as its calibration says, then bring it to rest.

    Raises:
        LensError: it is unreachable, or refuses.
        CalibrationError: the calibration lacks settings that the driver needs.
    """
    stop = stop or threading.Event()
    with make_lens(driver, calibration) as lens:
        lens.start()
        began = before = time.monotonic()
        moved_s, temperatures = 0.0, list[float]()
        while True:
            status = lens.status()
            now = time.monotonic()
            moved_s += (now - before) if status.moving else 0.0
            before = now
            if status.temperature_c is not None:
                temperatures.append(status.temperature_c)
            if on_progress:
                on_progress(min(now - began, seconds))
            if now - began >= seconds or stop.wait(_LOOK_S):
                break
        lens.stop()
        after = lens.status()
        coldest, hottest = (min(temperatures), max(temperatures)) if temperatures else (None, None)
        return Trial(lens.limits, status, after, moved_s, coldest, hottest)
