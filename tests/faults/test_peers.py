"""The wire with peers that do not read, that come and go, that have wrong keys, and that are hostile."""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from uuid import uuid4

import psutil
import pytest
import zmq

from sweepdepth.capture.errors import WireError
from sweepdepth.stream.wire.keys import new_keys
from sweepdepth.stream.wire.messages import DepthFrame, StatusFrame, encode
from sweepdepth.stream.wire.peers import MAX_WORDS
from sweepdepth.stream.wire.publisher import Publisher
from sweepdepth.stream.wire.subscriber import Subscriber

from ..stream.test_publisher import GREETING, READY, call, eventually, subscription, unharmed, was_hung_up_on
from .table import rounds, saw

FrameMaker = Callable[..., DepthFrame]
ANY_PORT = "tcp://127.0.0.1:*"
UNHARMED = "another subscriber lost nothing, the publisher's memory did not grow"

LISTEN = """
import sys
from sweepdepth.stream.wire.subscriber import Subscriber
with Subscriber(sys.argv[1], topics=("depth", "status", "stack")) as frames:
    for frame in frames:
        pass
"""


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher(ANY_PORT) as publisher:
        yield publisher


@pytest.fixture
def subscriber(publisher: Publisher) -> Iterator[Subscriber]:
    with Subscriber(publisher.address, timeout=30) as subscriber:
        assert publisher.wait_for_subscribers(1, timeout=30)
        yield subscriber


@rounds(1, 0.25)
def test_a_subscriber_that_stops_reading(
    publisher: Publisher, subscriber: Subscriber, make_frame: FrameMaker, chance: Random
):
    stuck = subprocess.Popen([sys.executable, "-c", LISTEN, publisher.address])
    try:
        assert publisher.wait_for_subscribers(2, timeout=60)
        stuck.send_signal(signal.SIGSTOP)
        with unharmed(publisher, subscriber, make_frame):
            time.sleep(chance.uniform(1, 3))
    finally:
        stuck.kill()
        stuck.wait()
    saw("a subscriber never reads", "a subscribed process is stopped", UNHARMED)


@rounds(1, 0.25)
def test_fifty_subscribers_that_come_and_go(
    publisher: Publisher, subscriber: Subscriber, make_frame: FrameMaker, chance: Random
):
    """Each stays for a few frames, repeatedly; half of them exit without closing their sockets."""
    process, leaving = psutil.Process(), threading.Event()
    received = [0] * 50

    def come_and_go(k: int, stay_s: float) -> None:
        while not leaving.is_set():
            if k % 2:
                with Subscriber(publisher.address) as visitor:
                    received[k] += visitor.receive(stay_s) is not None
            else:
                with suppress(OSError), call(publisher) as peer:
                    peer.sendall(subscription(b"depth"))
                    peer.settimeout(stay_s)
                    received[k] += bool(peer.recv(100))
            time.sleep(0.3 * stay_s)

    connections, descriptors = len(process.net_connections()), process.num_fds()
    threads = [threading.Thread(target=come_and_go, args=(k, chance.uniform(0.2, 0.6))) for k in range(50)]
    with unharmed(publisher, subscriber, make_frame):
        for thread in threads:
            thread.start()
        assert eventually(lambda: sum(n > 0 for n in received) > 25, seconds=60)
        leaving.set()
        for thread in threads:
            thread.join()
    assert eventually(lambda: publisher.subscribers == 1)
    assert eventually(lambda: len(process.net_connections()) <= connections), "connections were left open"
    assert process.num_fds() < descriptors + 25
    saw("50 subscribers come and go", "each again and again, half of them abruptly", UNHARMED + "; nothing left")


@rounds(1, 0.25)
def test_peers_with_other_keys_or_none(tmp_path: Path, make_frame: FrameMaker, chance: Random):
    for name in ("server", "alice", "mallory"):
        new_keys(name, tmp_path)
    (tmp_path / "clients").mkdir()
    (tmp_path / "alice.key").rename(tmp_path / "clients" / "alice.key")
    intruders = [
        ("a client without keys", None, None, "it is not a publisher, or has other keys"),
        ("a client that takes another for the publisher", "alice", "mallory", "or has other keys"),
        ("a client that is not on the list", "mallory", "server", "the publisher does not accept this client"),
    ]
    chance.shuffle(intruders)
    with (
        Publisher(ANY_PORT, tmp_path / "server.key_secret", tmp_path / "clients") as publisher,
        Subscriber(
            publisher.address, keys=tmp_path / "alice.key_secret", server_key=tmp_path / "server.key", timeout=30
        ) as alice,
    ):
        assert publisher.wait_for_subscribers(1, timeout=30)
        with unharmed(publisher, alice, make_frame):
            for what, name, server, why in intruders:
                with Subscriber(
                    publisher.address,
                    keys=tmp_path / f"{name}.key_secret" if name else None,
                    server_key=tmp_path / f"{server}.key" if server else None,
                ) as intruder:
                    until = time.monotonic() + 30
                    while why not in intruder.trouble and time.monotonic() < until:
                        assert intruder.receive(0.1) is None, what
                    assert why in intruder.trouble, what
                assert publisher.subscribers == 1
                saw("wrong keys", "none, another server's key, a client that is not on the list", "a one-line error")


# Against subscribers


@contextmanager
def posing() -> Iterator[tuple[zmq.Socket[bytes], str]]:
    """A socket that imitates a publisher, and its address."""
    with zmq.Context() as context, context.socket(zmq.XPUB) as false:
        false.setsockopt(zmq.LINGER, 0)
        yield false, f"tcp://127.0.0.1:{false.bind_to_random_port('tcp://127.0.0.1')}"


def test_messages_sent_again(make_frame: FrameMaker):
    """Old messages of this stream, and of an earlier stream."""
    first, second = uuid4(), uuid4()
    with posing() as (false, address), Subscriber(address, timeout=10) as subscriber:
        for _ in range(2):
            false.recv()
        streams = [
            [encode(make_frame(k), stream=stream, seq=k, t_publish_ns=1) for k in range(4)]
            for stream in (first, second)
        ]
        for message in (*streams[0], *streams[0], *streams[1], *streams[0], *streams[1][:2]):
            false.send_multipart(message)
        false.send_multipart(encode(StatusFrame(end=True), stream=second, seq=0, t_publish_ns=1))
        got = [(frame.stream, frame.seq) for frame in subscriber if isinstance(frame, DepthFrame)]
    assert got == [(stream, k) for stream in (first, second) for k in range(4)]
    assert (subscriber.rejected, subscriber.lost, subscriber.streams) == (10, 0, 2)
    assert "seq 1 came after 3" in subscriber.last_rejection
    saw("messages are sent again", "one by one, and a whole stream that ended", "skipped and counted, with the reason")


def test_messages_of_an_earlier_stream_are_reported(make_frame: FrameMaker):
    first, second = uuid4(), uuid4()
    with posing() as (false, address), Subscriber(address, timeout=10) as subscriber:
        for _ in range(2):
            false.recv()
        for k, stream in enumerate((first, second, first)):
            false.send_multipart(encode(make_frame(k), stream=stream, seq=k, t_publish_ns=1))
        assert [subscriber.receive(10) is not None for _ in range(2)] == [True, True]
        assert subscriber.receive(0.5) is None
    assert subscriber.last_rejection == f"depth message: is of stream {first}, which another one has followed"


SUBSCRIBER = """
import sys, time
from sweepdepth.stream.wire import subscriber
subscriber.UNFINISHED_S = 1.0  # so that less memory is needed here
with subscriber.Subscriber(sys.argv[1], max_message_bytes=1 << 20) as subscriber:
    until = time.monotonic() + 60
    while not subscriber.rejected and time.monotonic() < until:
        subscriber.receive(0.1)
    print(subscriber.rejected, subscriber.last_rejection)
"""


@pytest.mark.parametrize("part_size", [0, 100_000])
def test_a_message_that_never_ends(part_size: int):
    """libzmq would receive its parts endlessly; they come from a hand-written ZMTP 3.0 peer."""
    part = b"\x03" + struct.pack(">Q", part_size) + bytes(part_size)
    parts = part * 10 if part_size else b"\x01\x00" * 100_000
    with socket.create_server(("127.0.0.1", 0)) as server:
        victim = subprocess.Popen(
            [sys.executable, "-c", SUBSCRIBER, f"tcp://127.0.0.1:{server.getsockname()[1]}"],
            stdout=subprocess.PIPE,
            text=True,
        )
        most = 0
        try:
            server.settimeout(60)
            peer, _ = server.accept()
            with peer, suppress(OSError):
                peer.settimeout(60)
                peer.sendall(GREETING + READY.replace(b"SUB", b"PUB"))
                heard = b""
                while b"depth" not in heard:  # its subscription
                    heard += peer.recv(1000)
                peer.sendall(b"\x01\x05depth")
                while True:
                    peer.sendall(parts)
                    most = max(most, psutil.Process(victim.pid).memory_info().rss)
            output, _ = victim.communicate(timeout=60)
        finally:
            victim.kill()
    assert output.startswith("1 message: has not ended after")
    assert most < 1 << 30
    saw(
        "a message never ends",
        "parts without end, empty and large, to a subscriber",
        "disconnected after a while, with the reason",
    )


def test_parts_that_are_too_large(make_frame: FrameMaker):
    with posing() as (false, address), Subscriber(address, timeout=1, max_message_bytes=1000) as subscriber:
        for _ in range(2):
            false.recv()
        before = psutil.Process().memory_info().rss
        false.send_multipart([b"depth", b"{}", bytes(200 << 20)])
        with pytest.raises(WireError, match="no message for 1 s"):
            next(iter(subscriber))
        # The sender's copy is among it.
        assert psutil.Process().memory_info().rss - before < 250 << 20
    saw(
        "a message is too large",
        "one part of 200 MB to a subscriber that takes 1 kB",
        "never accepted; silence reported",
    )


# Against the publisher


@rounds(1, 0.25)
def test_garbage_and_floods_at_the_publishers_socket(
    publisher: Publisher, subscriber: Subscriber, make_frame: FrameMaker, chance: Random
):
    def throw(data: bytes, shake_hands: bool = True) -> bool:
        """Send it all repeatedly; returns whether the publisher closed the connection. Most bytes are a valid greeting
        of ZMTP 1.0, and make a subscriber without subscriptions.
        """
        with call(publisher, shake_hands=shake_hands) as peer:
            with suppress(OSError):
                for _ in range(20):
                    peer.sendall(data)
            return not shake_hands or eventually(lambda: was_hung_up_on(peer), 20)

    attacks = {
        "another protocol": lambda: throw(b"GET / HTTP/1.1\r\n\r\n", False),
        "random bytes": lambda: throw(chance.randbytes(100_000), False),
        "an incomplete greeting": lambda: throw(GREETING[:20], False),
        "a huge subscription": lambda: throw(b"\x02" + struct.pack(">Q", 1 << 40) + bytes(10_000)),
        "many subscriptions": lambda: throw(b"".join(subscription(os.urandom(20)) for _ in range(MAX_WORDS))),
        "a message without end": lambda: throw(b"\x01\x02ab" * 10_000),
        "other messages": lambda: throw(b"\x00\x05hello" * 1000),
    }
    order = list(attacks)
    chance.shuffle(order)
    with unharmed(publisher, subscriber, make_frame):
        for name in order:
            assert attacks[name](), name
            saw("garbage at the publisher's socket", ", ".join(attacks), "disconnected, or idle; " + UNHARMED)
    assert publisher.subscribers == 1
