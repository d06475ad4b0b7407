"""The subscriber: what it yields and skips, and how it detects missed messages."""

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from uuid import UUID, uuid4

import numpy as np
import pytest
import zmq

from sweepdepth.capture.errors import WireError
from sweepdepth.capture.sweeps import Direction
from sweepdepth.stream.wire.messages import AnyFrame, Buffer, DepthFrame, StackFrame, StatusFrame, encode
from sweepdepth.stream.wire.publisher import Publisher
from sweepdepth.stream.wire.subscriber import Subscriber

FrameMaker = Callable[..., DepthFrame]
ANY_PORT = "tcp://127.0.0.1:*"
STREAM = uuid4()


class Wire:
    """A plain PUB socket that sends any messages."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.socket = context.socket(zmq.XPUB)
        self.socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.socket.bind(ANY_PORT)
        self.address = self.socket.getsockopt_string(zmq.LAST_ENDPOINT)

    def wait_for_subscriptions(self, n: int) -> None:
        while n:
            assert self.socket.poll(10_000)
            n -= self.socket.recv()[0]  # 1 for a subscription, 0 for one that is cancelled

    def send(self, frame: AnyFrame, seq: int, stream: UUID = STREAM) -> None:
        self.send_parts(encode(frame, stream=stream, seq=seq, t_publish_ns=0))

    def send_parts(self, parts: list[Buffer]) -> None:
        self.socket.send_multipart(parts)


@pytest.fixture
def wire() -> Iterator[Wire]:
    with zmq.Context() as context:
        wire = Wire(context)
        yield wire
        wire.socket.close(linger=0)


@pytest.fixture
def subscriber(wire: Wire) -> Iterator[Subscriber]:
    with Subscriber(wire.address, timeout=10) as subscriber:
        wire.wait_for_subscriptions(2)
        yield subscriber


def test_iterating_ends_with_the_stream(wire: Wire, subscriber: Subscriber, make_frame: FrameMaker) -> None:
    for k in range(3):
        wire.send(make_frame(k), k)
    wire.send(StatusFrame(end=True), 0)
    wire.send(make_frame(4), 3)
    frames = list(subscriber)
    assert [(frame.topic, frame.seq) for frame in frames] == [("depth", 0), ("depth", 1), ("depth", 2), ("status", 0)]
    assert subscriber.ended


def test_only_the_topics_asked_for_are_yielded_but_the_end_is_noticed(wire: Wire, make_frame: FrameMaker) -> None:
    with Subscriber(wire.address, topics=("depth",), timeout=10) as subscriber:
        wire.wait_for_subscriptions(2)
        wire.send(StatusFrame(), 0)
        wire.send(make_frame(0), 0)
        wire.send(StatusFrame(end=True), 5)
        assert [frame.topic for frame in subscriber] == ["depth"]
        assert subscriber.lost == 0


def test_a_gap_in_seq_is_reported(wire: Wire, subscriber: Subscriber, make_frame: FrameMaker) -> None:
    for seq in (17, 18, 22, 23):
        wire.send(make_frame(0), seq)
    wire.send(StatusFrame(), 2)
    wire.send(StatusFrame(), 4)
    lost = [(frame.seq, frame.lost) for frame in islice(subscriber, 6)]
    assert lost == [(17, 0), (18, 0), (22, 3), (23, 0), (2, 0), (4, 1)]
    assert subscriber.lost == 4


def test_a_new_stream_starts_counting_anew(wire: Wire, subscriber: Subscriber, make_frame: FrameMaker) -> None:
    second = uuid4()
    wire.send(make_frame(0), 5)
    wire.send(make_frame(1), 0, second)
    wire.send(make_frame(2), 3, second)
    frames = list(islice(subscriber, 3))
    assert [frame.stream for frame in frames] == [STREAM, second, second]
    assert [frame.lost for frame in frames] == [0, 0, 2]
    assert subscriber.streams == 2


def test_malformed_messages_are_counted_and_skipped(wire: Wire, subscriber: Subscriber, make_frame: FrameMaker) -> None:
    good = encode(make_frame(0), stream=STREAM, seq=0, t_publish_ns=0)
    wire.send_parts(good)
    wire.send_parts([b"depth"])
    wire.send_parts([b"depth", b"{}", b"x"])
    wire.send_parts([*good, *good[2:] * 500])
    wire.send_parts([*good[:3], bytes(good[3])[:-4]])
    wire.send_parts(good)  # its seq again
    wire.send(make_frame(1), 1)
    first, second = islice(subscriber, 2)
    assert (first.seq, second.seq, second.lost) == (0, 1, 0)
    assert subscriber.rejected == 5
    assert "seq 0 came after 0" in subscriber.last_rejection


def test_a_too_large_message_is_never_received(wire: Wire, make_frame: FrameMaker) -> None:
    with Subscriber(wire.address, timeout=10, max_message_bytes=100_000) as subscriber:
        wire.wait_for_subscriptions(2)
        wire.send(make_frame(0, 640, 480), 0)
        assert subscriber.receive(2) is None
        wire.wait_for_subscriptions(2)  # it has disconnected and reconnected
        wire.send(make_frame(1), 1)
        got = next(iter(subscriber))
        assert got.seq == 1


def test_silence_is_an_error_after_the_timeout(wire: Wire) -> None:
    with Subscriber(wire.address, timeout=0.2) as subscriber:
        wire.wait_for_subscriptions(2)
        assert subscriber.receive(0) is None
        started = time.monotonic()
        with pytest.raises(WireError, match=r"no message for 0\.2 s; is it published there\?$"):
            next(iter(subscriber))
        assert 0.15 < time.monotonic() - started < 5


def test_malformed_messages_do_not_extend_the_timeout(wire: Wire) -> None:
    with Subscriber(wire.address, timeout=0.5) as subscriber:
        wire.wait_for_subscriptions(2)
        done = threading.Event()

        def babble() -> None:
            while not done.wait(0.01):
                wire.send_parts([b"depth", b"nonsense"])

        thread = threading.Thread(target=babble)
        thread.start()
        started = time.monotonic()
        with pytest.raises(WireError, match=r"\d+ bad messages, the last one: depth message: expected"):
            next(iter(subscriber))
        assert time.monotonic() - started < 5
        done.set()
        thread.join()


@pytest.mark.parametrize(
    "arguments, complaint",
    [
        ({"address": "127.0.0.1:5560"}, "is not an address"),
        ({"address": "tcp://no such host:5560"}, "cannot be connected to"),
        ({"topics": ("depth", "video")}, "topic 'video': is unknown; expected depth, stack, status"),
        ({"keys": "me.key_secret"}, "keys and server_key go together"),
        ({"server_key": "server.key"}, "keys and server_key go together"),
    ],
)
def test_invalid_arguments_are_refused(arguments: dict[str, str], complaint: str) -> None:
    with pytest.raises(WireError, match=complaint):
        Subscriber(**({"address": "tcp://127.0.0.1:5560"} | arguments))  # pyright: ignore[reportArgumentType]


def await_return(subscriber: Subscriber, publisher: Publisher) -> None:
    """Send until the subscriber has reconnected; libzmq resubscribes only while the subscriber waits for frames."""
    deadline = time.monotonic() + 20
    while not publisher.wait_for_subscribers(1, timeout=0.05) and time.monotonic() < deadline:
        assert subscriber.receive(0.05) is None
    assert publisher.subscribers == 1


def test_a_subscriber_survives_a_restart_of_the_publisher(make_frame: FrameMaker) -> None:
    first = Publisher(ANY_PORT)
    with Subscriber(first.address, topics=("depth",), timeout=20, follow=True) as subscriber:
        assert first.wait_for_subscribers(1, timeout=10)
        first.publish(make_frame(0))
        first.publish(make_frame(1))
        before = list(islice(subscriber, 2))
        first.close()
        with Publisher(first.address) as second:
            await_return(subscriber, second)
            second.publish(make_frame(2))
            after = next(iter(subscriber))
        assert [frame.seq for frame in (*before, after)] == [0, 1, 0]
        assert (before[1].stream, after.stream) == (first.stream, second.stream)
        assert (subscriber.streams, subscriber.lost) == (2, 0)


def test_a_subscriber_may_start_before_the_publisher(make_frame: FrameMaker) -> None:
    with Publisher(ANY_PORT) as publisher:
        address = publisher.address
    with Subscriber(address, timeout=20) as subscriber:
        assert subscriber.receive(0.2) is None
        with Publisher(address) as publisher:
            assert publisher.wait_for_subscribers(1, timeout=20)
            publisher.publish(make_frame(0))
            assert isinstance(next(iter(subscriber)), DepthFrame)


def test_a_slow_subscriber_counts_missed_frames_and_receives_the_end(make_frame: FrameMaker) -> None:
    publisher = Publisher(ANY_PORT)
    with Subscriber(publisher.address, receive_hwm=1, timeout=10) as subscriber:
        assert publisher.wait_for_subscribers(1, timeout=10)
        big = make_frame(0, 1280, 960)
        for k in range(60):  # 590 MB: far more than TCP buffers and both queues hold
            publisher.publish(replace(big, t_start_us=k, t_end_us=k))
            time.sleep(0.005)
        closing = threading.Thread(target=publisher.close)
        closing.start()
        frames = list(subscriber)
        closing.join()
        depth = [frame for frame in frames if isinstance(frame, DepthFrame)]
        assert isinstance(frames[-1], StatusFrame)
        assert frames[-1].end
        assert 0 < len(depth) < 60
        assert [frame.seq for frame in depth] == [frame.t_start_us for frame in depth]
        assert sum(frame.lost for frame in depth) == depth[-1].seq + 1 - len(depth)
        assert frames[-1].drops["slow_subscriber"] > 0


def test_a_slow_subscriber_outlives_the_publisher(make_frame: FrameMaker) -> None:
    """Its queue is full when the connection breaks; it then yields the queued messages, reconnects and continues."""
    publisher = Publisher(ANY_PORT)
    with Subscriber(publisher.address, receive_hwm=1, timeout=20, follow=True) as subscriber:
        assert publisher.wait_for_subscribers(1, timeout=10)
        for k in range(30):
            publisher.publish(make_frame(k, 1280, 960))
        publisher.close()
        publisher = Publisher(publisher.address)
        while subscriber.receive(0.3) is not None:
            pass
        assert subscriber.streams == 1
        await_return(subscriber, publisher)
        publisher.publish(make_frame(0))
        got = subscriber.receive(10)
        assert got is not None
        assert got.stream == publisher.stream
    publisher.close()


def test_frames_stay_valid_when_the_subscriber_is_gone(make_frame: FrameMaker) -> None:
    with Publisher(ANY_PORT) as publisher:
        with Subscriber(publisher.address) as subscriber:
            assert publisher.wait_for_subscribers(1, timeout=10)
            publisher.publish(make_frame(0))
            got = subscriber.receive(10)
        assert isinstance(got, DepthFrame)
        np.testing.assert_array_equal(got.depth, make_frame(0).depth)


def test_the_stack_of_an_hd_camera_is_within_the_bounds(wire: Wire, make_frame: FrameMaker) -> None:
    info = make_frame(0, 1280, 720).info
    stack = np.zeros((24, 720, 1280), np.float32)
    stack[3, 7, 9] = 1.5
    with Subscriber(wire.address, topics=("stack",), timeout=30) as subscriber:
        wire.wait_for_subscriptions(2)
        wire.send(StackFrame(stack, info, 0, 200_000, Direction.FAR_TO_NEAR), 0)
        frame = subscriber.receive(30)
    assert isinstance(frame, StackFrame)
    np.testing.assert_array_equal(frame.stack, stack)
