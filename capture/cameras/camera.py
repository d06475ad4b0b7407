"""`open_camera`: a live source as a stream of batches that reconnects when the source fails."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from dataclasses import replace

from ..calibration import Calibration
from ..closing import Closing
from ..errors import CameraError, RecordingError, SweepdepthError
from ..events import Batch
from ..sources.chunks import NO_EVENTS, NO_TRIGGERS, Chunk
from ..sources.sanitizer import Repairs, Sanitizer
from .address import CameraAddress, parse_address
from .clock import HostClock
from .connection import CameraConnection, ConnectionLost
from .settings import CameraSettings
from .status import CameraStatus, Gap, Loss

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.2, 5.0
"""Pauses between attempts to reconnect; each attempt waits up to `RECONNECT_PATIENCE_S` for the source."""

RECONNECT_PATIENCE_S = 5.0

SAME_CLOCK_US = 10_000_000
"""If a source's clock is ahead of the host's by no more than this after a gap, it is assumed to have kept running."""

SETBACK_EVENTS = 1000
"""Consecutive events more than a second behind that show that the source's clock was set back."""

KEPT_GAPS = 100
_LOOK_S = 0.05


class Camera(Closing):
    """An opened live source; iterate over it once for its batches. A context manager.

    The iteration ends only when `close` is called or `stop` is set, from any thread, and then within a fraction of a
    second. When the source disconnects, stalls or sends garbage, the camera reconnects at growing intervals of at most
    `LONGEST_PAUSE_S` and reports the gap through `on_gap` and `status`. Batches stay in time order across gaps even if
    the source's clock was reset: see `Gap`. Events that this process does not take in time are dropped and counted, so
    latency and memory stay bounded. Attributes:

    - `address`, `name`: the address given, and the name that the source reports.
    - `width`, `height`: the sensor's size in pixels.

    Raises:
        CameraError: it cannot be opened.
        CalibrationError: the calibration is for another size of sensor.
    """

    def __init__(
        self,
        address: CameraAddress,
        calibration: Calibration | None,
        settings: CameraSettings,
        on_gap: Callable[[Gap], None] | None,
        on_loss: Callable[[Loss], None] | None,
        stop: threading.Event | None,
    ) -> None:
        self.address = address
        self._settings = settings
        self._size = None if calibration is None else (calibration.camera.width, calibration.camera.height)
        self._on_gap = on_gap
        self._on_loss = on_loss
        self._reported_lost = 0  # of this connection
        self._stop = stop or threading.Event()
        self._closed = threading.Event()
        self._clock = HostClock()
        self._sanitizer: Sanitizer | None = None
        self._past: Counter[str] = Counter()  # counts of earlier connections
        self._heard = time.monotonic()  # when the last batch came, or the camera was opened
        self._end_us: int | None = None  # of the last batch
        self._shift_us = 0
        self._n_events = 0
        self._gaps: deque[Gap] = deque(maxlen=KEPT_GAPS)
        self._gap_reason: str | None = None  # of a gap that no batch has ended yet
        self._lost_s = 0.0
        self._last_error: str | None = None
        self._connection: CameraConnection | None = None
        try:
            connection = self._connect(settings.connect_timeout_s)
        except ConnectionLost as lost:
            raise CameraError(f"{address}: {lost}") from lost
        self.name = connection.header.format
        self._size = self.width, self.height = connection.header.width, connection.header.height
        # Compile now, so that the first events do not wait for it.
        Sanitizer(str(address), self.width, self.height, live=True).admit(Chunk(NO_EVENTS, NO_TRIGGERS))

    def __iter__(self) -> Iterator[Batch]:
        """Batches in time order until stopped; the caller owns their memory."""
        while not self._stopping():
            connection = self._connection
            if connection is None:
                self._reconnect()
                continue
            try:
                for chunk in connection.chunks():
                    yield from self._delivered(chunk)
            except (ConnectionLost, RecordingError) as error:
                self._lose(str(error).removeprefix(f"{self.address}: "))

    def status(self) -> CameraStatus:
        """The current status; may be called from any thread."""
        silent_s = time.monotonic() - self._heard
        connection, sanitizer = self._connection, self._sanitizer
        counts = self._past.copy()
        if sanitizer is not None:
            counts.update(_counts(sanitizer))
        if connection is not None:
            counts.update(_drops(connection))
        return CameraStatus(
            connected=connection is not None,
            silent_s=silent_s,
            n_events=self._n_events,
            reconnects=counts["reconnects"],
            lost_s=self._lost_s + (0.0 if self._gap_reason is None else silent_s),
            gaps=tuple(self._gaps),
            dropped_events=counts["dropped_events"],
            dropped_triggers=counts["dropped_triggers"],
            repairs=Repairs(counts["off_sensor"], counts["backwards"], counts["wild"], counts["triggers"]),
            last_error=self._last_error,
        )

    def sensor_us(self, monotonic_ns: int) -> int | None:
        """Sensor time that corresponds to a time of the host's clock, `time.monotonic_ns`.

        It lags by the least transport delay from the sensor, some milliseconds; None before the first batch.
        """
        return self._clock.sensor_us(monotonic_ns)

    def close(self) -> None:
        """Close the source and end the iteration. May be called repeatedly and from any thread."""
        self._closed.set()
        connection = self._connection
        if connection is not None:
            connection.close()

    def _stopping(self) -> bool:
        return self._stop.is_set() or self._closed.is_set()

    def _connect(self, patience_s: float) -> CameraConnection:
        connection = CameraConnection(self.address, self._settings, self._size, patience_s, self._stopping)
        self._connection, self._reported_lost = connection, 0
        if self._stopping():
            connection.close()  # `close` may have come before there was anything to close
        return connection

    def _lose(self, reason: str) -> None:
        """Drop a connection but keep its counts."""
        if not self._stopping():
            self._last_error = self._gap_reason = reason
        connection, self._connection = self._connection, None
        if connection is not None:
            self._past.update(_drops(connection))
            connection.close()
        self._end_sanitizer()

    def _reconnect(self) -> None:
        """Try to reconnect until it succeeds or is stopped."""
        pause_s = FIRST_PAUSE_S
        while not self._stopping():
            try:
                self._connect(RECONNECT_PATIENCE_S)
                self._past["reconnects"] += 1
                return
            except (ConnectionLost, SweepdepthError) as error:
                self._last_error = str(error).removeprefix(f"{self.address}: ")
            deadline = time.monotonic() + pause_s
            while not self._stopping() and time.monotonic() < deadline:
                self._closed.wait(_LOOK_S)
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _delivered(self, chunk: Chunk) -> Iterator[Batch]:
        """The batches that a chunk completes, with gaps, losses and the clock offset updated for each."""
        if self._sanitizer is None:
            self._sanitizer = Sanitizer(str(self.address), self.width, self.height, live=True)
        sanitizer = self._sanitizer
        batches = sanitizer.admit(chunk)
        if batches and self._connection is not None:
            self._report_loss(self._connection.lost_events, batches)
        for batch in batches:
            now = time.monotonic()
            if self._gap_reason is not None:
                self._end_gap(batch, self._gap_reason, now)
            if self._shift_us:
                batch.events["timestamp"] += self._shift_us
                batch.triggers["timestamp"] += self._shift_us
                batch = replace(batch, end_us=batch.end_us + self._shift_us)
            self._heard, self._end_us = now, batch.end_us
            self._clock.observe(batch.end_us, time.monotonic_ns())
            self._n_events += len(batch.events)
            yield batch
        if sanitizer.setback_events >= SETBACK_EVENTS:
            self._last_error = self._gap_reason = "its clock was set back"
            self._end_sanitizer()

    def _report_loss(self, lost_events: int, batches: list[Batch]) -> None:
        """Report events that are missing before the end of these batches, and after the ones before them."""
        n_events, self._reported_lost = lost_events - self._reported_lost, lost_events
        if n_events and self._on_loss is not None and self._gap_reason is None and self._end_us is not None:
            self._on_loss(Loss(self._end_us, batches[-1].end_us + self._shift_us, n_events))

    def _end_gap(self, batch: Batch, reason: str, now: float) -> None:
        """Report the gap that ends with a batch, and determine whether the source's clock continued in it."""
        self._gap_reason = None
        if self._end_us is None:
            return  # the first batch
        lost_s = now - self._heard
        times = [int(part["timestamp"][0]) for part in (batch.events, batch.triggers) if len(part)]
        first_us = min(times, default=batch.end_us)
        expected_us = self._end_us + round(1e6 * lost_s)
        shift_us = 0
        if not self._end_us <= first_us + self._shift_us <= expected_us + SAME_CLOCK_US:
            shift_us = expected_us - first_us
            self._shift_us = shift_us
            self._clock.forget()
        gap = Gap(self._end_us, first_us + self._shift_us, lost_s, reason, shift_us)
        self._gaps.append(gap)
        self._lost_s += lost_s
        if self._on_gap is not None:
            self._on_gap(gap)

    def _end_sanitizer(self) -> None:
        """Discard pending events; counts are kept."""
        sanitizer, self._sanitizer = self._sanitizer, None
        if sanitizer is not None:
            self._past.update(_counts(sanitizer))


def _counts(sanitizer: Sanitizer) -> dict[str, int]:
    r = sanitizer.repairs
    return {"off_sensor": r.off_sensor, "backwards": r.backwards, "wild": r.wild, "triggers": r.triggers}


def _drops(connection: CameraConnection) -> dict[str, int]:
    events, triggers = connection.dropped
    return {"dropped_events": events, "dropped_triggers": triggers}


def open_camera(
    address: str,
    calibration: Calibration | None = None,
    settings: CameraSettings | None = None,
    *,
    on_gap: Callable[[Gap], None] | None = None,
    on_loss: Callable[[Loss], None] | None = None,
    stop: threading.Event | None = None,
) -> Camera:
    """Open a live source: `dv[:SERIAL]`, `tcp://HOST:EVENTS[,TRIGGERS]` or `pipe:PATH`.

        with open_camera("dv") as camera:
            for batch in camera:
                print(batch.end_us, len(batch.events), len(batch.triggers))

    `on_gap` is called by the iterating thread before the first batch after each gap, and `on_loss` before the batches
    between which events are missing. Setting `stop` ends the iteration. With a calibration, the sensor must have the
    size that it says.

    Raises:
        CameraError: the address is invalid, or nothing answers there within `settings.connect_timeout_s`.
        CalibrationError: the calibration is for another size of sensor.
    """
    return Camera(parse_address(address), calibration, settings or CameraSettings(), on_gap, on_loss, stop)
