"""Receives a stream in its own thread: the latest message of each topic, and the state of the stream."""

import statistics
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from ...capture.closing import Closing
from ..wire.messages import DepthFrame, StackFrame, StatusFrame
from ..wire.subscriber import Subscriber

_LOOK_S = 0.2
_SILENCE_S = 3.0
"""A publisher sends a status once a second, so a longer silence is a fault."""
_PATIENCE_SWEEPS = 3
"""The same in sweeps, for slow lenses, whose depth is less frequent than the status."""

_RECENT = 50


@dataclass(frozen=True)
class StreamState:
    """What has been received so far."""

    depth: DepthFrame | None = None
    stack: StackFrame | None = None
    status: StatusFrame | None = None
    n_depth: int = 0
    missed: int = 0  # messages lost in transit
    rejected: int = 0  # messages that did not follow the wire format
    streams: int = 0  # number of streams; a restarted publisher begins a new one
    restarted_at: datetime | None = None  # start of the latest stream, if there were several
    ended: bool = False  # whether the latest stream has ended
    silent_s: float = 0.0  # since the last message, or since connecting
    depthless_s: float = 0.0  # since the last depth of the latest stream, or since its first message
    wire_ms: float = float("nan")  # median transit time, by the host's clock
    trouble: str = ""  # why connecting failed

    @property
    def connected(self) -> bool:
        """Whether a publisher is connected, with or without depth."""
        return self.streams > 0 and not self.ended and self.silent_s < _SILENCE_S

    @property
    def live(self) -> bool:
        """Whether depth is arriving; a publisher without a camera sends only its status."""
        return self.connected and self.depthless_s < max(_SILENCE_S, _PATIENCE_SWEEPS * self._sweep_s)

    @property
    def _sweep_s(self) -> float:
        return 0.0 if self.depth is None else (self.depth.t_end_us - self.depth.t_start_us) * 1e-6


def describe(state: StreamState, address: str) -> str:
    """One sentence on the state of the stream."""
    silence = f"for {state.silent_s:.0f} s"
    if state.live:
        text = f"Live from {address}."
    elif state.connected:
        text = f"No depth from {address} for {state.depthless_s:.0f} s, but its publisher is connected"
        old = "; the picture is old" if state.depth is not None else ""
        text += f"{old}: {_why_no_depth(state.status)}."
    elif state.rejected and state.streams == 0:
        text = f"Messages from {address} do not follow the wire format; is it a sweepdepth publisher?"
    elif state.streams == 0:
        text = f"Nothing has come from {address} {silence}; waiting for a publisher there."
    elif state.ended:
        text = f"The stream from {address} has ended; waiting for the publisher to start again."
    else:
        text = f"Nothing has come from {address} {silence}; the pictures are old. Waiting for the publisher."
    if state.trouble and not state.live:
        text += f" Connecting: {state.trouble}."
    if state.restarted_at is not None:
        text += f" The publisher restarted at {state.restarted_at:%H:%M:%S}; this is its stream {state.streams}."
    return text


def _why_no_depth(status: StatusFrame | None) -> str:
    """Why a publisher has no depth, from its status."""
    if status is None:
        return "it has not sent a reason"
    if status.warnings:
        return "; ".join(status.warnings)
    return "the camera sends no events" if status.events_per_s == 0 else "there has been no complete sweep"


class Feed(Closing):
    """A subscriber that keeps only the latest message of each topic, independent of the reader's speed.

    It continues when the publisher restarts.

    Raises:
        WireError: the address or keys are invalid.
    """

    def __init__(
        self,
        address: str,
        topics: Sequence[str],
        keys: str | Path | None = None,
        server_key: str | Path | None = None,
    ) -> None:
        self._subscriber = Subscriber(address, topics, keys, server_key, receive_hwm=2, follow=True)
        self._lock = threading.Lock()
        self._state = StreamState()
        self._wire_ms: deque[float] = deque(maxlen=_RECENT)
        self._last_word = self._last_depth = time.monotonic()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._receive, name="feed", daemon=True)
        self._thread.start()

    def state(self) -> StreamState:
        """The state now."""
        with self._lock:
            now = time.monotonic()
            return replace(self._state, silent_s=now - self._last_word, depthless_s=now - self._last_depth)

    def close(self) -> None:
        """Stop listening."""
        self._closing.set()
        self._thread.join()

    def _receive(self) -> None:
        with self._subscriber as subscriber:
            while not self._closing.is_set():
                frame = subscriber.receive(_LOOK_S)
                known = self._state
                news = {
                    "missed": subscriber.lost,
                    "rejected": subscriber.rejected,
                    "streams": subscriber.streams,
                    "ended": subscriber.ended,
                    "trouble": subscriber.trouble,
                }
                if subscriber.streams > max(1, known.streams):
                    news["restarted_at"] = datetime.now()
                if frame is not None:
                    news[frame.topic] = frame
                if isinstance(frame, DepthFrame):
                    self._wire_ms.append((time.time_ns() - frame.t_publish_ns) * 1e-6)
                    news |= {"n_depth": known.n_depth + 1, "wire_ms": statistics.median(self._wire_ms)}
                with self._lock:
                    self._state = replace(known, **news)
                    if frame is not None:
                        self._last_word = time.monotonic()
                    if isinstance(frame, DepthFrame) or subscriber.streams > known.streams:
                        self._last_depth = time.monotonic()
