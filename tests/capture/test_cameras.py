"""Live sources: network streams, pipes and cameras give the batches that a recording gives, and survive their peers."""

import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweepdepth import Calibration
from sweepdepth.capture.cameras import CameraSettings, Gap, Loss, open_camera, parse_address
from sweepdepth.capture.cameras.camera import Camera
from sweepdepth.capture.cameras.clock import HostClock
from sweepdepth.capture.cameras.pipe import BATCH, HEADER, MAGIC
from sweepdepth.capture.cameras.usb import orders
from sweepdepth.capture.errors import CalibrationError, CameraError
from sweepdepth.capture.events import TRIGGER_DTYPE, Batch, join, make_events, make_triggers
from sweepdepth.capture.recordings import open_recording
from sweepdepth.capture.sweeps import Direction
from sweepdepth.capture.tracking import find_sweeps

ROOT = Path(__file__).parents[2]
DEMO = ROOT / "stream" / "demo_recording.h5"
EPOCH_US = 1_763_000_511_821_624
WIDTH, HEIGHT = 96, 72
QUICK = CameraSettings(connect_timeout_s=0.3)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    yield
    assert [p for p in psutil.Process().children() if "recordings.worker" in " ".join(p.cmdline())] == []


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Collector:
    """Iterates over a camera in a thread of its own, as the runtime does."""

    def __init__(self, camera: Camera) -> None:
        self.camera = camera
        self.batches: list[Batch] = []
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        for batch in self.camera:
            self.batches.append(batch)

    def wait(self, holds: Callable[[], bool], timeout_s: float = 40.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not holds():
            assert time.monotonic() < deadline, self.camera.status()
            assert self._thread.is_alive()
            time.sleep(0.01)

    @property
    def n_events(self) -> int:
        return sum(len(batch.events) for batch in self.batches)

    def finish(self) -> tuple[np.ndarray, np.ndarray]:
        """Close the camera; events and triggers, in batches that keep their promise."""
        closed = time.monotonic()
        self.camera.close()
        self._thread.join(5)
        assert not self._thread.is_alive()
        assert time.monotonic() - closed < 1.0
        end_us = -(1 << 63)
        for batch in self.batches:
            for times in (batch.events["timestamp"], batch.triggers["timestamp"]):
                if len(times):
                    assert end_us <= times[0]
                    assert np.all(times[1:] >= times[:-1])
                    assert times[-1] < batch.end_us
            end_us = batch.end_us
        return join([b.events for b in self.batches]), join([b.triggers for b in self.batches], TRIGGER_DTYPE)


# Addresses


@pytest.mark.parametrize(
    "text, arguments",
    [
        ("dv", {"serial_number": None}),
        ("dv:DXA00093", {"serial_number": "DXA00093"}),
        ("tcp://camera.local:7777", {"host": "camera.local", "events_port": 7777, "triggers_port": None}),
        ("tcp://10.0.0.2:7777,7778", {"host": "10.0.0.2", "events_port": 7777, "triggers_port": 7778}),
        ("tcp://[::1]:7777", {"host": "::1", "events_port": 7777, "triggers_port": None}),
        ("pipe:/tmp/a:b.sock", {"path": "/tmp/a:b.sock"}),
    ],
)
def test_addresses(text, arguments):
    assert parse_address(text).arguments == arguments
    assert str(parse_address(text)) == text


@pytest.mark.parametrize(
    "text, message",
    [
        ("", r"an empty text: is no camera's address; give dv, dv:SERIAL, tcp://HOST:EVENTS"),
        ("usb", "usb: is no camera's address"),
        ("dv:", "names no camera"),
        ("pipe:", "is no camera's address"),
        ("tcp://host", "is no camera's address"),
        ("tcp://host:70000", "70000 is no port"),
        ("tcp://host:1,1", "events and triggers come from two ports; 1 is given for both"),
        ("tcp://a b:1", "is no camera's address"),
    ],
)
def test_what_is_no_address_is_an_error(text, message):
    with pytest.raises(CameraError, match=message):
        open_camera(text)


# Settings


def test_settings_come_from_a_table_of_their_own(tmp_path):
    (tmp_path / "lens.toml").write_text("[lens]\nf_number = 2\n[camera_settings]\nroi = [0, 0, 64, 48]\n")
    assert CameraSettings.load(tmp_path / "lens.toml").roi == (0, 0, 64, 48)
    (tmp_path / "lens.toml").write_text("[camera_settings]\nthreshold = 3\n")
    with pytest.raises(CameraError, match=r"lens\.toml: camera_settings: threshold \(3\) is not a known key"):
        CameraSettings.load(tmp_path / "lens.toml")
    (tmp_path / "lens.toml").write_text("[lens]\n")
    with pytest.raises(CameraError, match=r"has no table \[camera_settings\]"):
        CameraSettings.load(tmp_path / "lens.toml")
    with pytest.raises(CameraError, match=r"none\.toml: cannot be read: No such file"):
        CameraSettings.load(tmp_path / "none.toml")


EVERYTHING = {
    "DVXplorer": {"contrast_threshold_on": 9, "contrast_threshold_off": 9, "global_hold": False}
    | {"readout": "VARIABLE_5000", "external_trigger": True},
    "DVXplorerM": {"contrast_threshold_on": 9, "readout": "VARIABLE_5000"},
    "DAVIS": {"biases": {"Diff": [4, 39], "Refractory": [5, 20]}, "external_trigger": True}
    | {"background_activity_filter_us": 2000, "refractory_period_us": 500},
    "DVS128": {"biases": {"DIFF_ON": 482443}},
}


@pytest.mark.parametrize("name", EVERYTHING)
def test_settings_are_methods_that_the_camera_has(name):
    """By the signatures of the library itself: there is no camera here to call them on."""
    dv = pytest.importorskip("dv_processing")
    kind = getattr(dv.io.camera, name)
    table = {"roi": [8, 8, 64, 48], "flip_horizontal": True, "flip_vertical": False, **EVERYTHING[name]}
    found = orders(kind, CameraSettings.check(table))
    assert len(found) >= len(table)
    for method, arguments in found:
        signature = getattr(kind, method).__doc__.split("\n")[0]
        expected = [part.split(":")[1] for part in signature.split("(", 1)[1].split(")")[0].split(", ")[1:]]
        assert len(expected) == len(arguments), signature
        for argument, text in zip(arguments, expected, strict=True):
            word = {bool: "bool", int: "SupportsInt", tuple: "tuple_xywh"}.get(type(argument), type(argument).__name__)
            assert word in text, signature


def test_trigger_input_is_switched_on_unless_told_otherwise():
    dv = pytest.importorskip("dv_processing")
    calls = dict(orders(dv.io.camera.DAVIS, CameraSettings()))
    assert calls["setDetectorRunning"] == (True,)
    assert calls["setDetectorRisingEdges"] == calls["setDetectorFallingEdges"] == (True,)
    assert calls["setFramesRunning"] == (False,)
    assert "setDetectorRunning" not in dict(orders(dv.io.camera.DAVIS, CameraSettings(external_trigger=False)))
    assert "setDetectorRunning" not in dict(orders(dv.io.camera.DVXplorerM, CameraSettings()))


@pytest.mark.parametrize(
    "name, table, message",
    [
        ("DVXplorerM", {"external_trigger": True}, "external_trigger is nothing that a DVXplorerM has; leave it out"),
        ("DVXplorer", {"biases": {"Diff": [1, 2]}}, "biases is nothing that a DVXplorer has"),
        ("DVXplorer", {"readout": "FAST"}, r"readout \('FAST'\) must be one of .*VARIABLE_5000"),
        ("DAVIS", {"contrast_threshold_on": 3}, "contrast_threshold_on is nothing that a DAVIS has"),
        ("DAVIS", {"biases": {"Dif": [1, 2]}}, r"biases\.Dif is unknown; it has .*Diff"),
        ("DAVIS", {"biases": {"Diff": 3}}, r"biases\.Diff \(3\) must be \[coarse, fine\]"),
    ],
)
def test_settings_that_a_camera_does_not_have_are_refused(name, table, message):
    dv = pytest.importorskip("dv_processing")
    with pytest.raises(CameraError, match=message):
        orders(getattr(dv.io.camera, name), CameraSettings.check(table))


@pytest.mark.parametrize("address", ["dv", "dv:DXA00093"])
def test_no_camera_plugged_in_is_said_so(address):
    dv = pytest.importorskip("dv_processing")
    if dv.io.camera.discover():
        pytest.skip("a camera is plugged in")
    with pytest.raises(CameraError, match=f"^{address}: no camera is plugged in, or none that this user may open"):
        open_camera(address, settings=QUICK)


# The host's clock


@given(
    lags=st.lists(st.integers(0, 200_000), min_size=1, max_size=50),
    offset_us=st.integers(-(10**15), 10**15),
)
def test_the_quickest_batch_tells_how_the_clocks_stand(lags, offset_us):
    clock = HostClock()
    assert clock.sensor_us(0) is None
    for k, lag_us in enumerate(lags):
        clock.saw(10_000 * k + offset_us, 1000 * (10_000 * k + lag_us))
    found = clock.sensor_us(5_000_000_000)
    assert found is not None
    assert found == 5_000_000 + offset_us - min(lags)


# A network stream


class NetworkPeer:
    """A real `NetworkWriter` in a process of its own."""

    def __init__(self, events_port: int, triggers_port: int = 0, shift_us: int = EPOCH_US) -> None:
        script = str(Path(__file__).with_name("network_peer.py"))
        self.process = subprocess.Popen(
            [sys.executable, script, str(events_port), str(triggers_port), str(DEMO), str(shift_us)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def __enter__(self) -> "NetworkPeer":
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.kill()


@pytest.fixture(scope="module")
def demo() -> tuple[np.ndarray, np.ndarray, Calibration]:
    """The bundled sweep, as it is sent: counted from 1970."""
    pytest.importorskip("dv_processing")
    with open_recording(DEMO) as recording:
        events, triggers = recording.read()
        assert recording.calibration is not None
        calibration = recording.calibration
    events["timestamp"] += EPOCH_US
    triggers["timestamp"] += EPOCH_US
    return events, triggers, calibration


def settled(events: np.ndarray) -> np.ndarray:
    """All events but those of the newest instant, which more may still come of."""
    return events[events["timestamp"] < events["timestamp"][-1]]


def test_a_network_stream_gives_what_its_recording_gives(demo):
    events, triggers, calibration = demo
    ports = free_port(), free_port()
    expected = settled(events)
    settings = CameraSettings(trigger_hold_s=0.5)  # on a busy machine one port can be far ahead of the other
    address = f"tcp://localhost:{ports[0]},{ports[1]}"
    with NetworkPeer(*ports) as peer, open_camera(address, calibration, settings) as camera:
        assert (camera.name, camera.width, camera.height) == ("synthetic", 240, 180)
        collector = Collector(camera)
        collector.wait(lambda: collector.n_events >= len(expected))
        status = camera.status()
        got_events, got_triggers = collector.finish()
        assert peer.process.poll() is None
    np.testing.assert_array_equal(got_events, expected)
    np.testing.assert_array_equal(got_triggers, triggers[triggers["timestamp"] < events["timestamp"][-1]])
    assert status.connected
    assert not status.repairs
    assert (status.dropped_events, status.reconnects, status.n_events) == (0, 0, len(expected))
    sweeps = find_sweeps(collector.batches, calibration)
    assert [s.direction for s in sweeps[:2]] == [Direction.FAR_TO_NEAR, Direction.NEAR_TO_FAR]


def test_a_live_stream_is_live(demo):
    """What happens arrives within a fraction of a second, and the two clocks are related by it."""
    events, _, calibration = demo
    port = free_port()
    with NetworkPeer(port), open_camera(f"tcp://127.0.0.1:{port}", calibration) as camera:
        assert camera.sensor_us(time.monotonic_ns()) is None
        began = time.monotonic_ns()
        arrivals = []
        for batch in camera:
            arrivals.append((batch.end_us - EPOCH_US, (time.monotonic_ns() - began) // 1000))
            if batch.end_us >= events["timestamp"][-1]:
                break
        sensor_us = camera.sensor_us(began)
    lags = np.array([host_us - sensor_us for sensor_us, host_us in arrivals])
    assert np.median(lags) - lags.min() < 100_000
    assert sensor_us is not None
    assert abs(sensor_us - EPOCH_US + lags.min()) < 20_000


@pytest.mark.parametrize(
    "back_shift_us, new_clock",
    [(EPOCH_US + 5_000_000, False), (EPOCH_US - 3_600_000_000, True), (EPOCH_US + 86_400_000_000, True)],
    ids=["goes on", "is behind", "is far ahead"],
)
def test_a_peer_that_dies_and_returns_is_a_gap(demo, back_shift_us, new_clock):
    """Times go on, whatever the clock of the peer that came back."""
    events, _, calibration = demo
    port = free_port()
    gaps: list[Gap] = []
    with NetworkPeer(port) as peer, open_camera(f"tcp://127.0.0.1:{port}", calibration, on_gap=gaps.append) as camera:
        collector = Collector(camera)
        collector.wait(lambda: collector.n_events > 50_000)
        peer.kill()
        collector.wait(lambda: not camera.status().connected)
        status = camera.status()
        assert "closed the connection" in (status.last_error or "")
        assert "trying again" in status.sentences[0]
        before = collector.n_events
        with NetworkPeer(port, shift_us=back_shift_us):
            collector.wait(lambda: collector.n_events >= before + len(settled(events)))
            status = camera.status()
            got, _ = collector.finish()
    assert status.connected
    assert status.reconnects == 1
    (gap,) = gaps
    assert status.gaps == (gap,)
    assert gap.new_clock == new_clock
    assert "closed the connection" in gap.reason
    assert 0 < gap.lost_s <= status.lost_s < 60
    after = got[got["timestamp"] >= gap.next_us]
    assert len(after) == len(settled(events))
    assert (
        int(after["timestamp"][0])
        == gap.next_us
        == int(events["timestamp"][0]) - EPOCH_US + back_shift_us + (gap.clock_shift_us)
    )
    if new_clock:
        assert gap.next_us - gap.last_us == pytest.approx(1e6 * gap.lost_s, abs=2)


def test_nobody_there_is_an_error():
    port = free_port()
    with pytest.raises(CameraError, match=rf"127\.0\.0\.1 port {port}: nobody listens there; start the sender"):
        open_camera(f"tcp://127.0.0.1:{port}", settings=QUICK)


def test_an_unknown_host_is_an_error():
    with pytest.raises(CameraError, match=r"there is no host no-such-host\.invalid"):
        open_camera("tcp://no-such-host.invalid:7777", settings=QUICK)


def test_a_sensor_of_another_size_is_an_error(demo, calibration):
    port = free_port()
    with (
        NetworkPeer(port),
        pytest.raises(CalibrationError, match=r"has 240×180 pixels, but the calibration is for 96×72"),
    ):
        open_camera(f"tcp://127.0.0.1:{port}", calibration)


def test_ports_the_wrong_way_round_are_noticed(demo):
    ports = free_port(), free_port()
    with NetworkPeer(*ports), pytest.raises(CameraError, match="sends no events; is it the port of the triggers"):
        open_camera(f"tcp://127.0.0.1:{ports[1]}")


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 4096])
def test_a_server_of_something_else_hangs_nothing(monkeypatch, says):
    monkeypatch.setattr("sweepdepth.capture.cameras.connection.ANSWER_TIMEOUT_S", 1.0)
    with socket.create_server(("127.0.0.1", 0)) as server:
        clients = []

        def serve() -> None:
            client, _ = server.accept()
            clients.append(client)
            client.sendall(says)

        threading.Thread(target=serve, daemon=True).start()
        began = time.monotonic()
        try:
            with pytest.raises(CameraError, match=r"^tcp://127\.0\.0\.1:\d+: [^\n]+$"):
                open_camera(f"tcp://127.0.0.1:{server.getsockname()[1]}", settings=QUICK)
            assert time.monotonic() - began < 60
        finally:
            for client in clients:
                client.close()


# A pipe


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
    """The other end of a pipe or a socket; `connect` returns once a reader is there."""

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
        """Open a camera on this, and greet it from a thread of its own."""
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


def test_a_pipe_gives_what_was_sent(sender, calibration):
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


def test_silence_counts_when_the_sender_says_so(sender):
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
    (b"GET / HTTP/1.1\r\n\r\n", r"is no event stream: it starts with b'GET / HT', not b'SWEEPEVT'"),
    (HEADER.pack(MAGIC, 2, 96, 72, 0), "its stream has version 2; this program reads version 1"),
    (HEADER.pack(MAGIC, 1, 0, 72, 0), "its header is damaged: it has 0×72 pixels"),
    (HEADER.pack(MAGIC, 1, 96, 72, 7), "and 7 where 0 belongs"),
    (HEADER.pack(MAGIC, 1, 65535, 65535, 0), "claims a sensor of 65535×65535 pixels; it is damaged"),
]


@pytest.mark.parametrize("greeting, message", HOSTILE)
def test_what_is_no_event_stream_is_an_error(sender, greeting, message):
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
def test_damaged_batches_end_the_connection_and_keep_what_came_before(sender, data, message):
    with sender.open(header()) as camera:
        collector = Collector(camera)
        sender.send(packed(steady(1000), complete_us=EPOCH_US + 1000) + data)
        if "closed" in message:
            sender.hang_up()
        collector.wait(lambda: not camera.status().connected)
        assert message in (camera.status().last_error or "")
        assert len(collector.finish()[0]) == 1000


def test_random_bytes_make_no_events_off_the_sensor(sender):
    """Whatever the items hold, what passes is sorted and on the sensor."""
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
    """Far less than the ring holds: what is too old is of no use, however much room there is."""
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
def test_the_example_sender_is_read(tmp_path, kind):
    """And again after it was killed: its clock begins anew."""
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


# The end, and what is too much


def test_a_camera_ends_at_once_when_told_to_from_elsewhere(sender):
    """While nothing comes at all."""
    stop = threading.Event()
    camera = sender.open(header(), stop=stop)
    threading.Timer(0.5, stop.set).start()
    began = time.monotonic()
    assert list(camera) == []
    assert time.monotonic() - began < 1.5
    camera.close()
    camera.close()
    assert list(camera) == []


def test_a_camera_ends_at_once_while_it_seeks_its_peer(sender):
    with sender.open(header()) as camera:
        collector = Collector(camera)
        sender.close()
        collector.wait(lambda: not camera.status().connected)
        time.sleep(0.5)
        collector.finish()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_source_process_that_is_killed_or_hangs_is_replaced(sender, number):
    settings = CameraSettings(stall_timeout_s=1.0)
    with sender.open(header(), settings=settings) as camera:
        collector = Collector(camera)
        sender.send(packed(steady(1000), complete_us=EPOCH_US + 1000))
        collector.wait(lambda: collector.n_events == 1000)
        (worker,) = psutil.Process().children()
        worker.send_signal(number)
        collector.wait(lambda: not camera.status().connected)
        sender.hang_up()
        sender.connect()
        sender.send(header() + packed(steady(1000, EPOCH_US + 1_000_000), complete_us=EPOCH_US + 1_001_000))
        collector.wait(lambda: collector.n_events == 2000)
        collector.finish()
    assert camera.status().reconnects == 1


def test_what_is_not_taken_in_time_is_dropped_and_counted(sender):
    """A consumer that pauses holds up nobody: the ring fills, the rest is dropped, triggers last."""
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
    # All that is missing is missing where it is told to be.
    told = np.zeros_like(seen)
    for loss in losses:
        told[loss.start_us - EPOCH_US : loss.end_us - EPOCH_US] = True
    assert np.all(seen | told)
    assert sum(loss.n_events for loss in losses) == status.dropped_events
    assert [loss.start_us for loss in losses] == sorted(loss.start_us for loss in losses)
    assert "too slow: dropped" in " ".join(status.sentences)
