"""One connection to a live source: its reader process is watched, can be stopped at any time, and always ends."""

import time
from collections.abc import Callable, Iterator

from ..errors import CalibrationError, CameraError
from ..sources.chunks import NO_EVENTS, Chunk, Header
from ..sources.process import STARTUP_TIMEOUT_S, WorkerFailure, WorkerProcess
from .address import CameraAddress
from .settings import CameraSettings

ANSWER_TIMEOUT_S = 5.0
"""How long a peer that accepted the connection may take to send its header."""

CAUGHT_UP_S = 0.03
"""Once an event has waited too long, all that waited longer than this are dropped."""

_LOOK_S = 0.05
_LARGEST_SENSOR = 16_384


class ConnectionLost(Exception):
    """The connection cannot be made or has ended; the text says why."""


class CameraConnection:
    """An open connection to a source. `header` describes the source; `stopping` is polled several times a second.

    Raises:
        ConnectionLost: it cannot be reached within `patience_s`, or `stopping` returned true.
        CameraError: it claims an impossible sensor.
        CalibrationError: its sensor has another size than `size`.
    """

    def __init__(
        self,
        address: CameraAddress,
        settings: CameraSettings,
        size: tuple[int, int] | None,
        patience_s: float,
        stopping: Callable[[], bool],
    ) -> None:
        self.lost_events = 0  # of `dropped`, those before the end of the latest chunk
        self._late_events = 0  # dropped here because they had waited too long
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
        """Numbers of events and triggers dropped because they were not read in time."""
        vitals = self._process.ring.vitals[0]
        return int(vitals["dropped_events"]) + self._late_events, int(vitals["dropped_triggers"])

    def chunks(self) -> Iterator[Chunk]:
        """Chunks until stopped; each is valid until the next one is requested.

        Raises:
            ConnectionLost: the source has disconnected, or the process that reads it has crashed or stalled.
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
        """End the process. May be called repeatedly and from any thread."""
        self._process.close()

    def _receive(self, timeout_s: float) -> dict:
        deadline = time.monotonic() + timeout_s
        while not self._process.poll(_LOOK_S):
            if self._stopping():
                raise ConnectionLost("stopped")
            if time.monotonic() > deadline:
                raise ConnectionLost("the peer accepted the connection, but sent no header")
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
