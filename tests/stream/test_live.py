"""Live depth from camera and lens at subscribers, while either disconnects and reconnects."""

import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import psutil
import pytest

from sweepdepth import Calibration, CalibrationError, Subscriber, SyncError, WireError
from sweepdepth.capture.cameras import CameraSettings
from sweepdepth.capture.cameras.pipe import BATCH, HEADER, MAGIC
from sweepdepth.capture.errors import CameraError, LensError
from sweepdepth.capture.events import TRIGGER_DTYPE, Batch
from sweepdepth.capture.files.depth_file import read_depth_file
from sweepdepth.capture.lenses.settings import optotune_settings
from sweepdepth.capture.recordings import open_recording, write_recording
from sweepdepth.net import metrics
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.live import LiveSummary, live
from sweepdepth.stream.loop import rounds
from sweepdepth.stream.outputs import Publishing
from sweepdepth.stream.run_options import Callbacks, RunOptions
from sweepdepth.stream.wire.messages import DepthFrame, StatusFrame

pytest.importorskip("serial")
pytest.importorskip("dv_processing")

ROOT = Path(__file__).parents[2]
PEERS = ROOT / "tests" / "capture"
COMMAND = Path(sys.executable).with_name("sweepdepth")
NODE = Path(sys.executable).with_name("node")
NODE_CLIENT = ROOT / "examples" / "node" / "subscriber.mjs"
POLARITY = RunOptions("polarity")
EPOCH_US = 1_763_000_511_821_624
PERIOD_US = 400_000
WIDTH, HEIGHT = 100, 80
LEFT, TOP = 60, 40  # corner of the part of the bundled recording used here
PATIENCE_S = 90.0
PATIENT = (
    "\n[camera_settings]\ntrigger_hold_s = 0.3\nstall_timeout_s = 60.0\nmax_lag_s = 60.0\nconnect_timeout_s = 30.0\n"
)
"""Timeouts for a busy machine, on which any process may stall for long."""

DRIVER = '\n[driver]\nkind = "optotune"\nfar_ma = 40.0\nnear_ma = 120.0\n'


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Check that no child process and no thread is left."""
    threads = threading.active_count()
    yield
    ours = [" ".join(p.cmdline()) for p in psutil.Process().children(recursive=True)]
    assert [line for line in ours if "sources.worker" in line or "lenses.keeper" in line] == []
    assert threading.active_count() == threads


def wait_until(holds: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
    deadline = time.monotonic() + timeout_s
    while not (found := holds()):
        assert time.monotonic() < deadline, f"nothing in {timeout_s:g} s"
        time.sleep(0.02)
    return found


class Source:
    """A part of the bundled sweeps, its calibration and the true depth."""

    def __init__(self, folder: Path) -> None:
        with open_recording(recording_path()) as recording:
            events, triggers = recording.read()
        with h5py.File(recording_path()) as file:
            truth = np.asarray(file["depth"])
            text = str(file.attrs["lens_toml"])
        inside = (events["x"] >= LEFT) & (events["x"] < LEFT + WIDTH)
        inside &= (events["y"] >= TOP) & (events["y"] < TOP + HEIGHT)
        self.events = events[inside]
        self.events["x"] -= LEFT
        self.events["y"] -= TOP
        self.whole = Batch(self.events, triggers, int(triggers["timestamp"][-1]) + 1)
        self.truth = truth[TOP : TOP + HEIGHT, LEFT : LEFT + WIDTH]
        whole = Calibration.parse(text)
        camera = whole.camera.model_copy(
            update={"width": WIDTH, "height": HEIGHT, "cx": whole.camera.cx - LEFT, "cy": whole.camera.cy - TOP}
        )
        # Whole numbers, as a Lens Driver 4 counts mHz.
        sweep = whole.sweep.model_copy(update={"frequency_hz": 2.5})
        text = whole.model_copy(update={"camera": camera, "sweep": sweep}).to_toml() + DRIVER + PATIENT
        self.lens, self.recording = folder / "lens.toml", folder / "source.h5"
        self.lens.write_text(text)
        self.calibration = Calibration.parse(text)
        write_recording(self.recording, [self.whole], WIDTH, HEIGHT)

    def with_sync(self, sync: str) -> Calibration:
        return self.calibration.model_copy(update={"sweep": self.calibration.sweep.model_copy(update={"sync": sync})})

    def error(self, frame: DepthFrame) -> float:
        """Median depth error as a fraction of the range."""
        return metrics.score(frame.depth, self.truth, self.calibration, frame.std).median_range


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Source:
    return Source(tmp_path_factory.mktemp("source"))


class NetworkPeer:
    """A real `NetworkWriter` in a separate process that sends the sweeps endlessly."""

    def __init__(self, ports: tuple[int, int], recording: Path, shift_us: int) -> None:
        line = [sys.executable, PEERS / "network_peer.py", *ports, recording, shift_us, "loop"]
        self._process = subprocess.Popen([*map(str, line)], stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def __enter__(self) -> "NetworkPeer":
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        assert self._process.stdout is not None
        self._process.stdout.close()


class LensPeer:
    """A simulated Lens Driver 4 on a pseudo-terminal, in a separate process."""

    def __init__(self, link: Path) -> None:
        self.driver = f"optotune:{link}"
        self._process = subprocess.Popen(
            [sys.executable, str(PEERS / "lens_peer.py"), str(link), "A"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"

    def ask(self, **order: Any) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def state(self) -> dict[str, Any]:
        return self.ask(state=True)

    @property
    def sweeps(self) -> bool:
        state = self.state()
        return state["mode"] == "T" and state["lower"] < state["upper"] and state["millihertz"] == 2500

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


@pytest.fixture
def lens(tmp_path) -> Iterator[LensPeer]:
    peer = LensPeer(tmp_path / "ttyLENS")
    yield peer
    peer.close()


class Listener:
    """A Python subscriber in a thread, and one in Node.js."""

    def __init__(self, address: str) -> None:
        self.depth: list[DepthFrame] = []
        self.status: list[StatusFrame] = []
        self.lines: list[dict[str, Any]] = []
        self._node = subprocess.Popen(
            [str(NODE), str(NODE_CLIENT), address, "--json", "100000"], stdout=subprocess.PIPE, text=True
        )
        self._subscriber = Subscriber(address, topics=("depth", "status"))
        self._threads = [threading.Thread(target=self._listen), threading.Thread(target=self._read)]
        for thread in self._threads:
            thread.start()

    @property
    def warnings(self) -> str:
        """Warnings of the last status."""
        return "\n".join(self.status[-1].warnings) if self.status else ""

    def finish(self) -> None:
        """Wait until both subscribers received the end of the stream."""
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads)
        assert self._node.wait(30) == 0
        assert self._node.stdout is not None
        self._node.stdout.close()
        self._subscriber.close()

    def _listen(self) -> None:
        for frame in self._subscriber:
            if isinstance(frame, DepthFrame):
                self.depth.append(frame)
            elif isinstance(frame, StatusFrame):
                self.status.append(frame)

    def _read(self) -> None:
        assert self._node.stdout is not None
        for line in self._node.stdout:
            self.lines.append(json.loads(line))


def free_ports() -> tuple[int, int]:
    with socket.socket() as a, socket.socket() as b:
        a.bind(("127.0.0.1", 0))
        b.bind(("127.0.0.1", 0))
        return a.getsockname()[1], b.getsockname()[1]


def finite(array: np.ndarray) -> int:
    return int(np.isfinite(array).sum())


def test_live_depth_survives_the_loss_of_camera_and_lens(tmp_path, source, lens):
    """The whole system: separate processes for camera, lens, runtime and a Node.js subscriber."""
    ports, address, recording = free_ports(), f"ipc://{tmp_path}/depth", tmp_path / "live.h5"
    heard = Listener(address)
    line = [COMMAND, "live", "--camera", f"tcp://127.0.0.1:{ports[0]},{ports[1]}", "--lens", source.lens]
    line += ["--driver", lens.driver, "--publish", address, "--record", recording, "--estimator", "polarity", "--json"]
    with NetworkPeer(ports, source.recording, EPOCH_US):
        runtime = subprocess.Popen([*map(str, line)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: len(heard.depth) >= 5)
            assert lens.sweeps
        except AssertionError:
            runtime.kill()
            print(runtime.communicate())
            raise

    # The camera disconnects, and reconnects with another clock.
    wait_until(lambda: "camera: disconnected" in heard.warnings)
    before_gap = len(heard.depth)
    with NetworkPeer(ports, source.recording, EPOCH_US - 3_600_000_000):
        wait_until(lambda: len(heard.depth) >= before_gap + 5)
        assert "camera: reconnected once" in heard.warnings

        # The lens is unplugged: without it there is no depth.
        lens.ask(unplug=True)
        wait_until(lambda: "lens disconnected" in heard.warnings)
        without_lens = len(heard.depth)
        n_status = len(heard.status)
        wait_until(lambda: len(heard.status) >= n_status + 2)
        assert len(heard.depth) <= without_lens + 2  # one waiting, and one in progress
        lens.ask(plug=True, powered=False)
        wait_until(lambda: len(heard.depth) >= without_lens + 5)
        assert lens.sweeps
        assert "lens reconnected" in heard.warnings  # once, or twice where the machine is busy

        runtime.send_signal(signal.SIGINT)
        out, err = runtime.communicate(timeout=PATIENCE_S)
    heard.finish()

    assert runtime.returncode == 130, err
    assert lens.state()["rests"]
    for notice in ("camera lost", "camera found again after", "its clock was reset", "lens lost", "lens found again"):
        assert notice in err
    summary = json.loads(out)
    assert (summary["camera"]["reconnects"], summary["lens"]["reconnects"]) == (1, 1)
    assert summary["lens"]["temperature_c"] == 26.5
    assert summary["recording"]["failure"] is None
    assert heard.status[-1].end

    # Depth is right before and after, and times continue.
    assert np.median([source.error(frame) for frame in heard.depth[:before_gap]]) < 0.08
    assert np.median([source.error(frame) for frame in heard.depth[-5:]]) < 0.08
    starts = [frame.t_start_us for frame in heard.depth]
    assert starts == sorted(starts)
    assert all(frame.latency_ms["age"] > 0 for frame in heard.depth)

    # Both subscribers received the same.
    ours = {frame.seq: frame for frame in heard.depth}
    theirs = {line["header"]["seq"]: line for line in heard.lines if line["topic"] == "depth"}
    both = ours.keys() & theirs.keys()
    assert len(both) >= 10
    for seq in both:
        assert theirs[seq]["checks"]["depth"]["finite"] == finite(ours[seq].depth)
        assert theirs[seq]["header"]["t_start_us"] == ours[seq].t_start_us

    # The recording gives the same depth.
    assert summary["recording"]["dropped_events"] == 0
    one_thread = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # as in live; with more, sums differ by their order
    replaying = [COMMAND, "replay", recording, "--estimator", "polarity", "--out", tmp_path / "depth.h5"]
    subprocess.run(replaying, env=one_thread, check=True, capture_output=True, timeout=120)
    again = read_depth_file(tmp_path / "depth.h5")
    depth_at = {(int(a), int(b)): d for a, b, d in zip(again.t_start_us, again.t_end_us, again.depth, strict=True)}
    # Up to a tenth of the first sweep after a pause may be missing live, but not in the recording.
    followed = [f for before, f in pairwise(heard.depth) if f.t_start_us == before.t_end_us]
    same = [f for f in followed if (f.t_start_us, f.t_end_us) in depth_at]
    assert len(same) >= 5
    assert same[0].t_start_us < heard.depth[before_gap].t_start_us < same[-1].t_start_us
    for frame in same:
        np.testing.assert_array_equal(frame.depth, depth_at[frame.t_start_us, frame.t_end_us])


# Through a pipe, in this process


class Feeder:
    """A camera on a pipe, whose lens is at its far end every period from `far_end()` on, by the host's clock.

    With a clock that counts from 1970, and no triggers unless they are asked for.
    """

    def __init__(self, path: Path, source: Source, far_end: Callable[[], float], *, triggers: bool = False) -> None:
        os.mkfifo(path)
        self.address = f"pipe:{path}"
        self._path, self._source, self._far_end, self._triggers = path, source, far_end, triggers
        self._leaving = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        origin, begun = self._far_end(), False
        try:
            with open(self._path, "wb") as pipe:
                pipe.write(HEADER.pack(MAGIC, 1, WIDTH, HEIGHT, 0))
                pipe.flush()
                for batch in rounds(self._source.whole, 10_000):
                    due = origin + batch.end_us * 1e-6
                    if not begun and due < time.monotonic():
                        continue
                    begun = True
                    if self._leaving.wait(max(0.0, due - time.monotonic())):
                        return
                    for items in (batch.triggers, batch.events)[not self._triggers :]:
                        items["timestamp"] += EPOCH_US
                        kind = 2 if items.dtype == TRIGGER_DTYPE else 1
                        pipe.write(BATCH.pack(kind, len(items), EPOCH_US + batch.end_us if kind == 1 else -1))
                        pipe.write(items.tobytes())
                    pipe.flush()
        except BrokenPipeError:
            pass  # the other side left

    def __enter__(self) -> "Feeder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._leaving.set()
        # It may still wait for a reader.
        os.close(os.open(self._path, os.O_RDONLY | os.O_NONBLOCK))
        self._thread.join(30)
        assert not self._thread.is_alive()


class LiveRun:
    """`live` in a thread of this process."""

    def __init__(self, address: str, calibration: Calibration, **options: Any) -> None:
        self.frames: list[DepthFrame] = []
        self.statuses: list[StatusFrame] = []
        self.notices: list[str] = []
        self._stop = threading.Event()
        self._found: list[LiveSummary | BaseException] = []
        callbacks = Callbacks(
            on_frame=self.frames.append, on_status=self.statuses.append, on_notice=self.notices.append
        )
        options |= {"options": POLARITY, "stop": self._stop, "callbacks": callbacks}
        self._thread = threading.Thread(target=self._run, args=(address, calibration, options))
        self._thread.start()

    def _run(self, address: str, calibration: Calibration, options: dict[str, Any]) -> None:
        try:
            self._found.append(live(address, calibration, **options))
        except BaseException as error:
            self._found.append(error)

    def wait(self, holds: Callable[[], Any]) -> None:
        wait_until(lambda: self._found or holds())

    def finish(self) -> LiveSummary:
        self._stop.set()
        self._thread.join(60)
        (found,) = self._found
        if isinstance(found, BaseException):
            raise found
        return found

    def __enter__(self) -> "LiveRun":
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(60)


@pytest.mark.parametrize("far_ma, near_ma", [(40.0, 120.0), (120.0, 40.0)])
def test_the_lens_command_determines_the_direction(tmp_path, source, lens, far_ma, near_ma):
    """Only events from the camera; the generator starts at the lower current, which may be either end."""
    calibration = source.with_sync("events")
    assert calibration.driver is not None
    driver = calibration.driver.model_copy(update={"far_ma": far_ma, "near_ma": near_ma})
    calibration = calibration.model_copy(update={"driver": driver})

    def far_end() -> float:
        wait_until(lambda: lens.sweeps)
        return lens.state()["moded_at"] + (0.0 if far_ma < near_ma else PERIOD_US / 2e6)

    with (
        Feeder(tmp_path / "events", source, far_end) as feeder,
        LiveRun(feeder.address, calibration, driver=lens.driver) as run,
    ):
        run.wait(lambda: len(run.frames) >= 6)
        summary = run.finish()
    assert lens.state()["rests"]
    for frame in run.frames:
        k = round((frame.t_start_us - EPOCH_US) / (PERIOD_US / 2))
        assert abs(frame.t_start_us - EPOCH_US - k * PERIOD_US / 2) < 10_000
        assert frame.direction == (1 if k % 2 == 0 else -1)
    assert np.median([source.error(frame) for frame in run.frames]) < 0.1
    assert summary.depth.n_frames == len(run.frames)
    assert run.statuses[-1].end
    assert run.statuses[-1].sync_quality > 0.25


def test_a_full_disk_ends_the_recording_and_not_the_depth(tmp_path, source):
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1536k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can make a small disk")
    try:
        with (
            Feeder(tmp_path / "events", source, time.monotonic, triggers=True) as feeder,
            LiveRun(feeder.address, source.calibration, record=disk / "live.h5") as run,
        ):
            run.wait(lambda: run.notices)
            n = len(run.frames)
            run.wait(lambda: len(run.frames) >= n + 4)
            summary = run.finish()
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    full = f"{disk / 'live.h5'}: the disk is full; it keeps what was written before"
    assert run.notices == [f"recording stopped: {full}; depth continues"]
    assert f"recording stopped: {full}" in run.statuses[-1].warnings
    assert summary.recording is not None
    assert summary.recording.failure == full
    assert np.median([source.error(frame) for frame in run.frames]) < 0.08


def test_a_killed_run_leaves_the_lens_at_rest(tmp_path, source, lens):
    """On a terminal, the last line shows the state of the run."""
    terminal, theirs = pty.openpty()
    shown = bytearray()

    def read() -> None:
        try:
            while data := os.read(terminal, 4096):
                shown.extend(data)
        except OSError:
            pass  # nobody has the terminal any more

    reader = threading.Thread(target=read)
    reader.start()
    with Feeder(tmp_path / "events", source, time.monotonic, triggers=True) as feeder:
        line = [COMMAND, "live", "--camera", feeder.address, "--lens", source.lens, "--driver", lens.driver]
        runtime = subprocess.Popen(
            [*map(str, line), "--estimator", "polarity", "--publish", f"ipc://{tmp_path}/depth"],
            stdout=subprocess.DEVNULL,
            stderr=theirs,
            env={**os.environ, "TERM": "xterm", "COLUMNS": "150"},
        )
        os.close(theirs)
        try:
            wait_until(lambda: b"depths/s  age" in shown)
            assert b"publishing on ipc://" in shown
            assert b"dropped" in shown
            assert lens.sweeps
        finally:
            runtime.kill()
            runtime.wait()
        wait_until(lambda: lens.state()["rests"])
    reader.join(30)
    os.close(terminal)
    wait_until(lambda: not any("lenses.keeper" in " ".join(p.cmdline()) for p in processes_here(str(tmp_path))))


def processes_here(name: str) -> list[psutil.Process]:
    """Processes whose command line contains a name."""
    found = []
    for process in psutil.process_iter():
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


# Errors at the start


def test_unusable_arguments_are_one_line_errors(tmp_path, source, lens):
    """Afterwards the lens is at rest, and there is no empty recording."""
    nobody = f"tcp://127.0.0.1:{free_ports()[0]}"
    quick: dict[str, Any] = {"options": POLARITY, "settings": CameraSettings(connect_timeout_s=0.3)}
    calibration, blind = source.calibration, source.with_sync("events")
    undriven = calibration.model_copy(update={"driver": None})
    with pytest.raises(CameraError, match="nobody listens there; start the sender, or correct the port"):
        live(nobody, calibration, driver=lens.driver, record=tmp_path / "live.h5", **quick)
    assert lens.state()["rests"]
    assert not (tmp_path / "live.h5").exists()
    n_commands = lens.state()["commands"]
    with pytest.raises(CameraError, match="usb: is no camera's address"):
        live("usb", calibration, driver=lens.driver, **quick)
    with pytest.raises(LensError, match=r"optotune:/dev/ttyNONE: cannot be opened: no such port; is it plugged in\?"):
        live(nobody, calibration, driver="optotune:/dev/ttyNONE", **quick)
    with pytest.raises(CalibrationError, match=r"has no \[driver\] table"):
        live(nobody, undriven, driver=lens.driver, **quick)
    with pytest.raises(SyncError, match="do not distinguish far→near from near→far"):
        live(nobody, blind, **quick)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(WireError, match=f"{address}: .*use"):
            live(nobody, calibration, driver=lens.driver, publishing=Publishing(address), **quick)
    settings = Calibration.parse(source.lens.read_text() + "threshold = 3\n")
    with pytest.raises(CameraError, match=r"lens\.toml: camera_settings: threshold \(3\) is not a known key"):
        live(nobody, settings, driver=lens.driver)
    assert lens.state()["commands"] == n_commands


def test_a_camera_without_triggers_is_reported(tmp_path, source):
    with (
        Feeder(tmp_path / "events", source, time.monotonic) as feeder,
        LiveRun(feeder.address, source.calibration) as run,
    ):
        run.wait(lambda: run.notices)
        summary = run.finish()
    assert run.notices[0].startswith('no sweeps: no trigger edge came, but sweep.sync is "trigger": connect')
    assert summary.depth.n_frames == 0


def test_the_tables_that_the_page_shows_are_accepted(source):
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "live.md").read_text(), re.DOTALL)
    calibration = Calibration.parse(source.lens.read_text().replace(DRIVER + PATIENT, "\n") + text)
    assert optotune_settings(calibration).near_ma == 120.0
    assert calibration.camera_settings is not None
    assert CameraSettings.check(calibration.camera_settings.model_dump()).roi == (160, 120, 320, 240)
    assert Calibration.parse(calibration.to_toml()) == calibration
    biased = Calibration.parse(source.lens.read_text() + "biases = { Diff = [4, 39] }\n")
    assert Calibration.parse(biased.to_toml()) == biased
