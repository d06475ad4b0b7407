"""The receiving end of the wire: an iterator of validated frames."""

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from uuid import UUID

import zmq
from zmq.utils.monitor import parse_monitor_message

from ...capture.closing import Closing
from ...capture.errors import WireError
from .addresses import check_address
from .keys import load_key_pair, load_public_key
from .messages import MAX_ARRAY_BYTES, MAX_ARRAYS, TOPICS, AnyFrame, Buffer, StatusFrame, decode
from .peers import TCP_KEEPALIVE, bytes_received, hang_up

_OPTIONS = {
    zmq.LINGER: 0,
    zmq.RECONNECT_IVL: 100,
    zmq.RECONNECT_IVL_MAX: 2_000,
    zmq.HANDSHAKE_IVL: 5_000,
    # No heartbeats: with them, libzmq 4.3 aborts when the connection breaks while the receive queue is full.
    **TCP_KEEPALIVE,
}
_TROUBLES = {
    zmq.EVENT_HANDSHAKE_FAILED_AUTH: "the publisher does not accept this client's key",
    zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL: "the peer is not a publisher, or only one side has keys",
    zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL: "the peer closed the connection: it is not a publisher, or has other keys",
}
_EVENTS = (
    *_TROUBLES,
    zmq.EVENT_CONNECTED,
    zmq.EVENT_HANDSHAKE_SUCCEEDED,
    zmq.EVENT_DISCONNECTED,
    zmq.EVENT_CONNECT_RETRIED,
)
_GIVEN_UP_S = 1.0
_LOOK_S = 0.1  # interval of checking whether to stop

UNFINISHED_S, UNFINISHED_BYTES = 5.0, 65_536
"""A message with more than this many bytes that has not ended after this time is aborted: libzmq stores all parts of a
message until the last one arrives, and no high-water mark limits them. A message larger than two of the largest arrays
is aborted immediately."""

_PAST_STREAMS = 64


class Subscriber(Closing):
    """Receives the frames of a publisher, by iteration. A context manager.

    While being read, it connects as soon as there is a publisher, and reconnects when the connection breaks. Invalid
    messages are counted and skipped. For use by one thread.

        with Subscriber("tcp://127.0.0.1:5560") as frames:
            for frame in frames:
                print(frame)

    Attributes:
        address: the publisher's address.
        lost: messages missed so far in all subscribed topics; each frame's own `lost` is the number before it.
        rejected: number of messages that did not follow the wire format.
        last_rejection: the error in the last of them.
        streams: number of streams received; a restarted publisher begins a new one, with new `stream` and `seq`.
        ended: whether the latest stream has ended.
    """

    def __init__(
        self,
        address: str,
        topics: Sequence[str] = ("depth", "status"),
        keys: str | Path | None = None,
        server_key: str | Path | None = None,
        receive_hwm: int = 8,
        max_message_bytes: int = MAX_ARRAY_BYTES,
        timeout: float | None = None,
        follow: bool = False,
        stop: threading.Event | None = None,
    ) -> None:
        """Connect to a publisher.

        Iterating yields `DepthFrame`, `StatusFrame` and `StackFrame` as they arrive, and stops at the end of the
        stream. It raises `WireError` after `timeout` seconds without messages.

        Args:
            address: `tcp://HOST:PORT` or `ipc://PATH`.
            topics: of "depth", "status" and "stack".
            keys: the client's `.key_secret` file, whose `.key` the publisher allows; required if the publisher has
                keys.
            server_key: the publisher's `.key` file; required with `keys`.
            receive_hwm: most messages waiting to be read; further ones are lost.
            max_message_bytes: largest array that is accepted.
            timeout: seconds without messages after which iterating fails; None waits forever.
            follow: continue with the publisher's next stream when one ends.
            stop: ends the iteration immediately when set.

        Raises:
            WireError: the address, a topic or the keys are invalid.
        """
        check_address(address)
        for topic in topics:
            if topic not in TOPICS:
                raise WireError(f"topic {topic!r}: is unknown; expected {', '.join(TOPICS)}")
        if (keys is None) != (server_key is None):
            raise WireError(f"{address}: keys and server_key go together; give your key file and the publisher's .key")
        pair = None if keys is None else load_key_pair(keys)
        server = None if server_key is None else load_public_key(server_key)

        self.address = address
        self.lost = 0
        self.rejected = 0
        self.last_rejection = ""
        self.streams = 0
        self.ended = False
        self._topics = frozenset(topics)
        self._max_array_bytes = max_message_bytes
        self._most_unfinished_bytes = 2 * max_message_bytes + UNFINISHED_BYTES
        self._timeout = timeout
        self._follow = follow
        self._stop = stop or threading.Event()
        self._longest_poll_s = _GIVEN_UP_S / 4 if stop is None else _LOOK_S
        self._stream: UUID | None = None
        self._next_seq: dict[str, int] = {}
        self._past_streams: deque[UUID] = deque(maxlen=_PAST_STREAMS)

        self._context = zmq.Context()
        self._socket = self._context.socket(zmq.SUB)
        self._monitor = self._context.socket(zmq.PAIR)
        self._trouble = ""
        self._dropped_at: float | None = None  # when the connection broke, until libzmq reconnects
        self._descriptor: int | None = None  # libzmq's file descriptor of the connection
        self._whole_bytes = 0  # bytes received on it up to the last complete message
        self._unfinished_since: float | None = None
        try:
            for option, value in _OPTIONS.items():
                self._socket.setsockopt(option, value)
            self._socket.setsockopt(zmq.RCVHWM, receive_hwm)
            self._socket.setsockopt(zmq.MAXMSGSIZE, max_message_bytes)
            self._socket.setsockopt(zmq.IPV6, int("[" in address))
            if pair is not None and server is not None:
                self._socket.setsockopt(zmq.CURVE_SERVERKEY, server)
                self._socket.setsockopt(zmq.CURVE_PUBLICKEY, pair.public)
                self._socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
            self._socket.monitor("inproc://monitor", sum(_EVENTS))
            self._monitor.setsockopt(zmq.RCVHWM, 0)  # otherwise libzmq would block until it is read
            self._monitor.connect("inproc://monitor")
            # The end of a stream is in its status, so always subscribe to that.
            for topic in self._topics | {StatusFrame.topic}:
                self._socket.subscribe(topic)
            self._socket.connect(address)
        except zmq.ZMQError as error:
            self.close()
            raise WireError(f"{address}: cannot be connected to: {str(error).lower()}") from error

    def __repr__(self) -> str:
        return f"Subscriber({self.address!r}, {', '.join(sorted(self._topics))}, {self.lost} lost)"

    def __iter__(self) -> Iterator[AnyFrame]:
        while (self._follow or not self.ended) and not self._stop.is_set():
            frame = self.receive(self._timeout)
            if frame is not None:
                yield frame
            elif (self._follow or not self.ended) and not self._stop.is_set():
                why = self._trouble or "is it published there?"
                if self.rejected:
                    why = f"{self.rejected} bad messages, the last one: {self.last_rejection}"
                raise WireError(f"{self.address}: no message for {self._timeout:g} s; {why}")

    def receive(self, timeout: float | None = None) -> AnyFrame | None:
        """Receive the next frame.

        Args:
            timeout: seconds to wait; None waits for ever.

        Returns:
            The frame, or None: when `timeout` passes first, when the stream ends and `status` is not among the topics,
                or when `stop` is set.
        """
        deadline = math.inf if timeout is None else time.monotonic() + timeout
        while True:
            self._check_connection()
            left_s = deadline - time.monotonic()
            if not self._socket.poll(round(1e3 * max(0.0, min(left_s, self._longest_poll_s)))):
                self._check_unfinished()
            else:
                frame = self._checked(self._parts())
                if frame is not None and frame.topic in self._topics:
                    return frame
                if frame is not None and self.ended and not self._follow:
                    return None
            if time.monotonic() >= deadline or self._stop.is_set():
                return None

    @property
    def trouble(self) -> str:
        """Why the last attempt to connect failed, if it did."""
        return self._trouble

    def close(self) -> None:
        """Disconnect; pending messages are lost."""
        self._socket.disable_monitor()
        self._monitor.close()
        self._socket.close()
        self._context.term()

    def _check_connection(self) -> None:
        """Reconnect where libzmq does not: after a failed handshake, or if the keys were rejected."""
        with contextlib.suppress(zmq.Again):
            while True:
                message = parse_monitor_message(self._monitor.recv_multipart(zmq.DONTWAIT))
                event = zmq.Event(message["event"])
                if event in (zmq.EVENT_CONNECTED, zmq.EVENT_DISCONNECTED):
                    self._descriptor = int(message["value"]) if event == zmq.EVENT_CONNECTED else None
                    self._whole_bytes, self._unfinished_since = 0, None
                if event in _TROUBLES or event == zmq.EVENT_HANDSHAKE_SUCCEEDED:
                    self._trouble = _TROUBLES.get(event, "")
                self._dropped_at = time.monotonic() if event == zmq.EVENT_DISCONNECTED else None
        if self._dropped_at is not None and time.monotonic() - self._dropped_at > _GIVEN_UP_S:
            self._dropped_at = None
            with contextlib.suppress(zmq.ZMQError):
                self._socket.disconnect(self.address)
            self._socket.connect(self.address)

    def _check_unfinished(self) -> None:
        """Disconnect if a message does not end; called when there is no complete message."""
        if self._descriptor is None:
            return
        n_bytes = bytes_received(self._descriptor) - self._whole_bytes
        if n_bytes < UNFINISHED_BYTES:
            self._unfinished_since = None
            return
        if self._unfinished_since is None:
            self._unfinished_since = time.monotonic()
        lasted_s = time.monotonic() - self._unfinished_since
        if lasted_s > UNFINISHED_S or n_bytes > self._most_unfinished_bytes:
            hang_up(self._descriptor)
            self._descriptor = None
            self.rejected += 1
            self.last_rejection = f"message: has not ended after {n_bytes:,} bytes and {lasted_s:.0f} s; disconnected"

    def _parts(self) -> list[Buffer]:
        """Receive one complete message; with too many parts, only as many as needed to reject it."""
        parts: list[Buffer] = []
        more = True
        while more:
            part = self._socket.recv(copy=False)
            more = part.more
            if len(parts) < 3 + MAX_ARRAYS:
                parts.append(part.buffer)
        if self._descriptor is not None:
            self._whole_bytes, self._unfinished_since = bytes_received(self._descriptor), None
        return parts

    def _checked(self, parts: list[Buffer]) -> AnyFrame | None:
        """Decode a message and count those lost before it; None if it is to be skipped."""
        try:
            frame = decode(parts, self._max_array_bytes)
            if frame.stream == self._stream and frame.seq < self._next_seq.get(frame.topic, 0):
                raise WireError(f"{frame.topic} message: seq {frame.seq} came after {self._next_seq[frame.topic] - 1}")
            if frame.stream in self._past_streams:
                raise WireError(f"{frame.topic} message: is of stream {frame.stream}, which another one has followed")
        except WireError as error:
            self.rejected += 1
            self.last_rejection = str(error)
            return None
        if frame.stream != self._stream:
            if self._stream is not None:
                self._past_streams.append(self._stream)
            self._stream = frame.stream
            self._next_seq.clear()
            self.streams += 1
            self.ended = False
        lost = frame.seq - self._next_seq.get(frame.topic, frame.seq)
        self._next_seq[frame.topic] = frame.seq + 1
        if frame.topic in self._topics:
            self.lost += lost
        self.ended = self.ended or (isinstance(frame, StatusFrame) and frame.end)
        return replace(frame, lost=lost)
