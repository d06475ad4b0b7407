"""One connection to a live source: its process, watched, stoppable at any time, and always ended."""

import time
from collections.abc import Callable, Iterator

from ..errors import CalibrationError, CameraError
from ..sources.chunks import NO_EVENTS, Chunk, Header
from ..sources.process import STARTUP_TIMEOUT_S, WorkerFailure, WorkerProcess
from .address import CameraAddress
from .settings import CameraSettings

ANSWER_TIMEOUT_S = 5.0
"""How long a side that took the connection may take to say what it is."""

CAUGHT_UP_S = 0.03
"""Events are dropped that waited too long, and then all that waited longer than this."""

_LOOK_S = 0.05
_LARGEST_SENSOR = 16_384


class ConnectionLost(Exception):
    """A connection that cannot be made, or ended; the text says why."""


class CameraConnection:
    """A source that was reached. `header` says what it is; `stopping` is looked at several times a second.

    Raises:
        ConnectionLost: it was not reached within `patience_s`, or `stopping`.
        CameraError: it claims an impossible sensor.
        CalibrationError: it has another size of sensor than `size`.
    """

    def __init__(
        self,
        address: CameraAddress,
        settings: CameraSettings,
        size: tuple[int, int] | None,
        patience_s: float,
        stopping: Callable[[], bool],
    ) -> None:
        self.lost_events = 0  # of `dropped`, those before the end of the chunk last handed over
        self._late_events = 0  # dropped on this side, having waited for too long
        self._max_lag_s = settings.max_lag_s
        self._stopping = stopping
        self._stall_timeout_s = settings.stall_timeout_s
        arguments = {**address.arguments, "patience_s": patience_s, "settings": settings.model_dump(mode="json")}
        deadline_s = max(settings.stall_timeout_s, patience_s + ANSWER_TIMEOUT_S)
        self._process = WorkerProcess("camera", f"{__package__}.{address.decoder}", arguments, deadline_s)
        try:
            self._receive(STARTUP_TIMEOUT_S)
            self.header = Header(**self._receive(patience_s + ANSWER_TIMEOUT_S)["header"])
            _check(address, self.header, size)
        except WorkerFailure as failure:
            self.close()
            raise ConnectionLost(_explain(failure)) from failure
        except BaseException:
            self.close()
            raise

    @property
    def dropped(self) -> tuple[int, int]:
        """Events and triggers dropped because they were not taken in time."""
        vitals = self._process.ring.vitals[0]
        return int(vitals["dropped_events"]) + self._late_events, int(vitals["dropped_triggers"])

    def chunks(self) -> Iterator[Chunk]:
        """Chunks until it is stopped, each valid until the next is asked for.

        Raises:
            ConnectionLost: the other side is gone, or the process that speaks with it crashed or does nothing.
        """
        process, is_late = self._process, False
        alive_ns = time.monotonic_ns()
        try:
            while not self._stopping():
                if not process.poll(_LOOK_S):
                    alive_ns = max(alive_ns, int(process.ring.vitals["alive_ns"][0]))
                    if time.monotonic_ns() - alive_ns > 1e9 * self._stall_timeout_s:
                        raise ConnectionLost(f"it stopped in the middle, {self._stall_timeout_s:g} s ago")
                    continue
                message = process.receive()
                if "end" in message:
                    raise ConnectionLost("it ended")
                slot, events = message["slot"], process.ring.events(message["slot"])[: message["events"]]
                if self._max_lag_s is not None:
                    lag_s = 1e-9 * (time.monotonic_ns() - message["at_ns"])
                    is_late = lag_s > (CAUGHT_UP_S if is_late else self._max_lag_s)
                if is_late:
                    self._late_events += len(events)
                    events = NO_EVENTS
                self.lost_events = message["dropped"] + self._late_events
                yield Chunk(
                    events,
                    process.ring.triggers(slot)[: message["triggers"]],
                    message["complete_us"],
                )
                process.send({"free": slot})
                alive_ns = time.monotonic_ns()
        except WorkerFailure as failure:
            if not self._stopping():
                raise ConnectionLost(_explain(failure)) from failure

    def close(self) -> None:
        """End the process; may be repeated, and called from any thread."""
        self._process.close()

    def _receive(self, timeout_s: float) -> dict:
        deadline = time.monotonic() + timeout_s
        while not self._process.poll(_LOOK_S):
            if self._stopping():
                raise ConnectionLost("stopped")
            if time.monotonic() > deadline:
                raise ConnectionLost("the other side took the connection, but does not say what it is")
        return self._process.receive()


def _check(address: CameraAddress, header: Header, size: tuple[int, int] | None) -> None:
    own = header.width, header.height
    if not all(0 < side <= _LARGEST_SENSOR for side in own):
        raise CameraError(f"{address}: claims a sensor of {own[0]}×{own[1]} pixels; it is damaged")
    if size is not None and own != size:
        raise CalibrationError(
            f"{address}: has {own[0]}×{own[1]} pixels, but the calibration is for {size[0]}×{size[1]}; give the "
            "lens.toml of this camera"
        )


def _explain(failure: WorkerFailure) -> str:
    return str(failure) if failure.kind == "error" else f"the process that reads it {failure}"
