"""Network streams give the same events as a recording, and survive the loss of their peer."""

import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from sweepdepth import Calibration
from sweepdepth.capture.cameras import CameraSettings, Gap, open_camera
from sweepdepth.capture.errors import CalibrationError, CameraError
from sweepdepth.capture.recordings import open_recording
from sweepdepth.capture.sweeps import Direction
from sweepdepth.capture.tracking import find_sweeps
from sweepdepth.stream.demo import recording_path

from .consumer import EPOCH_US, QUICK, Collector, nothing_is_left_behind  # noqa: F401  a fixture


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class NetworkPeer:
    """A real `NetworkWriter` in a separate process."""

    def __init__(self, events_port: int, triggers_port: int = 0, shift_us: int = EPOCH_US) -> None:
        script = str(Path(__file__).with_name("network_peer.py"))
        self.process = subprocess.Popen(
            [sys.executable, script, str(events_port), str(triggers_port), str(recording_path()), str(shift_us)],
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
    """The bundled sweep as it is sent, in µs since 1970."""
    pytest.importorskip("dv_processing")
    with open_recording(recording_path()) as recording:
        events, triggers = recording.read()
        assert recording.calibration is not None
        calibration = recording.calibration
    events["timestamp"] += EPOCH_US
    triggers["timestamp"] += EPOCH_US
    return events, triggers, calibration


def settled(events: np.ndarray) -> np.ndarray:
    """All events except those at the newest time, which may be incomplete."""
    return events[events["timestamp"] < events["timestamp"][-1]]


def test_a_network_stream_gives_the_events_of_its_recording(demo):
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


def test_a_network_stream_is_delivered_promptly(demo):
    """Events arrive within a fraction of a second, which relates the two clocks."""
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
    """Times continue whatever the clock of the returned peer."""
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


def test_a_missing_peer_is_an_error():
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


def test_exchanged_ports_are_reported(demo):
    ports = free_port(), free_port()
    with NetworkPeer(*ports), pytest.raises(CameraError, match="sends no events; is it the port of the triggers"):
        open_camera(f"tcp://127.0.0.1:{ports[1]}")


@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 4096])
def test_another_kind_of_server_causes_no_hang(monkeypatch, says):
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
