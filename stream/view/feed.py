"""What is coming over the wire, received in a thread of its own: the latest of each topic, and how it is going."""

import statistics
import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from ..wire.messages import DepthFrame, StackFrame, StatusFrame
from ..wire.subscriber import Subscriber

_LOOK_S = 0.2
_SILENCE_S = 3.0
"""A publisher says something once a second, so after this long something is wrong."""
_PATIENCE_SWEEPS = 3
"""A slow lens gives depth more rarely than the publisher says something."""

_RECENT = 50


@dataclass(frozen=True)
class StreamState:
    """What was received so far."""

    depth: DepthFrame | None = None
    stack: StackFrame | None = None
    status: StatusFrame | None = None
    n_depth: int = 0
    missed: int = 0  # messages lost on the way to us
    rejected: int = 0  # messages that did not follow the wire format
    streams: int = 0  # the publisher begins a new one whenever it starts
    restarted_at: datetime | None = None  # when the newest of several streams began
    ended: bool = False  # the newest stream said that it is over
    silent_s: float = 0.0  # since the last message, or since we began to listen
    depthless_s: float = 0.0  # since the last depth of the newest stream, or since its first message
    wire_ms: float = float("nan")  # median time on the way, by the host's clock
    trouble: str = ""  # why connecting failed

    @property
    def connected(self) -> bool:
        """Whether a publisher is there now, with depth or without."""
        return self.streams > 0 and not self.ended and self.silent_s < _SILENCE_S

    @property
    def live(self) -> bool:
        """Whether depth is coming now: a publisher without a camera goes on sending its status."""
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
        text = f"No depth from {address} for {state.depthless_s:.0f} s, though its publisher is there"
        old = "; the picture is old" if state.depth is not None else ""
        text += f"{old}: {_why_no_depth(state.status)}."
    elif state.rejected and state.streams == 0:
        text = f"What comes from {address} does not follow the wire format; is it a sweepdepth publisher?"
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
    """What a publisher says of itself that explains why it has no depth."""
    if status is None:
        return "it has not said why"
    if status.warnings:
        return "; ".join(status.warnings)
    return "no events come from the camera" if status.events_per_s == 0 else "no whole sweep has come"


class Feed:
    """A subscriber that keeps the latest message of each topic, and never more, however slow its reader is.

    It goes on when the publisher stops and starts again.

    Raises:
        WireError: address or keys are unusable.
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

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

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
