"""Pipes and sockets deliver what was sent, and survive the loss of their sender, like all cameras."""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from sweepdepth.capture.cameras import CameraSettings, Gap, Loss, open_camera
from sweepdepth.capture.cameras.camera import Camera
from sweepdepth.capture.cameras.pipe import BATCH, HEADER, MAGIC
from sweepdepth.capture.errors import CameraError
from sweepdepth.capture.events import TRIGGER_DTYPE, make_events, make_triggers

from .consumer import EPOCH_US, QUICK, Collector, nothing_is_left_behind  # noqa: F401  a fixture

ROOT = Path(__file__).parents[2]
WIDTH, HEIGHT = 96, 72


def source_processes() -> list[psutil.Process]:
    """The processes that read sources for this one."""
    found = []
    for child in psutil.Process().children():
        with suppress(psutil.NoSuchProcess):
            if "sweepdepth.capture" in " ".join(child.cmdline()):
                found.append(child)
    return found


def header(width: int = WIDTH, height: int = HEIGHT) -> bytes:
    return HEADER.pack(MAGIC, 1, width, height, 0)


def packed(items: np.ndarray, complete_us: int = -1) -> bytes:
    return BATCH.pack(2 if items.dtype == TRIGGER_DTYPE else 1, len(items), complete_us) + items.tobytes()


def steady(n: int, start_us: int = EPOCH_US) -> np.ndarray:
    rng = np.random.default_rng(n)
    return make_events(
        start_us + np.arange(n), rng.integers(0, WIDTH, n), rng.integers(0, HEIGHT, n), rng.integers(0, 2, n)
    )


@pytest.fixture(params=["pipe", "socket"])
def sender(request, tmp_path) -> Iterator["Sender"]:
    sender = Sender(tmp_path / "events", request.param)
    yield sender
    sender.close()


class Sender:
    """The sending end of a pipe or socket; `connect` returns once a reader is connected."""

    def __init__(self, path: Path, kind: str) -> None:
        self.address = f"pipe:{path}"
        self._path, self._file, self._server, self._connection = path, None, None, None
        if kind == "pipe":
            os.mkfifo(path)
        else:
            self._server = socket.socket(socket.AF_UNIX)
            self._server.bind(str(path))
            self._server.listen()

    def open(self, greeting: bytes, **options: Any) -> Camera:
        """Open a camera on this, and connect to it from another thread."""
        thread = threading.Thread(target=lambda: (self.connect(), self.send(greeting)))
        thread.start()
        try:
            return open_camera(self.address, **options)
        finally:
            thread.join(10)
            assert not thread.is_alive()

    def connect(self) -> None:
        if self._server is None:
            self._file = open(self._path, "wb", buffering=0)  # noqa: SIM115
        else:
            self._connection, _ = self._server.accept()

    def send(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.sendall(data)
        else:
            assert self._file is not None
            rest = memoryview(data)
            while rest:
                rest = rest[self._file.write(rest) :]

    def hang_up(self) -> None:
        for end in (self._file, self._connection):
            if end is not None:
                end.close()
        self._file = self._connection = None

    def close(self) -> None:
        self.hang_up()
        if self._server is not None:
            self._server.close()


def test_a_pipe_delivers_the_sent_events(sender, calibration):
    events = steady(300_000)
    triggers = make_triggers(EPOCH_US + np.array([1000, 150_000]), np.array([1, 2]))
    with sender.open(header(), calibration=calibration) as camera:
        assert (camera.name, camera.width, camera.height) == ("pipe", WIDTH, HEIGHT)
        collector = Collector(camera)
        sender.send(packed(triggers[:1]) + packed(events[:100_000]))
        sender.send(packed(triggers[1:]) + packed(events[100_000:], complete_us=EPOCH_US + 300_000))
        collector.wait(lambda: collector.n_events >= 300_000)
        got_events, got_triggers = collector.finish()
    np.testing.assert_array_equal(got_events, events)
    np.testing.assert_array_equal(got_triggers, triggers)


def test_a_declared_silence_advances_the_time(sender):
    with sender.open(header()) as camera:
        collector = Collector(camera)
        sender.send(packed(steady(100), complete_us=EPOCH_US + 100))
        sender.send(packed(steady(0), complete_us=EPOCH_US + 50_000))
        collector.wait(lambda: bool(collector.batches) and collector.batches[-1].end_us == EPOCH_US + 50_000)
        assert len(collector.finish()[0]) == 100


@pytest.mark.parametrize("back_us", [EPOCH_US + 2_000_000, 0], ids=["same clock", "from zero"])
def test_a_sender_that_leaves_and_returns_is_a_gap(sender, back_us):
    gaps: list[Gap] = []
    with sender.open(header(), on_gap=gaps.append) as camera:
        collector = Collector(camera)
        sender.send(packed(steady(1000), complete_us=EPOCH_US + 1000))
        collector.wait(lambda: collector.n_events == 1000)
        sender.hang_up()
        collector.wait(lambda: not camera.status().connected)
        assert camera.status().last_error == "the sender closed it"
        sender.connect()
        sender.send(header() + packed(steady(1000, back_us), complete_us=back_us + 1000))
        collector.wait(lambda: collector.n_events == 2000)
        events, _ = collector.finish()
    (gap,) = gaps
    assert gap.new_clock == (back_us == 0)
    assert (gap.last_us, gap.next_us) == (EPOCH_US + 1000, int(events["timestamp"][1000]))
    assert gap.next_us == back_us + gap.clock_shift_us
    assert camera.status().reconnects == 1


def test_a_clock_that_is_set_back_under_way_is_a_gap(sender):
    gaps: list[Gap] = []
    with sender.open(header(), on_gap=gaps.append) as camera:
        collector = Collector(camera)
        sender.send(packed(steady(5000), complete_us=EPOCH_US + 5000))
        collector.wait(lambda: collector.n_events == 5000)
        for k in range(10):
            sender.send(packed(steady(1000, 1000 * k), complete_us=1000 * (k + 1)))
            time.sleep(0.02)
        collector.wait(lambda: collector.n_events >= 10_000)
        collector.finish()
    (gap,) = gaps
    assert gap.new_clock
    assert gap.reason == "its clock was set back"
    assert camera.status().reconnects == 0
    assert camera.status().repairs.backwards >= 1000


HOSTILE = [
    (b"GET / HTTP/1.1\r\n\r\n", r"is not an event stream: it starts with b'GET / HT', not b'SWEEPEVT'"),
    (HEADER.pack(MAGIC, 2, 96, 72, 0), "its stream has version 2; this program reads version 1"),
    (HEADER.pack(MAGIC, 1, 0, 72, 0), "its header is damaged: it has 0×72 pixels"),
    (HEADER.pack(MAGIC, 1, 96, 72, 7), "and 7 where 0 belongs"),
    (HEADER.pack(MAGIC, 1, 65535, 65535, 0), "claims a sensor of 65535×65535 pixels; it is damaged"),
]


@pytest.mark.parametrize("greeting, message", HOSTILE)
def test_other_data_than_an_event_stream_is_an_error(sender, greeting, message):
    with pytest.raises(CameraError, match=message):
        sender.open(greeting)


@pytest.mark.parametrize(
    "data, message",
    [
        (struct.pack("<IIq", 3, 0, -1), "batch 1 is damaged: kind 3, 0 items"),
        (struct.pack("<IIq", 1, 1 << 31, -1), "batch 1 is damaged: kind 1, 2147483648 items"),
        (struct.pack("<IIq", 1, 1, -2), "complete to -2 µs"),
        (struct.pack("<IIq", 1, 4, -1) + bytes(20), "the sender closed it in the middle of batch 1"),
    ],
)
def test_damaged_batches_end_the_connection_and_keep_earlier_events(sender, data, message):
    with sender.open(header()) as camera:
        collector = Collector(camera)
        sender.send(packed(steady(1000), complete_us=EPOCH_US + 1000) + data)
        if "closed" in message:
            sender.hang_up()
        collector.wait(lambda: not camera.status().connected)
        assert message in (camera.status().last_error or "")
        assert len(collector.finish()[0]) == 1000


def test_random_bytes_make_no_events_off_the_sensor(sender):
    """Delivered events are sorted and on the sensor, whatever was sent."""
    items = np.frombuffer(np.random.default_rng(0).bytes(16 * 20_000), np.uint8).copy()
    with sender.open(header()) as camera:
        collector = Collector(camera)
        sender.send(packed(steady(200)) + struct.pack("<IIq", 1, 20_000, -1) + items.tobytes())
        sender.send(packed(steady(2000, EPOCH_US + 300), complete_us=EPOCH_US + 2300))
        collector.wait(lambda: bool(camera.status().repairs) and collector.n_events >= 2000)
        events, _ = collector.finish()
    assert np.all((events["x"] >= 0) & (events["x"] < WIDTH) & (events["y"] >= 0) & (events["y"] < HEIGHT))


def test_no_sender_is_an_error(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(CameraError, match=r"no sender wrote to it within 0\.3 s; start the sender"):
        open_camera(f"pipe:{tmp_path / 'pipe'}", settings=QUICK)
    with pytest.raises(CameraError, match=r"cannot be opened: No such file or directory; make it with mkfifo"):
        open_camera(f"pipe:{tmp_path / 'nothing'}", settings=QUICK)
    (tmp_path / "file").write_text("")
    with pytest.raises(CameraError, match="is neither a pipe nor a socket"):
        open_camera(f"pipe:{tmp_path / 'file'}", settings=QUICK)


def test_events_that_waited_too_long_are_dropped_and_triggers_are_not(sender):
    """Old events are dropped even if the ring has room, since they are of no use."""
    n_batches, n = 40, 1000
    losses: list[Loss] = []
    settings = CameraSettings(max_lag_s=1.0)
    with sender.open(header(), settings=settings, on_loss=losses.append) as camera:
        batches = iter(camera)
        sender.send(packed(steady(1000), complete_us=EPOCH_US + 1000))
        got = len(next(batches).events)
        start_us = EPOCH_US + 1000
        for _ in range(n_batches):
            sender.send(packed(make_triggers(np.array([start_us]), np.array([1]))))
            sender.send(packed(steady(n, start_us), complete_us=start_us + n))
            start_us += n
        time.sleep(2.5)  # longer than that
        sender.send(packed(steady(n, start_us), complete_us=start_us + n))
        triggers = 0
        for batch in batches:
            got += len(batch.events)
            triggers += len(batch.triggers)
            if batch.end_us >= start_us + n:
                break
        status = camera.status()
    assert triggers == n_batches
    assert status.dropped_events >= (n_batches - 1) * n
    assert got + status.dropped_events == 1000 + (n_batches + 1) * n
    assert sum(loss.n_events for loss in losses) == status.dropped_events


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_the_example_sender_works(tmp_path, kind):
    """Start it again after it was killed; its clock restarts."""
    path = tmp_path / "events"
    if kind == "pipe":
        os.mkfifo(path)

    def start() -> "subprocess.Popen[bytes]":
        return subprocess.Popen([sys.executable, str(ROOT / "examples" / "pipe_sender.py"), str(path)])

    with start() as process:
        gaps: list[Gap] = []
        with open_camera(f"pipe:{path}", settings=CameraSettings(connect_timeout_s=30), on_gap=gaps.append) as camera:
            collector = Collector(camera)
            collector.wait(lambda: collector.n_events > 100_000)
            process.kill()
            collector.wait(lambda: not camera.status().connected)
            with start() as second:
                before = collector.n_events
                collector.wait(lambda: collector.n_events > before + 50_000)
                events, triggers = collector.finish()
                second.kill()
    assert gaps[0].new_clock
    assert triggers["edge"][:3].tolist() == [1, 2, 1]
    assert len(events) > 150_000


# Ending and overload


def test_a_camera_ends_at_once_when_closed_from_another_thread(sender):
    """While no data arrives."""
    stop = threading.Event()
    camera = sender.open(header(), stop=stop)
    threading.Timer(0.5, stop.set).start()
    began = time.monotonic()
    assert list(camera) == []
    assert time.monotonic() - began < 1.5
    camera.close()
    camera.close()
    assert list(camera) == []


def test_a_camera_ends_at_once_while_connecting(sender):
    with sender.open(header()) as camera:
        collector = Collector(camera)
        first = source_processes()
        sender.close()
        collector.wait(lambda: not camera.status().connected)
        collector.wait(lambda: bool(set(source_processes()) - set(first)))  # one that tries to connect
        collector.finish()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_source_process_that_is_killed_or_hangs_is_replaced(sender, number):
    settings = CameraSettings(stall_timeout_s=1.0)
    with sender.open(header(), settings=settings) as camera:
        collector = Collector(camera)
        sender.send(packed(steady(1000), complete_us=EPOCH_US + 1000))
        collector.wait(lambda: collector.n_events == 1000)
        (worker,) = source_processes()
        worker.send_signal(number)
        collector.wait(lambda: not camera.status().connected)
        collector.wait(lambda: not worker.is_running())  # until then it may have the pipe open
        sender.hang_up()
        sender.connect()
        sender.send(header() + packed(steady(1000, EPOCH_US + 1_000_000), complete_us=EPOCH_US + 1_001_000))
        collector.wait(lambda: collector.n_events == 2000)
        collector.finish()
    assert camera.status().reconnects == 1


def test_events_not_consumed_in_time_are_dropped_and_counted(sender):
    """A consumer that pauses blocks nothing: the ring fills, then events are dropped, and triggers last."""
    n_batches, n = 60, 100_000
    losses: list[Loss] = []
    seen = np.zeros(n_batches * n + 1000, bool)
    with sender.open(header(), on_loss=losses.append) as camera:
        batches = iter(camera)
        sender.send(packed(steady(1000), complete_us=EPOCH_US + 1000))
        first = next(batches).events
        got = len(first)
        seen[first["timestamp"] - EPOCH_US] = True
        start_us = EPOCH_US + 1000
        for _ in range(n_batches):
            sender.send(packed(make_triggers(np.array([start_us]), np.array([1]))))
            sender.send(packed(steady(n, start_us), complete_us=start_us + n))
            start_us += n
        deadline = time.monotonic() + 30
        triggers = 0
        for batch in batches:
            got += len(batch.events)
            seen[batch.events["timestamp"] - EPOCH_US] = True
            triggers += len(batch.triggers)
            if batch.end_us >= start_us:
                break
            assert time.monotonic() < deadline
        status = camera.status()
    assert status.dropped_events > 0
    assert status.dropped_triggers == 0
    assert triggers == n_batches
    assert got + status.dropped_events == 1000 + n_batches * n
    assert not status.repairs
    # Everything missing lies in the reported spans.
    reported = np.zeros_like(seen)
    for loss in losses:
        reported[loss.start_us - EPOCH_US : loss.end_us - EPOCH_US] = True
    assert np.all(seen | reported)
    assert sum(loss.n_events for loss in losses) == status.dropped_events
    assert [loss.start_us for loss in losses] == sorted(loss.start_us for loss in losses)
    assert "too slow: dropped" in " ".join(status.sentences)
