"""The publisher: what subscribers receive, and that slow, dead and hostile ones do no harm."""

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

import numpy as np
import psutil
import pytest
import zmq

from sweepdepth.capture.errors import WireError
from sweepdepth.stream.wire import publisher as publisher_module
from sweepdepth.stream.wire.messages import AnyFrame, DepthFrame, StackFrame, StatusFrame
from sweepdepth.stream.wire.peers import MAX_WORDS
from sweepdepth.stream.wire.publisher import Publisher
from sweepdepth.stream.wire.subscriber import Subscriber

FrameMaker = Callable[..., DepthFrame]
ANY_PORT = "tcp://127.0.0.1:*"


def eventually(true: Callable[[], bool], seconds: float = 10) -> bool:
    deadline = time.monotonic() + seconds
    while not true() and time.monotonic() < deadline:
        time.sleep(0.02)
    return true()


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher(ANY_PORT) as publisher:
        yield publisher


@pytest.fixture
def subscriber(publisher: Publisher) -> Iterator[Subscriber]:
    """A normal subscriber, already subscribed."""
    with Subscriber(publisher.address, timeout=10) as subscriber:
        assert publisher.wait_for_subscribers(1, timeout=10)
        yield subscriber


def test_published_messages_arrive(publisher: Publisher, subscriber: Subscriber, make_frame: FrameMaker) -> None:
    sent = make_frame(3)
    publisher.publish(sent)
    got = subscriber.receive(10)
    assert isinstance(got, DepthFrame)
    np.testing.assert_array_equal(got.depth, sent.depth)
    np.testing.assert_array_equal(got.std, sent.std)
    assert (got.info, got.stream, got.seq) == (sent.info, publisher.stream, 0)
    assert abs(got.t_publish_ns - time.time_ns()) < 60e9


@pytest.mark.parametrize("scheme", ["tcp://localhost:*", "tcp://127.0.0.9:*", "tcp://[::1]:*", "ipc://{}/socket"])
def test_local_addresses_need_no_keys(scheme: str, tmp_path: Path, make_frame: FrameMaker) -> None:
    if "::1" in scheme and not _has_ipv6():
        pytest.skip("this machine has no IPv6")
    with Publisher(scheme.format(tmp_path)) as publisher, Subscriber(publisher.address) as subscriber:
        assert publisher.wait_for_subscribers(1, timeout=10)
        publisher.publish(make_frame(0))
        assert isinstance(subscriber.receive(10), DepthFrame)


def _has_ipv6() -> bool:
    with suppress(OSError), socket.socket(socket.AF_INET6) as probe:
        probe.bind(("::1", 0))
        return True
    return False


@pytest.mark.parametrize(
    "address", ["tcp://0.0.0.0:*", "tcp://*:*", "tcp://[::]:*", "tcp://192.0.2.1:5560", "tcp://eth0:*"]
)
def test_public_addresses_require_keys(address: str) -> None:
    with pytest.raises(WireError, match=r"needs keys .*use 127\.0\.0\.1"):
        Publisher(address)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "5560",
        "127.0.0.1:5560",
        "tcp://127.0.0.1",
        "tcp://127.0.0.1:65536",
        "udp://127.0.0.1:1",
        "ipc://",
        "ipc://*",
    ],
)
def test_invalid_addresses_are_refused(address: str) -> None:
    with pytest.raises(WireError, match=r"is not an address; expected tcp://HOST:PORT or ipc://PATH"):
        Publisher(address)


def test_an_address_in_use_is_refused(tmp_path: Path, publisher: Publisher) -> None:
    with pytest.raises(WireError, match=f"{publisher.address}: is in use; .*another port"):
        Publisher(publisher.address)
    address = f"ipc://{tmp_path}/socket"
    with Publisher(address), pytest.raises(WireError, match=r"is in use; .*another path"):
        Publisher(address)


def test_a_file_is_not_removed_for_a_socket_but_a_dead_socket_is(tmp_path: Path) -> None:
    precious = tmp_path / "recording.h5"
    precious.write_text("events")
    with pytest.raises(WireError, match="choose another path"):
        Publisher(f"ipc://{precious}")
    assert precious.read_text() == "events"

    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(tmp_path / "socket"))
    Publisher(f"ipc://{tmp_path}/socket").close()


def test_a_path_that_cannot_be_bound_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WireError, match="no such file or directory"):
        Publisher(f"ipc://{tmp_path}/missing/socket")
    with pytest.raises(WireError, match="too long"):
        Publisher(f"ipc://{tmp_path}/{'x' * 200}")


def test_the_publisher_knows_the_subscribed_topics(publisher: Publisher, make_frame: FrameMaker) -> None:
    assert not publisher.has_subscribers("stack")
    with Subscriber(publisher.address, topics=("stack",)) as subscriber:
        assert eventually(lambda: publisher.has_subscribers("stack"))
        assert not publisher.has_subscribers("depth")
        frame = make_frame(0)
        stack = np.ones((5, 26, 34), np.float32)
        publisher.publish(StackFrame(stack, frame.info, frame.t_start_us, frame.t_end_us, frame.direction))
        got = subscriber.receive(10)
        assert isinstance(got, StackFrame)
        np.testing.assert_array_equal(got.stack, stack)
    assert eventually(lambda: not publisher.has_subscribers("stack"))


def test_subscribers_are_counted_not_subscriptions(publisher: Publisher) -> None:
    assert not publisher.wait_for_subscribers(1, timeout=0.05)
    with zmq.Context() as context, context.socket(zmq.SUB) as first, context.socket(zmq.SUB) as second:
        for topic in ("depth", "depth", "", "dep", "status"):
            first.subscribe(topic)
        first.connect(publisher.address)
        assert publisher.wait_for_subscribers(1, timeout=10)
        assert not publisher.wait_for_subscribers(2, timeout=0.2)
        second.subscribe("")
        second.connect(publisher.address)
        assert publisher.wait_for_subscribers(2, timeout=10)
        second.unsubscribe("")
        assert eventually(lambda: publisher.subscribers == 1)
        second.subscribe("depth")
        assert publisher.wait_for_subscribers(2, timeout=10)
        first.close(linger=0)
        assert eventually(lambda: publisher.subscribers == 1)


def test_the_last_status_marks_the_end(make_frame: FrameMaker) -> None:
    with Publisher(ANY_PORT) as publisher:
        subscriber = Subscriber(publisher.address, timeout=10)
        publisher.wait_for_subscribers(1, timeout=10)
        publisher.publish(StatusFrame(events_per_s=5e6, drops={"estimator_busy": 2}))
        publisher.publish(make_frame(0))
    with subscriber:
        status, depth, last = subscriber
        assert isinstance(status, StatusFrame)
        assert not status.end
        assert isinstance(depth, DepthFrame)
        assert isinstance(last, StatusFrame)
        assert last.end
        assert (last.events_per_s, last.drops["estimator_busy"], last.seq) == (5e6, 2, 1)


def test_the_end_is_published_once_also_after_an_error() -> None:
    def fail() -> None:
        with Publisher(ANY_PORT) as publisher:
            subscribers.append(Subscriber(publisher.address, timeout=10, follow=True))
            publisher.wait_for_subscribers(1, timeout=10)
            raise RuntimeError("the estimator failed")

    subscribers: list[Subscriber] = []
    with pytest.raises(RuntimeError):
        fail()
    with subscribers[0] as subscriber:
        last = subscriber.receive(10)
        assert isinstance(last, StatusFrame)
        assert last.end
        assert subscriber.receive(0.3) is None


def test_nothing_can_be_published_after_the_end(publisher: Publisher) -> None:
    publisher.close()
    publisher.close()
    with pytest.raises(WireError, match="closed"):
        publisher.publish(StatusFrame())


def test_messages_from_many_threads_arrive_in_order_or_are_counted(publisher: Publisher) -> None:
    def publish() -> None:
        for _ in range(100):
            publisher.publish(StatusFrame())

    with Subscriber(publisher.address, topics=("status",), timeout=10) as subscriber:
        assert eventually(lambda: publisher.has_subscribers("status"))
        threads = [threading.Thread(target=publish) for _ in range(4)]
        for thread in threads:
            thread.start()
        frames: list[AnyFrame] = []
        while (frame := subscriber.receive(1)) is not None:
            frames.append(frame)
        for thread in threads:
            thread.join()
        publisher.publish(StatusFrame())
        frames.append(next(iter(subscriber)))
        numbers = [frame.seq for frame in frames]
        assert numbers == sorted(set(numbers))
        assert numbers[-1] == 400
        assert len(frames) + subscriber.lost == 401 - numbers[0]


# Malformed peers with hand-written ZMTP 3.0 (rfc.zeromq.org/spec/23).

GREETING = b"\xff" + bytes(8) + b"\x7f\x03\x00" + b"NULL".ljust(20, b"\0") + bytes(32)
READY = b"\x04\x19\x05READY\x0bSocket-Type" + struct.pack(">I", 3) + b"SUB"
PING = b"\x04\x07\x04PING\x00\x00"


def subscription(topic: bytes) -> bytes:
    return b"\x00" + bytes([1 + len(topic)]) + b"\x01" + topic


def call(publisher: Publisher, *, shake_hands: bool = True) -> socket.socket:
    peer = socket.socket()
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    peer.settimeout(5)
    peer.connect(("127.0.0.1", int(publisher.address.rpartition(":")[2])))
    if shake_hands:
        peer.sendall(GREETING + READY)
        heard = b""
        while b"READY" not in heard and (more := peer.recv(100)):
            heard += more
    return peer


def was_hung_up_on(peer: socket.socket) -> bool:
    peer.setblocking(False)
    try:
        while peer.recv(1000):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        pass
    return True


@contextmanager
def unharmed(publisher: Publisher, subscriber: Subscriber, make_frame: FrameMaker) -> Iterator[None]:
    """Meanwhile a normal subscriber loses nothing, and the publisher's memory does not grow."""
    process = psutil.Process()
    done = threading.Event()
    got: list[int] = []
    longest = grown = 0.0

    def publish_and_receive() -> None:
        nonlocal longest, grown
        frame = make_frame(0, 346, 260)
        before = process.memory_info().rss
        while not done.is_set() or len(got) < 10:
            started = time.monotonic()
            publisher.publish(frame)
            received = subscriber.receive(10)
            assert received is not None
            got.append(received.seq)
            longest = max(longest, time.monotonic() - started)
            grown = max(grown, process.memory_info().rss - before)
            time.sleep(0.01)

    thread = threading.Thread(target=publish_and_receive)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
    assert got == list(range(got[0], got[0] + len(got)))
    assert subscriber.lost == 0
    assert longest < 3, "a frame was kept waiting"
    assert grown < 100e6
    assert publisher.drops["outbox"] == 0


def test_a_subscriber_that_never_reads_holds_few_frames(
    publisher: Publisher, subscriber: Subscriber, make_frame: FrameMaker
) -> None:
    with call(publisher) as stuck:
        stuck.sendall(subscription(b"depth"))
        assert publisher.wait_for_subscribers(2, timeout=10)
        info = make_frame(0, 640, 480).info
        before = psutil.Process().memory_info().rss
        slowest = 0.0
        for k in range(200):  # 490 MB in all
            frame = DepthFrame(
                np.full((480, 640), k, "f4"), np.full((480, 640), k, "f4"), info, k, k, make_frame(0).direction
            )
            started = time.perf_counter()
            publisher.publish(frame)
            slowest = max(slowest, time.perf_counter() - started)
            got = subscriber.receive(10)
            assert got is not None
            assert (got.seq, got.lost) == (k, 0)
        assert psutil.Process().memory_info().rss - before < 80e6
        assert slowest < 1
        assert publisher.drops["slow_subscriber"] > 0

        started = time.monotonic()
        publisher.close()
        assert time.monotonic() - started < 4


def test_a_subscriber_that_stopped_reading_is_disconnected(
    monkeypatch: pytest.MonkeyPatch, make_frame: FrameMaker
) -> None:
    monkeypatch.setitem(publisher_module._BOUNDS, zmq.TCP_MAXRT, 1000)
    with Publisher(ANY_PORT) as publisher, call(publisher) as stuck:
        stuck.sendall(subscription(b"depth"))
        assert publisher.wait_for_subscribers(1, timeout=10)
        for k in range(20):
            publisher.publish(make_frame(k, 640, 480))
        assert eventually(lambda: publisher.subscribers == 0, seconds=30)


def test_a_subscriber_that_is_killed_is_forgotten(
    publisher: Publisher, subscriber: Subscriber, make_frame: FrameMaker
) -> None:
    code = "import sys; from sweepdepth import Subscriber\nfor frame in Subscriber(sys.argv[1]): pass"
    with unharmed(publisher, subscriber, make_frame):
        victim = subprocess.Popen([sys.executable, "-c", code, publisher.address])
        assert publisher.wait_for_subscribers(2, timeout=30)
        victim.send_signal(signal.SIGKILL)
        victim.wait()
        assert eventually(lambda: publisher.subscribers == 1)


def test_garbage_does_no_harm(publisher: Publisher, subscriber: Subscriber, make_frame: FrameMaker) -> None:
    with unharmed(publisher, subscriber, make_frame):
        for garbage in (
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"\xff" * 10_000,
            os.urandom(100_000),
            GREETING[:20],
            GREETING + b"\x06" + struct.pack(">Q", 2**62) + b"x" * 1000,
        ):
            with suppress(OSError), call(publisher, shake_hands=False) as peer:
                peer.settimeout(0.2)
                peer.sendall(garbage)
                while peer.recv(1000):
                    pass
        for garbage in (
            b"\x02" + struct.pack(">Q", 2**62),
            b"\x02" + struct.pack(">Q", 10_000),
            b"\x01\x02ab" * 50_000,  # one message, and it never ends
            PING * 20_000,
        ):
            with call(publisher) as peer:
                with suppress(OSError):
                    peer.sendall(garbage)
                assert eventually(lambda peer=peer: was_hung_up_on(peer))
    assert publisher.subscribers == 1


@pytest.mark.parametrize("topic_size", [4, 200])
def test_a_flood_of_subscriptions_is_cut_off(
    publisher: Publisher, subscriber: Subscriber, make_frame: FrameMaker, topic_size: int
) -> None:
    def flood() -> None:
        words = b"".join(subscription(os.urandom(topic_size)) + PING for _ in range(1000))
        while time.monotonic() < deadline:
            with suppress(OSError), call(publisher) as peer:
                while time.monotonic() < deadline:
                    peer.sendall(words)

    deadline = time.monotonic() + 2
    with unharmed(publisher, subscriber, make_frame):
        threads = [threading.Thread(target=flood) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert publisher.subscribers == 1


def test_a_slow_flood_of_subscriptions_is_cut_off(publisher: Publisher) -> None:
    with call(publisher) as peer:
        for k in range(MAX_WORDS):
            peer.sendall(subscription(b"%d" % k))
            time.sleep(0.001)
        peer.settimeout(0.3)
        with pytest.raises(TimeoutError):
            peer.recv(1)
        peer.sendall(subscription(b"depth"))
        peer.settimeout(5)
        with suppress(ConnectionResetError):
            assert peer.recv(1) == b""


def test_connections_are_limited(publisher: Publisher, subscriber: Subscriber, make_frame: FrameMaker) -> None:
    with unharmed(publisher, subscriber, make_frame):
        peers = [call(publisher, shake_hands=False) for _ in range(200)]
        assert eventually(lambda: sum(not was_hung_up_on(peer) for peer in peers) == 63)
        for peer in peers:
            peer.close()
        with Subscriber(publisher.address):
            assert publisher.wait_for_subscribers(2, timeout=10)
