"""The publishing end of the wire: one XPUB socket, owned by one thread."""

import contextlib
import socket
import threading
import time
from collections import Counter, deque
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import zmq
from zmq.auth.thread import ThreadAuthenticator
from zmq.utils.monitor import parse_monitor_message

from ...capture.closing import Closing
from ...capture.errors import WireError
from .addresses import advice, check_address, check_free, is_local
from .compression import Encoding
from .keys import load_clients, load_key_pair
from .messages import AnyFrame, Buffer, StatusFrame, encode
from .peers import TCP_KEEPALIVE, Peers, hang_up

LINGER_S = 2.0
_OUTBOX = 16
_LOOK_S = 0.02
_ZAP_DOMAIN = b"sweepdepth"

# Limits per peer. Subscribers send only handshakes and a few small subscriptions.
_BOUNDS = {
    zmq.MAXMSGSIZE: 1024,
    zmq.HANDSHAKE_IVL: 5_000,
    # The smallest receive buffer throttles a flood of subscriptions until it is disconnected. A limit on libzmq's
    # own queue is not possible: libzmq 4.3 aborts (assertion !_io_error) if a ping is in a flood that fills that queue.
    zmq.RCVBUF: 1024,
    zmq.RCVHWM: 0,
    # What the kernel holds is sent before anything newer. This is 0.2 s on a link of 10 Mbit/s, and enough for 2 Gbit/s
    # at a round trip of a millisecond; by itself it would grow to 4 MB.
    zmq.SNDBUF: 262_144,
    # TCP detects dead or stalled peers: libzmq's heartbeats abort on full queues, too.
    **TCP_KEEPALIVE,
    zmq.TCP_MAXRT: 10_000,
}


class Publisher(Closing):
    """Publishes frames to any number of subscribers. A context manager.

    `publish` may be called from any thread and never waits for subscribers. Slow subscribers miss frames, which shows
    in `seq`; at most `send_hwm` messages wait for each. On exit, a last status with `end` set is sent, and waits up to
    2 s for delivery.

    Attributes:
        address: the bound address, with the actual port if `address` left it open (`tcp://127.0.0.1:*`).
        stream: UUID in all its messages.

    Examples:
        >>> from sweepdepth import Subscriber
        >>> from sweepdepth.stream.wire.messages import StatusFrame
        >>> with Publisher("tcp://127.0.0.1:*") as publisher:
        ...     with Subscriber(publisher.address, topics=("status",)) as frames:
        ...         while (frame := frames.receive(timeout=0.1)) is None:
        ...             publisher.publish(StatusFrame(frames_per_s=5.0))
        >>> frame.frames_per_s
        5.0
    """

    def __init__(
        self,
        address: str,
        keys: str | Path | None = None,
        clients: str | Path | None = None,
        send_hwm: int = 8,
        max_connections: int = 64,
        encoding: Encoding = "none",
    ) -> None:
        """Bind to an address.

        With `keys` and `clients`, traffic is encrypted and both ends are authenticated. This is required unless the
        address is local to this machine.

        Args:
            address: `tcp://HOST:PORT` or `ipc://PATH`.
            keys: the publisher's `.key_secret` file.
            clients: a folder with the `.key` files of allowed clients; required with `keys`.
            send_hwm: most messages waiting for a slow subscriber.
            max_connections: most simultaneous connections.
            encoding: "zstd" compresses the arrays losslessly, for slow links.

        Raises:
            WireError: the address is malformed, in use, not of this machine or needs keys, or the keys are invalid.
        """
        self.stream = uuid4()
        self._encoding: Encoding = encoding
        self._changed = threading.Condition()  # guards the following attributes
        self._peers = Peers(max_connections)
        self._outbox: deque[list[Buffer]] = deque()
        self._drops: Counter[str] = Counter(outbox=0, slow_subscriber=0)
        self._seq: Counter[str] = Counter()
        self._status = StatusFrame()
        self._closing = False
        self._watched = threading.Event()

        check_address(address)
        check_free(address)
        if (keys is None) != (clients is None):
            raise WireError(f"{address}: keys and clients go together; give both the key file and the clients' folder")
        if keys is None and not is_local(address):
            raise WireError(
                f"{address}: other machines can reach this address, so it needs keys and a list of clients "
                "(see `sweepdepth keys new --help`); use 127.0.0.1 or ipc:// to do without"
            )
        pair = None if keys is None else load_key_pair(keys)
        if clients is not None:
            load_clients(clients)

        self._context = zmq.Context()
        self._authenticator: ThreadAuthenticator | None = None
        self._socket = self._context.socket(zmq.XPUB)
        self._monitor = self._socket.get_monitor_socket(zmq.EVENT_ACCEPTED | zmq.EVENT_DISCONNECTED)
        try:
            for option, value in _BOUNDS.items():
                self._socket.setsockopt(option, value)
            self._socket.setsockopt(zmq.SNDHWM, send_hwm)
            self._socket.setsockopt(zmq.LINGER, 0)
            self._socket.setsockopt(zmq.IPV6, int("[" in address))
            self._socket.setsockopt(zmq.XPUB_VERBOSER, 1)
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)
            if pair is not None:
                self._authenticator = ThreadAuthenticator(self._context)
                self._authenticator.configure_curve(_ZAP_DOMAIN.decode(), str(clients))
                self._authenticator.start()
                self._socket.setsockopt(zmq.CURVE_SERVER, 1)
                self._socket.setsockopt(zmq.CURVE_SECRETKEY, pair.secret)
                self._socket.setsockopt(zmq.ZAP_DOMAIN, _ZAP_DOMAIN)
                # Without this, libzmq accepts all clients if the authenticator does not answer.
                self._socket.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
            self._socket.bind(address)
        except BaseException as error:
            self._socket.disable_monitor()
            self._socket.close()
            self._release()
            if isinstance(error, zmq.ZMQError):
                raise WireError(f"{address}: {advice(error)}") from error
            raise
        self.address = self._socket.getsockopt_string(zmq.LAST_ENDPOINT)

        self._wake_receiver, self._wake_sender = socket.socketpair()
        self._wake_sender.setblocking(False)
        self._thread = threading.Thread(target=self._serve, name="publisher", daemon=True)
        self._guard = threading.Thread(target=self._watch, name="publisher monitor", daemon=True)
        self._thread.start()
        self._guard.start()

    def __repr__(self) -> str:
        return f"Publisher({self.address!r}, {self.subscribers} subscribers)"

    def publish(self, frame: AnyFrame) -> None:
        """Send a frame to all subscribers of its topic.

        The publisher adds its own queue and drops to a status.

        Args:
            frame: the frame; its arrays become read-only and must not be changed any more.

        Raises:
            WireError: the frame does not fit the wire format, or the publisher is closed.
        """
        with self._changed:
            if self._closing or not self._thread.is_alive():
                raise WireError(f"{self.address}: the publisher is closed")
            if isinstance(frame, StatusFrame):
                self._status = frame = self.with_own_counts(frame)
            if len(self._outbox) == _OUTBOX:
                self._outbox.popleft()
                self._drops["outbox"] += 1
            self._outbox.append(self._message(frame))
        self._wake()

    def with_own_counts(self, status: StatusFrame) -> StatusFrame:
        """A status with the queue and drops of this publisher added.

        Args:
            status: of the runtime.

        Returns:
            The status, as `publish` would send it.
        """
        with self._changed:
            queues = {**status.queues, "outbox": len(self._outbox)}
            return replace(status, queues=queues, drops={**status.drops, **self._drops})

    def has_subscribers(self, topic: str) -> bool:
        """Whether a topic has subscribers, so that `stack` is only computed if needed.

        Args:
            topic: "depth", "status" or "stack".

        Returns:
            True if at least one peer is subscribed to it.
        """
        with self._changed:
            return self._peers.count(topic) > 0

    @property
    def subscribers(self) -> int:
        """Number of peers subscribed to `depth`."""
        with self._changed:
            return self._peers.count("depth")

    @property
    def drops(self) -> dict[str, int]:
        """Messages not sent, by reason: `outbox` (this process was too busy to send) and `slow_subscriber` (number of
        times a subscriber's queue became full; messages missed while it stays full are not counted)."""
        with self._changed:
            return dict(self._drops)

    def wait_for_subscribers(self, n: int, timeout: float | None = None) -> bool:
        """Wait until a number of peers are subscribed to `depth`.

        Args:
            n: number of peers.
            timeout: seconds to wait; None waits forever.

        Returns:
            False if `timeout` passes first.
        """
        with self._changed:
            return self._changed.wait_for(lambda: self._peers.count("depth") >= n, timeout)

    def close(self) -> None:
        """Send the last status, with `end` set, and wait up to 2 s for the delivery of pending messages."""
        if self._context.closed:
            return
        if self._thread.is_alive() and not self._status.end:
            self.publish(replace(self._status, end=True))
        with self._changed:
            self._closing = True
        self._wake()
        self._thread.join()
        self._watched.set()
        self._guard.join()
        self._release()
        self._wake_receiver.close()
        self._wake_sender.close()

    def _message(self, frame: AnyFrame) -> list[Buffer]:
        parts = encode(
            frame,
            stream=self.stream,
            seq=self._seq[frame.topic],
            t_publish_ns=time.time_ns(),
            encoding=self._encoding,
        )
        self._seq[frame.topic] += 1
        return parts

    def _wake(self) -> None:
        """Wake the thread that owns the socket; if the pipe is full, it is being woken already."""
        with contextlib.suppress(BlockingIOError):
            self._wake_sender.send(b"\0")

    def _watch(self) -> None:
        """Monitor connections, in a separate thread because a flood of subscriptions keeps the socket's owner inside
        libzmq."""
        while not self._watched.wait(_LOOK_S):
            with self._changed:
                self._hear_connections()
                for descriptor in self._peers.flooding():
                    hang_up(descriptor)

    def _hear_connections(self) -> None:
        """Process new and closed connections; the caller holds the lock."""
        with contextlib.suppress(zmq.Again):
            while True:
                event = parse_monitor_message(self._monitor.recv_multipart(zmq.DONTWAIT))
                descriptor = int(event["value"])
                if event["event"] == zmq.EVENT_DISCONNECTED:
                    self._peers.left(descriptor)
                elif not self._peers.came(descriptor):
                    hang_up(descriptor)
                self._changed.notify_all()

    def _release(self) -> None:
        self._monitor.close()
        if self._authenticator is not None:
            self._authenticator.stop()
        self._context.term()

    # The following methods run in the thread that owns the socket.

    def _serve(self) -> None:
        linger_s = 0.0
        try:
            poller = zmq.Poller()
            poller.register(self._socket, zmq.POLLIN)
            poller.register(self._wake_receiver, zmq.POLLIN)
            closing = False
            while not closing:
                if self._wake_receiver.fileno() in dict(poller.poll()):
                    self._wake_receiver.recv(4096)
                self._hear()
                with self._changed:
                    closing = self._closing
                    messages = list(self._outbox)
                    self._outbox.clear()
                for parts in messages:
                    self._send(parts)
            linger_s = self._announce_end(time.monotonic() + LINGER_S)
        finally:
            self._socket.disable_monitor()
            self._socket.close(linger=round(1e3 * linger_s))

    def _hear(self) -> None:
        """Process subscriptions, a few at a time, so that a flood does not delay frames."""
        for _ in range(100):
            try:
                message = self._socket.recv(zmq.DONTWAIT, copy=False)
            except zmq.Again:
                return
            # A cancellation made by libzmq itself for a disconnected peer has no sender.
            with contextlib.suppress(zmq.ZMQError), self._changed:
                descriptor = int(message.get(zmq.SRCFD))
                # Read after receiving the message, so that its sender's connection event is included.
                self._hear_connections()
                if not self._peers.said(descriptor, message.bytes):
                    hang_up(descriptor)
                self._changed.notify_all()

    def _send(self, parts: list[Buffer]) -> None:
        try:
            self._socket.send_multipart(parts, zmq.DONTWAIT, copy=False)
        except zmq.Again:
            # A subscriber's queue is full; send the message to the others.
            self._drops["slow_subscriber"] += 1
            self._socket.setsockopt(zmq.XPUB_NODROP, 0)
            self._socket.send_multipart(parts, zmq.DONTWAIT, copy=False)
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)

    def _announce_end(self, deadline: float) -> float:
        """Ensure that subscribers receive the last status; returns the seconds left for messages in transit.

        A full queue drops the last status like any other message, so it is repeated while that is possible.
        """
        while self._drops["slow_subscriber"] and self.has_subscribers("status") and time.monotonic() < deadline:
            time.sleep(0.1)
            self._hear()
            with self._changed:
                parts = self._message(self._status)
            self._send(parts)
        return max(0.1, deadline - time.monotonic())
