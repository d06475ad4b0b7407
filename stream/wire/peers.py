"""Connections to the publisher: their subscriptions, and limits on what each may send."""

import contextlib
import socket
from dataclasses import dataclass, field

import zmq

from .messages import TOPICS

TCP_KEEPALIVE = {
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 10,
    zmq.TCP_KEEPALIVE_INTVL: 5,
    zmq.TCP_KEEPALIVE_CNT: 3,
}
"""Socket options by which both ends detect within 25 s that the other machine has disappeared."""

MAX_WORDS = 200
"""Most subscriptions and cancellations per connection, since libzmq may keep each in memory."""

MAX_BYTES, MAX_BYTES_AT_ONCE = 131_072, 4096
"""Most bytes that a connection may send in total, and between two checks. A handshake with some subscriptions takes
less than 1 kB; libzmq may allocate 50 bytes for each byte of a subscription, and does not deliver messages that never
end."""


@dataclass
class _Peer:
    words: int = 0
    received: int = 0  # bytes
    prefixes: set[bytes] = field(default_factory=set)


@dataclass
class Peers:
    """Connections by file descriptor, updated from the socket's monitor and XPUB's messages.

    libzmq itself limits neither the number of peers nor their subscriptions.
    """

    max_connections: int
    _peers: dict[int, _Peer] = field(default_factory=dict)

    def came(self, descriptor: int) -> bool:
        """Record an accepted connection; False if there are too many."""
        if len(self._peers) >= self.max_connections:
            return False
        self._peers[descriptor] = _Peer()
        return True

    def left(self, descriptor: int) -> None:
        """Record that a connection was closed, with its subscriptions."""
        self._peers.pop(descriptor, None)

    def said(self, descriptor: int, message: bytes) -> bool:
        """Record a peer's message, 1 (subscribe) or 0 (cancel) and a topic prefix; False if it has sent too much."""
        peer = self._peers.get(descriptor)
        if peer is None:
            return True
        peer.words += 1
        verb, prefix = message[:1], message[1:]
        if verb == b"\1" and any(topic.encode().startswith(prefix) for topic in TOPICS):
            peer.prefixes.add(prefix)
        elif verb == b"\0":
            peer.prefixes.discard(prefix)
        return peer.words <= MAX_WORDS

    def flooding(self) -> list[int]:
        """Check all connections; returns those that have sent too much."""
        floods = []
        for descriptor, peer in self._peers.items():
            before, peer.received = peer.received, bytes_received(descriptor)
            if peer.received > MAX_BYTES or peer.received - before > MAX_BYTES_AT_ONCE:
                floods.append(descriptor)
        return floods

    def count(self, topic: str) -> int:
        """Number of peers subscribed to a topic."""
        return sum(any(topic.encode().startswith(p) for p in peer.prefixes) for peer in self._peers.values())


def hang_up(descriptor: int) -> None:
    """Close a connection of libzmq, to which it looks as if the peer had disconnected.

    If libzmq has closed it in the meantime and another connection reuses its number, that one has to reconnect.
    """
    with contextlib.suppress(OSError), socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def bytes_received(descriptor: int) -> int:
    """Bytes received on a TCP connection, from the kernel; 0 if unknown."""
    with contextlib.suppress(OSError), socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as connection:
        if hasattr(socket, "TCP_INFO"):
            # tcpi_bytes_received in struct tcp_info of linux/tcp.h, Linux 4.1 and later.
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
            return int.from_bytes(info[128:136], "little")
    return 0
