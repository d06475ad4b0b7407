"""A recording becomes a depth file, and frames that a Python and a Node.js subscriber receive."""

import json
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import h5py
import numpy as np
import pytest

from sweepdepth import Calibration, CalibrationError, Subscriber, SyncError, open_recording
from sweepdepth.capture.events import Batch
from sweepdepth.capture.files.depth_file import read_depth_file
from sweepdepth.capture.recordings import write_recording
from sweepdepth.capture.sweeps import Direction
from sweepdepth.net import metrics
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.outputs import Publishing
from sweepdepth.stream.replay import replay
from sweepdepth.stream.run_options import RunOptions
from sweepdepth.stream.wire.messages import DepthFrame

NODE = Path(sys.executable).with_name("node")
NODE_CLIENT = Path(__file__).parents[2] / "examples" / "node" / "subscriber.mjs"


def bundled(tmp_path):
    """The bundled recording as (recording, calibration, truth)."""
    with h5py.File(recording_path()) as file:
        truth = np.asarray(file["depth"])
        calibration = Calibration.parse(str(file.attrs["lens_toml"]))
    return recording_path(), calibration, truth


def independent(folder, name):
    return (
        folder / f"{name}.aedat4",
        Calibration.load(folder / f"{name}.toml"),
        np.load(folder / f"{name}_depth.npy"),
    )


@pytest.mark.parametrize("name", ["bundled", "still_life", "breathing", "delayed", "noisy"])
def test_python_and_node_receive_what_the_depth_file_holds(tmp_path, request, name):
    path, calibration, truth = (
        bundled(tmp_path) if name == "bundled" else independent(request.getfixturevalue("shared_sweeps"), name)
    )
    address = f"ipc://{tmp_path}/depth"
    heard: list[DepthFrame] = []
    node = subprocess.Popen([NODE, NODE_CLIENT, address, "--json", "4"], stdout=subprocess.PIPE, text=True)

    def listen():
        with Subscriber(address, topics=("depth",), timeout=60) as frames:
            for _ in range(4):
                frame = frames.receive(60)
                assert isinstance(frame, DepthFrame)
                heard.append(frame)

    listener = threading.Thread(target=listen)
    listener.start()
    with open_recording(path, calibration) as recording:
        publishing = Publishing(address, wait_subscribers=2)
        summary = replay(recording, RunOptions("polarity"), out=tmp_path / "depth.h5", publishing=publishing)
    listener.join(60)
    text, _ = node.communicate(timeout=60)

    frames = read_depth_file(tmp_path / "depth.h5")
    assert summary.n_frames == len(frames) == len(heard) == 4
    np.testing.assert_array_equal(frames.depth, [frame.depth for frame in heard])
    np.testing.assert_array_equal(frames.std, [frame.std for frame in heard])
    np.testing.assert_array_equal(frames.direction, [1, -1, 1, -1])
    lines = [line for line in map(json.loads, text.splitlines()) if "depth" in line or line.get("topic") == "depth"]
    assert len(lines) == 4
    known = [int(np.isfinite(depth).sum()) for depth in frames.depth]
    assert all(str(count) in json.dumps(line) for count, line in zip(known, lines, strict=True))
    if name not in ("breathing",):  # there the image moves more than it blurs, and next to nothing is answered
        scores = [metrics.score(d, truth, calibration, s) for d, s in zip(frames.depth, frames.std, strict=True)]
        assert metrics.mean(scores).median_range < 0.08


def test_the_stream_alone_gives_the_depth_that_its_triggers_gave(tmp_path):
    """Without triggers, with sync = "events" and a given first direction, sweeps agree within a few milliseconds."""
    path, calibration, truth = bundled(tmp_path)
    blind = calibration.model_copy(update={"sweep": calibration.sweep.model_copy(update={"sync": "events"})})
    with open_recording(path) as recording:
        batches = [Batch(batch.events, batch.triggers[:0], batch.end_us) for batch in recording]
    write_recording(tmp_path / "bare.h5", batches, calibration.camera.width, calibration.camera.height)
    with (
        open_recording(tmp_path / "bare.h5", blind) as recording,
        pytest.raises(SyncError, match="--first-direction"),
    ):
        replay(recording, out=tmp_path / "depth.h5")
    assert not (tmp_path / "depth.h5").exists()

    out, first = tmp_path / "depth.h5", Direction.FAR_TO_NEAR
    with open_recording(tmp_path / "bare.h5", blind) as recording:
        replay(recording, RunOptions("polarity", first_direction=first), out=out)
    frames = read_depth_file(tmp_path / "depth.h5")
    assert len(frames) >= 3
    scores = [metrics.score(d, truth, calibration, s) for d, s in zip(frames.depth, frames.std, strict=True)]
    assert metrics.mean(scores).median_range < 0.06


def test_the_shipped_network_is_the_default_and_beats_a_constant(tmp_path):
    path, calibration, truth = bundled(tmp_path)
    with open_recording(path) as recording:
        replay(recording, out=tmp_path / "depth.h5")
    frames = read_depth_file(tmp_path / "depth.h5")
    assert frames.estimator == "net"
    assert np.isfinite(frames.depth).all()
    scores = [metrics.score(d, truth, calibration, s) for d, s in zip(frames.depth, frames.std, strict=True)]
    assert metrics.mean(scores).median_range < 0.1
    assert 0.3 < metrics.mean(scores).std_ratio < 3


def test_without_any_calibration_there_is_no_depth(tmp_path):
    shutil.copy(recording_path(), tmp_path / "bare.h5")
    with h5py.File(tmp_path / "bare.h5", "a") as file:
        del file.attrs["lens_toml"]
    with open_recording(tmp_path / "bare.h5") as recording, pytest.raises(CalibrationError, match="--lens"):
        replay(recording, out=tmp_path / "depth.h5")
    assert not (tmp_path / "depth.h5").exists()
