"""SIGKILL of every process at random times: files are complete, losses are as documented, and work can continue."""

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from random import Random

import h5py
import numpy as np
import psutil
import pytest

from sweepdepth import Calibration
from sweepdepth.capture.events import Batch, make_events
from sweepdepth.capture.files.dataset import open_dataset, read_scene
from sweepdepth.capture.files.depth_file import DepthFrames, read_depth_file
from sweepdepth.capture.recordings import open_recording, write_recording
from sweepdepth.capture.sources.chunks import NO_TRIGGERS
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.wire.messages import DepthFrame
from sweepdepth.stream.wire.publisher import Publisher
from sweepdepth.stream.wire.subscriber import Subscriber

from ..stream.conftest import FrameMaker
from .processes import LIMIT_S, LONG_S, end, family, is_alive, one_line_error, run, start, wait_for
from .table import rounds, saw

HERE = Path(__file__).parent
TESTS = HERE.parent
REPLAY = ("replay", recording_path(), "--estimator", "polarity")


def same_frames(a: DepthFrames, b: DepthFrames) -> bool:
    names = ("depth", "std", "t_start_us", "t_end_us", "direction")
    return all(np.array_equal(getattr(a, n), getattr(b, n), equal_nan=n in ("depth", "std")) for n in names)


def end_all(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory) -> DepthFrames:
    path = tmp_path_factory.mktemp("undisturbed") / "depth.h5"
    code, complaint = run(*REPLAY, "--out", path)
    assert code == 0, complaint
    return read_depth_file(path)


# Replay


@rounds(1)
def test_a_replay_that_is_killed(tmp_path: Path, undisturbed: DepthFrames, chance: Random):
    """The command itself, at any time of its run."""
    path = tmp_path / "depth.h5"
    process = start(*REPLAY, "--out", path, "--speed", "1")
    if chance.random() < 0.7:  # else during its start
        wait_for(lambda: any(tmp_path.iterdir()) or process.poll() is not None)
    time.sleep(chance.uniform(0, 2.5))
    helpers = family(process.pid)
    process.kill()
    end(process)
    assert wait_for(lambda: not any(map(is_alive, helpers))), "processes were left"
    done = path.exists()
    assert not done or same_frames(read_depth_file(path), undisturbed)
    code, complaint = run(*REPLAY, "--out", path, *(["--force"] if done else []))
    assert code == 0, complaint
    assert [p.name for p in tmp_path.iterdir()] == ["depth.h5"], "something was left behind"
    assert same_frames(read_depth_file(path), undisturbed)
    seen = "the file was whole already" if done else "no file, and no process, is left; complete when run again"
    saw("`replay --out` is killed", "SIGKILL, then the same command again", seen)


@rounds(0)
def test_the_process_that_decodes_is_killed(tmp_path: Path, chance: Random):
    path = tmp_path / "depth.h5"
    process = start(*REPLAY, "--out", path, "--speed", "1")
    wait_for(lambda: (tmp_path.exists() and any(tmp_path.iterdir())) or process.poll() is not None)
    time.sleep(chance.uniform(0, 0.8))
    helpers = family(process.pid, "sources.worker")
    end_all(helpers)
    code, complaint = end(process)
    if code == 0:
        assert path.exists()
        seen = "had done its work already"
    else:
        assert code == 1
        assert "was ended by SIGKILL" in one_line_error(complaint)
        assert not any(tmp_path.iterdir())
        seen = "a one-line error, no file"
    saw("the process that decodes a recording is killed", "SIGKILL in a `replay --out`", seen)


@rounds(1)
def test_a_conversion_or_its_encoder_is_killed(tmp_path: Path, chance: Random):
    source, target = tmp_path / "long.h5", tmp_path / "out" / "long.aedat4"
    target.parent.mkdir()
    times = np.arange(0, 2_000_000, 2)
    events = make_events(times, times % 96, times % 72, times % 2)
    write_recording(source, [Batch(events, NO_TRIGGERS, 2_000_000)], 96, 72)
    process = start("convert", source, target)
    wait_for(lambda: any(target.parent.iterdir()) or process.poll() is not None)
    time.sleep(chance.uniform(0, 0.5))
    helpers = family(process.pid)
    victims = helpers if chance.random() < 0.5 else [psutil.Process(process.pid)]
    end_all(victims)
    code, complaint = end(process)
    if code == 1:
        assert "SIGKILL" in one_line_error(complaint)
    assert wait_for(lambda: not any(map(is_alive, helpers)))
    done = target.exists()
    assert run("convert", source, target, *(["--force"] if done else []))[0] == 0
    assert [p.name for p in target.parent.iterdir()] == [target.name]
    with open_recording(target) as recording:
        assert np.array_equal(recording.read()[0], events)
    seen = "the file was whole already" if done else "no file; complete when run again"
    saw("`convert` or one of its processes is killed", "SIGKILL, then the same command again", seen)


# Live recording

RECORDING = """
import sys, time
import numpy as np
from sweepdepth.capture.events import Batch, make_events, make_triggers
from sweepdepth.capture.recordings import LiveRecorder
with LiveRecorder(sys.argv[1], 96, 72) as recorder:
    print("recording", flush=True)
    at_us = time.monotonic_ns() // 1000
    while True:
        until_us = time.monotonic_ns() // 1000
        t = np.arange(at_us, until_us, 20)
        recorder.write(Batch(make_events(t, t % 96, t % 72, t % 2), make_triggers(t[:1], np.ones(1)), until_us))
        at_us = until_us
        time.sleep(0.01)
"""


@rounds(1)
def test_a_live_recording_is_killed(tmp_path: Path, chance: Random):
    """Events have the host's time, so the age of the last one is the length of the loss."""
    path = tmp_path / "live.h5"
    owner = subprocess.Popen([sys.executable, "-c", RECORDING, str(path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    assert owner.stdout.readline() == "recording\n"
    who = chance.choice(["both", "owner", "encoder"])
    (encoder,) = family(owner.pid, "sources.worker")
    time.sleep(chance.uniform(1.5, 4))
    killed_us = time.monotonic_ns() // 1000
    end_all([encoder] if who != "owner" else [])
    end_all([psutil.Process(owner.pid)] if who != "encoder" else [])
    if who == "encoder":
        time.sleep(0.5)
        assert owner.poll() is None, "the stream ended with its recording"
    owner.kill()
    owner.communicate()
    assert wait_for(lambda: not is_alive(encoder))
    with open_recording(path) as recording:
        events, triggers = recording.read()
    times = events["timestamp"]
    assert np.array_equal(events["x"], times % 96)
    assert np.all(np.diff(times) > 0)
    lost_s = (killed_us - int(times[-1])) * 1e-6
    # On a busy machine the writer itself may be late; on a quiet one it is a second at most.
    assert lost_s < 5
    assert len(triggers)
    seen = f"whole up to {'less than 1 s' if lost_s < 1 else 'some seconds, the machine being busy,'} before"
    saw("a live recording is killed", "SIGKILL of the program, the process that writes, or both", seen)


@rounds(1)
def test_live_or_one_of_its_processes_is_killed(tmp_path: Path, lens: str, chance: Random):
    """Live with recording and publishing: kills the command, the reading or the writing process."""
    (tmp_path / "lens.toml").write_text(lens)
    path, socket = tmp_path / "live.h5", tmp_path / "events"
    sender = subprocess.Popen([sys.executable, str(TESTS.parent / "examples" / "pipe_sender.py"), str(socket)])
    live = None
    try:
        assert wait_for(socket.exists)
        live = start(
            *("live", "--camera", f"pipe:{socket}", "--lens", tmp_path / "lens.toml", "--estimator", "polarity"),
            *("--record", path, "--publish", f"ipc://{tmp_path}/depth"),
        )
        with Subscriber(f"ipc://{tmp_path}/depth", topics=("depth",)) as subscriber:
            assert subscriber.receive(120) is not None
            time.sleep(chance.uniform(0, 2))
            helpers = family(live.pid, "sources.worker")
            reader = [p for p in helpers if '"camera"' in " ".join(p.cmdline())]
            writer = [p for p in helpers if '"recorder"' in " ".join(p.cmdline())]
            assert (len(reader), len(writer)) == (1, 1)
            who = chance.choice(["live", "reader", "writer"])
            end_all({"live": [psutil.Process(live.pid)], "reader": reader, "writer": writer}[who])
            if who != "live":
                while subscriber.receive(0) is not None:  # frames in transit
                    pass
                assert subscriber.receive(60) is not None, "depth ended, too"
                live.send_signal(signal.SIGINT)
                assert end(live)[0] == 130
        end(live)
        assert wait_for(lambda: not any(map(is_alive, helpers))), "processes were left"
    finally:
        sender.kill()
        sender.wait()
        if live is not None:
            live.kill()
    with open_recording(path) as recording:
        events, _ = recording.read()
    assert len(events) > 10_000
    seen = "its recording is readable" if who == "live" else "depth continued, its recording is readable"
    saw("`live --record` or one of its processes is killed", "SIGKILL of it, its reader, or its writer", seen)


# Generation

JOB = """
import sys
from scene_makers import run
if __name__ == "__main__":
    report = run(sys.argv[1], int(sys.argv[2]), maker="make", workers=2)
    print(report.made, len(report.skipped))
"""


@pytest.fixture(scope="module")
def whole_dataset(tmp_path_factory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    done = job(folder, folder / "data", 4)
    assert done.wait(LONG_S) == 0
    return {path.name: path.read_bytes() for path in (folder / "data").glob("*.h5")}


def job(folder: Path, data: Path, scenes: int) -> "subprocess.Popen[bytes]":
    script = folder / "job.py"
    script.write_text(JOB)
    path = os.pathsep.join([str(TESTS / "synth"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(script), str(data), str(scenes)],
        env=os.environ | {"PYTHONPATH": path, "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@rounds(0)
def test_a_generation_job_and_its_workers_are_killed(tmp_path: Path, whole_dataset: dict[str, bytes], chance: Random):
    """Kills at random moments until one hits the job itself, which is then run again."""
    data, killed = tmp_path / "data", {"a scene's process": 0, "a worker": 0, "the job": 0}
    process = job(tmp_path, data, 4)
    wait_for(lambda: family(process.pid, "worker_process") or process.poll() is not None)
    for _ in range(3):
        time.sleep(chance.uniform(0, 1.5))
        scenes = family(process.pid, "sweepdepth.synth.generation.worker_process")
        workers = [w for w in family(process.pid, "spawn_main") if w not in scenes]
        who = chance.choice(list(killed))
        victims = {"a scene's process": scenes, "a worker": workers, "the job": []}[who]
        if victims:
            end_all([chance.choice(victims)])
            killed[who] += 1
    helpers = family(process.pid)
    process.kill()
    process.wait()
    assert wait_for(lambda: not any(map(is_alive, helpers))), "processes were left"
    for path in open_dataset(data).scenes if (data / "dataset.json").exists() else ():
        read_scene(path)
    again = job(tmp_path, data, 4)
    assert again.wait(LONG_S) == 0
    assert {path.name: path.read_bytes() for path in data.glob("*.h5")} == whole_dataset
    assert sorted(p.name for p in data.iterdir()) == ["dataset.json", *sorted(whole_dataset)]
    saw(
        "a generation job is killed",
        "SIGKILL of scene processes, of workers, and then of the job; the same command again",
        "the same bytes as undisturbed, no process or file left",
    )


# Training

TRAINING = """
import sys
from pathlib import Path
from test_training import make_cases, settings
from sweepdepth.net.training import recorded, train
if __name__ == "__main__":
    sources, resume = recorded(make_cases(3)), "resume" in sys.argv
    train(sources, settings(steps=12, steps_per_epoch=2), Path(sys.argv[1]), resume=resume, threads=1, workers=0)
"""


def training(folder: Path, out: Path, *arguments: str) -> "subprocess.Popen[str]":
    script = folder / "train.py"
    script.write_text(TRAINING)
    path = os.pathsep.join([str(TESTS / "net"), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, str(script), str(out), *arguments],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.fixture(scope="module")
def whole_training(tmp_path_factory) -> Path:
    pytest.importorskip("lightning")
    folder = tmp_path_factory.mktemp("training")
    process = training(folder, folder / "run")
    said, _ = process.communicate(timeout=LONG_S)
    assert process.returncode == 0, said
    return folder / "run"


@rounds(0)
def test_a_training_run_is_killed(tmp_path: Path, whole_training: Path, chance: Random):
    """Repeatedly, and resumed each time; the final weights equal those of an undisturbed run."""
    from safetensors.numpy import load_file

    out, kills, steps = tmp_path / "run", 0, set()
    while True:
        process = training(tmp_path, out, *(["resume"] if (out / "settings.json").exists() else []))
        assert process.stdout is not None
        if kills < (chance.randint(1, 3) if kills else 1):
            process.stdout.readline()  # the training data
            first = process.stdout.readline()  # printed at the end of an epoch, about when the checkpoint is written
            time.sleep(chance.uniform(0, 0.5))
            process.kill()
            kills += 1
            steps.add(first.split(":")[0])
            process.communicate()
            continue
        said, _ = process.communicate(timeout=LONG_S)
        assert process.returncode == 0, said
        break
    expected, got = (load_file(folder / "weights.safetensors") for folder in (whole_training, out))
    assert expected.keys() == got.keys()
    assert all(np.allclose(expected[name], got[name], atol=3e-3) for name in expected)
    assert not list(out.glob(".*")), "something was left behind"
    saw(
        "a training run is killed", "SIGKILL one to three times, resumed each time", "the weights of an undisturbed run"
    )


# The wire


@rounds(0)
def test_a_publisher_is_killed(tmp_path: Path, chance: Random):
    address = f"ipc://{tmp_path}/depth"
    frames: list[DepthFrame] = []
    with Subscriber(address, topics=("depth",), follow=True) as subscriber:
        stop = threading.Event()

        def receive() -> None:
            while not stop.is_set():
                frame = subscriber.receive(0.1)
                if isinstance(frame, DepthFrame):
                    frames.append(frame)

        thread = threading.Thread(target=receive)
        thread.start()
        try:
            publishing = (*REPLAY, "--publish", address, "--wait-subscribers", 1)
            first = start(*publishing, "--speed", 1)
            assert wait_for(lambda: frames)
            time.sleep(chance.uniform(0, 0.6))
            first.kill()
            end(first)
            code, complaint = run(*publishing)
            assert code == 0, complaint
            assert wait_for(lambda: subscriber.ended)
        finally:
            stop.set()
            thread.join()
    streams = list(dict.fromkeys(frame.stream for frame in frames))
    assert len(streams) == 2
    assert subscriber.lost == subscriber.rejected == 0
    for stream in streams:
        numbers = [frame.seq for frame in frames if frame.stream == stream]
        assert numbers == list(range(len(numbers)))
    saw(
        "a publisher is killed",
        "SIGKILL in a stream, then started again",
        "the subscriber continued with the next stream",
    )


@rounds(1)
def test_a_subscriber_is_killed(tmp_path: Path, make_frame: FrameMaker, chance: Random):
    lens, out = tmp_path / "lens.toml", tmp_path / "depth.h5"
    with h5py.File(recording_path()) as file:
        text = str(file.attrs["lens_toml"])
        camera = Calibration.parse(text).camera
        lens.write_text(text)
    with Publisher("tcp://127.0.0.1:*") as publisher, Subscriber(publisher.address, topics=("depth",)) as other:
        victim = start("listen", publisher.address, "--out", out, "--lens", lens)
        assert publisher.wait_for_subscribers(2, LIMIT_S)
        until, sent = time.monotonic() + chance.uniform(0.2, 2), 0
        while sent < 20 or publisher.subscribers > 1:
            publisher.publish(make_frame(sent, camera.width, camera.height))
            frame = other.receive(30)
            assert frame is not None
            assert (frame.seq, frame.lost) == (sent, 0)
            sent += 1
            if time.monotonic() > until and victim.poll() is None:
                victim.kill()
            time.sleep(0.02)
            assert sent < 3000
        end(victim)
    assert not out.exists()
    saw("a subscriber is killed", "SIGKILL of `listen --out` in a stream", "the others lost nothing; no partial file")


# The lens

OWNER = """
import sys, time
from sweepdepth import Calibration
from sweepdepth.capture.lenses import OptotuneLens
lens = OptotuneLens(sys.argv[1], Calibration.load(sys.argv[2]))
lens.start()
print(lens._keeper.pid, flush=True)
time.sleep(120)
"""


@rounds(0)
def test_the_lens_keeper_or_its_owner_is_killed(tmp_path: Path, lens: str, chance: Random):
    pytest.importorskip("serial")
    from ..capture.lens_peer_process import CURRENTS, Peer

    (tmp_path / "lens.toml").write_text(lens + CURRENTS)
    peer = Peer(tmp_path / "ttyLENS")
    command = [sys.executable, "-c", OWNER, peer.port, str(tmp_path / "lens.toml")]
    owner = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert owner.stdout is not None
        keeper = int(owner.stdout.readline())
        peer.await_state(lambda s: s["mode"] == "T", LIMIT_S)
        time.sleep(chance.uniform(0, 1))
        who = chance.choice(["owner", "keeper", "owner soon after the keeper"])
        if who != "owner":
            os.kill(keeper, signal.SIGKILL)
            time.sleep(chance.uniform(0.0, 0.2) if who.startswith("owner soon") else 0)
        if who == "keeper":
            assert wait_for(lambda: set(family(owner.pid, "lenses.keeper")) - {keeper})
            peer.await_state(lambda s: s["mode"] == "T", LIMIT_S)
            seen = "another keeper took over, the lens went on"
        else:
            owner.kill()
            if who == "owner":
                peer.await_state(lambda s: s["rests"], LIMIT_S)
                seen = "the lens came to rest"
            else:
                with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as other:
                    assert other.stdout is not None
                    other.stdout.readline()
                    other.kill()
                peer.await_state(lambda s: s["rests"], LIMIT_S)
                seen = "the next to open the lens brought it to rest"
    finally:
        owner.kill()
        owner.communicate()
        wait_for(lambda: not any("lenses.keeper" in " ".join(p.cmdline()) for p in psutil.Process().children()), 5)
        peer.close()
    saw("the lens's keeper or its owner is killed", "SIGKILL of either, or of both", seen)
