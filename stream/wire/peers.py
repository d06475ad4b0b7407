"""Who is connected to the publisher, which topics each wants, and whom to hang up on."""

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
"""Socket options by which both ends notice within 25 s that the other's machine has vanished without a word."""

MAX_WORDS = 200
"""Subscriptions and cancellations that one connection may send: each may stay in libzmq's memory while it lasts."""

MAX_BYTES, MAX_BYTES_AT_ONCE = 131_072, 4096
"""What one connection may send in all, and between two looks. A handshake and some subscriptions take less than 1 kB;
libzmq may keep 50 bytes for each byte of a subscription, and does not hand on messages that never end."""


@dataclass
class _Peer:
    words: int = 0
    received: int = 0  # bytes
    prefixes: set[bytes] = field(default_factory=set)


@dataclass
class Peers:
    """Connections by file descriptor, fed by the socket's monitor and by the messages that XPUB passes on.

    libzmq itself bounds neither how many peers connect nor how much each subscribes to.
    """

    max_connections: int
    _peers: dict[int, _Peer] = field(default_factory=dict)

    def came(self, descriptor: int) -> bool:
        """A connection was accepted. False when it is one too many."""
        if len(self._peers) >= self.max_connections:
            return False
        self._peers[descriptor] = _Peer()
        return True

    def left(self, descriptor: int) -> None:
        """A connection is gone, and its subscriptions with it."""
        self._peers.pop(descriptor, None)

    def said(self, descriptor: int, message: bytes) -> bool:
        """A peer sent 1 (subscribe) or 0 (cancel) and a prefix of topics. False when it has said too much."""
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
        """Look at all connections; those that have sent too much."""
        floods = []
        for descriptor, peer in self._peers.items():
            before, peer.received = peer.received, bytes_received(descriptor)
            if peer.received > MAX_BYTES or peer.received - before > MAX_BYTES_AT_ONCE:
                floods.append(descriptor)
        return floods

    def count(self, topic: str) -> int:
        """How many peers want a topic."""
        return sum(any(topic.encode().startswith(p) for p in peer.prefixes) for peer in self._peers.values())


def hang_up(descriptor: int) -> None:
    """End a connection that libzmq holds; to libzmq it looks as if the peer had left.

    If libzmq closed it in the meantime and another connection has taken its number, that one has to reconnect.
    """
    with contextlib.suppress(OSError), socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as connection:
        connection.shutdown(socket.SHUT_RDWR)


def bytes_received(descriptor: int) -> int:
    """What the kernel has received on a TCP connection since it was made; 0 where it does not say."""
    with contextlib.suppress(OSError), socket.fromfd(descriptor, socket.AF_INET, socket.SOCK_STREAM) as connection:
        if hasattr(socket, "TCP_INFO"):
            # tcpi_bytes_received in struct tcp_info of linux/tcp.h, Linux 4.1 and later.
            info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 136)
            return int.from_bytes(info[128:136], "little")
    return 0
