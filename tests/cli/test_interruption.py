"""Ctrl-C and SIGTERM end a command in the same way: its file is completed, and its content reported."""

import json
import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import h5py
import pytest

from sweepdepth import Subscriber, open_recording
from sweepdepth.capture.files.depth_file import read_depth_file
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.wire.messages import DepthFrame, StatusFrame
from sweepdepth.stream.wire.publisher import Publisher

from ..stream.conftest import FrameMaker

ROOT = Path(__file__).parents[2]
COMMAND = Path(sys.executable).with_name("sweepdepth")
BOTH = pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda n: n.name)


def start(*arguments: object, **options: object) -> "subprocess.Popen[str]":
    command = [str(COMMAND), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options)  # type: ignore[call-overload]


@BOTH
def test_interrupted_listen_completes_its_file(tmp_path: Path, make_frame: FrameMaker, lens: str, number):
    (tmp_path / "lens.toml").write_text(lens)
    out, address = tmp_path / "heard.h5", f"ipc://{tmp_path}/depth"
    process = start("listen", address, "--lens", tmp_path / "lens.toml", "--out", out)
    with Publisher(address) as publisher:
        assert publisher.wait_for_subscribers(1, timeout=120)
        for k in range(3):
            publisher.publish(make_frame(k, 96, 72))
        assert process.stdout is not None
        for _ in range(3):
            assert process.stdout.readline().startswith("topic depth")
        process.send_signal(number)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"3 depth frames in {out}" in said
    assert len(read_depth_file(out)) == 3


@BOTH
def test_interrupted_replay_completes_its_file(tmp_path: Path, number):
    out = tmp_path / "depth.h5"
    process = start("replay", recording_path(), "--out", out, "--speed", "0.05", "--estimator", "polarity")
    deadline = time.monotonic() + 120
    partial: list[Path] = []
    while time.monotonic() < deadline and process.poll() is None:
        partial = list(tmp_path.glob(".*.partial.h5"))
        if partial and partial[0].stat().st_size > 20_000:  # a frame or more
            break
        time.sleep(0.05)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert f"{len(read_depth_file(out))} frames in {out}" in said


def test_a_replay_without_subscribers_says_so_and_ends_at_ctrl_c(tmp_path: Path):
    arguments = ("--publish", f"ipc://{tmp_path}/depth", "--wait-subscribers", "2", "--estimator", "polarity")
    process = start("replay", recording_path(), *arguments)
    assert process.stderr is not None
    assert process.stderr.readline().startswith("publishing on ipc://")
    assert process.stderr.readline() == "waiting for 2 subscribers\n"
    process.send_signal(signal.SIGINT)
    out, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopped: 0 frames" in said
    assert "uncertain" not in out + said


@pytest.mark.slow
@BOTH
def test_interrupted_live_completes_recording_and_stream(tmp_path: Path, number):
    """Camera, runtime and subscriber are processes of their own; the signal goes to the runtime alone."""
    examples = ROOT / "examples"
    record, address = tmp_path / "run.h5", f"ipc://{tmp_path}/depth"
    sender = subprocess.Popen([sys.executable, str(examples / "pipe_sender.py"), str(tmp_path / "events.sock")])
    arguments = ["--lens", examples / "pipe_sender.toml", "--publish", address, "--record", record, "--json"]
    try:
        with Subscriber(address) as frames:
            process = start("live", "--camera", f"pipe:{tmp_path}/events.sock", *arguments, "--estimator", "polarity")
            n_depth, ended = 0, False
            for frame in frames:  # which ends with the stream
                if isinstance(frame, DepthFrame):
                    n_depth += 1
                    if n_depth == 3:
                        process.send_signal(number)
                ended = ended or (isinstance(frame, StatusFrame) and frame.end)
            out, said = process.communicate(timeout=100)
    finally:
        sender.kill()
        sender.wait()
    assert process.returncode == 130, said
    assert ended
    summary = json.loads(out)
    assert summary["frames"] >= n_depth >= 3
    with open_recording(record) as recording:
        events, triggers = recording.read()
    assert summary["recording"] == {
        "path": str(record),
        "events": len(events),
        "dropped_events": 0,
        "failure": None,
    }
    assert len(events) >= summary["events"]
    assert len(triggers) >= 4


@BOTH
def test_an_interrupted_conversion_leaves_nothing(tmp_path: Path, number):
    process = start("convert", recording_path(), tmp_path / "out.csv", "--lossy", start_new_session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.iterdir()):
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    assert "Traceback" not in said
    if process.returncode == 130:  # else it was done already
        assert list(tmp_path.iterdir()) == []


def test_workers_leave_sigterm_to_their_owner(tmp_path: Path):
    """A service manager signals all processes of a group; the decoder must not end before its owner."""
    import psutil

    out = tmp_path / "depth.h5"
    process = start("replay", recording_path(), "--out", out, "--speed", "0.5", "--estimator", "polarity")
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not list(tmp_path.iterdir()):
        time.sleep(0.05)
    for worker in psutil.Process(process.pid).children(recursive=True):
        worker.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    with h5py.File(out) as file:
        assert len(file["depth"]) >= 4  # pyright: ignore[reportArgumentType]


@pytest.mark.blender
@pytest.mark.skipif(find_spec("bpy") is None, reason="Blender's Python module is not installed")
def test_a_terminated_generation_reports_its_progress_without_tracebacks(tmp_path: Path):
    """SIGTERM to all its processes, as a service manager sends it."""
    (tmp_path / "small.toml").write_text("sweeps = 2\n[camera]\nwidth = 48\nheight = 36\n")
    arguments = ("synth", "render", "--out", "data", "--scenes", "40", "--workers", "1", "--config", "small.toml")
    process = start(*arguments, cwd=tmp_path, start_new_session=True)
    deadline = time.monotonic() + 200
    while time.monotonic() < deadline and not list(tmp_path.glob("data/*.h5")):
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGTERM)
    _, said = process.communicate(timeout=90)
    there = len(list(tmp_path.glob("data/scene_*.h5")))
    assert process.returncode == 130, said
    assert f"stopped: {there} of 40 scenes in data; run the same command again" in said
    assert "Traceback" not in said


def test_a_signal_while_a_kernel_is_compiled_ends_the_command_without_a_traceback():
    """numba's compiler calls back into Python, where an exception would be printed, dropped, and spoil the kernel."""
    program = """
import os, signal, time
import numba, numba.core.codegen as codegen
from sweepdepth.cli.interruption import ExitWhenInterrupted

def kill(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)

codegen.JITCodeLibrary._object_compiled_hook = kill
codegen.CodeLibrary._object_compiled_hook = kill
ExitWhenInterrupted()
print(numba.njit(lambda x: x + 1)(1), flush=True)
time.sleep(60)
print("not interrupted")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stderr) == (130, "")
    assert "not interrupted" not in done.stdout


@pytest.mark.parametrize(
    "drop",
    [
        "ctypes.CFUNCTYPE(None)(kill)()",  # printed and dropped
        "weakref.ref(set(), kill)",  # the same
        "[type('Closed', (), {'__del__': kill})()].clear()",  # raised after the destructor
        "convert(kill)",
    ],
)
def test_a_signal_whose_exception_is_dropped_ends_the_command_all_the_same(drop: str):
    program = f"""
import ctypes, os, signal, time, weakref
from sweepdepth.cli.interruption import ExitWhenInterrupted

def kill(*arguments):
    os.kill(os.getpid(), signal.SIGTERM)

def convert(action):
    try:
        try:
            action()
        except BaseException as error:
            raise SystemError("returned a result with an exception set") from error
    except Exception as error:
        print("is damaged:", error)

ExitWhenInterrupted()
kept = {drop}
time.sleep(60)
print("not interrupted")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert done.returncode == 130, done.stderr
    assert "not interrupted" not in done.stdout


def test_the_cleanup_after_a_signal_is_not_interrupted():
    program = """
import os, signal, time
from sweepdepth.cli.interruption import ExitWhenInterrupted

ExitWhenInterrupted()
try:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(60)
finally:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(0.5)
    print("cleaned up")
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=200)
    assert (done.returncode, done.stdout, done.stderr) == (130, "cleaned up\n", "")


def test_a_partial_file_that_nobody_closed_is_deleted_at_exit(tmp_path: Path):
    program = """
import sys
from sweepdepth.capture.atomic import PartialFile

opened = PartialFile(sys.argv[1], force=False)
assert opened.path.exists()
sys.exit(130)
"""
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "out.csv")], timeout=120)
    assert done.returncode == 130
    assert list(tmp_path.iterdir()) == []
