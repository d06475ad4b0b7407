"""The ROS 2 bridge: its messages follow REP 117 and 118; tested without ROS, on frames of a real publisher."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import zmq

from sweepdepth.capture.files.export import points
from sweepdepth.capture.sweeps import Direction
from sweepdepth.stream.wire.compression import ENCODINGS
from sweepdepth.stream.wire.messages import CameraInfo, DepthFrame, StreamInfo
from sweepdepth.stream.wire.publisher import Publisher

SCRIPT = Path(__file__).parents[2] / "examples" / "ros2_bridge.py"
WIDTH, HEIGHT = 32, 24
DISTORTION = (-0.2, 0.05, 0.001, -0.002, 0.01)


@pytest.fixture(scope="module")
def bridge():
    spec = importlib.util.spec_from_file_location("ros2_bridge", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def depth() -> np.ndarray:
    depth = np.random.default_rng(0).uniform(0.5, 2, (HEIGHT, WIDTH)).astype(np.float32)
    depth[3, 5] = depth[0, 0] = np.nan
    return depth


@pytest.fixture(scope="module", params=ENCODINGS)
def received(request, bridge, depth):
    """Header and arrays of a frame sent over a real socket."""
    camera = CameraInfo(width=WIDTH, height=HEIGHT, fx=40.0, fy=42.0, cx=16.5, cy=11.5, distortion=DISTORTION)
    info = StreamInfo(camera=camera, far_diopters=0.5, near_diopters=2.5, estimator="polarity")
    frame = DepthFrame(depth.copy(), depth / 10, info, 1000, 2000, Direction.FAR_TO_NEAR, 0.5, {"total": 30.0})
    with (
        Publisher("tcp://127.0.0.1:*", encoding=request.param) as publisher,
        zmq.Context() as context,
        context.socket(zmq.SUB) as socket,
    ):
        socket.subscribe(b"depth")
        socket.connect(publisher.address)
        assert publisher.wait_for_subscribers(1, timeout=20)
        publisher.publish(frame)
        assert socket.poll(20_000)
        message = bridge.decode(socket.recv_multipart())
    assert message is not None
    return message


def test_the_image_is_metres_as_32fc1_with_nan_where_unknown(bridge, received, depth):
    header, arrays = received
    image = bridge.image(header, arrays["depth"], "optical")
    assert (image["encoding"], image["width"], image["height"], image["step"]) == ("32FC1", WIDTH, HEIGHT, 4 * WIDTH)
    assert image["header"]["frame_id"] == "optical"
    np.testing.assert_array_equal(np.frombuffer(image["data"], "<f4").reshape(HEIGHT, WIDTH), depth)


def test_the_stamp_is_when_the_sweep_ended(bridge, received):
    header, _ = received
    stamp = bridge.stamp(header, "optical")["stamp"]
    assert stamp["sec"] * 10**9 + stamp["nanosec"] == header["t_publish_ns"] - 30_000_000
    aged = header | {"latency_ms": {"total": 30.0, "age": 41.5}}
    stamp = bridge.stamp(aged, "optical")["stamp"]
    assert stamp["sec"] * 10**9 + stamp["nanosec"] == header["t_publish_ns"] - 41_500_000


def test_camera_info_has_pixel_centres_at_whole_numbers(bridge, received):
    info = bridge.camera_info(received[0], "optical")
    assert info["k"] == [40.0, 0, 16.0, 0, 42.0, 11.0, 0, 0, 1]
    assert info["p"] == [40.0, 0, 16.0, 0, 0, 42.0, 11.0, 0, 0, 0, 1, 0]
    assert info["d"] == list(DISTORTION)
    assert (info["distortion_model"], info["width"], info["height"]) == ("plumb_bob", WIDTH, HEIGHT)


def test_the_cloud_has_the_same_points_as_sweepdepth(bridge, received, depth):
    header, arrays = received
    cloud = bridge.point_cloud(header, arrays["depth"], "optical")
    assert [(f["name"], f["offset"], f["datatype"]) for f in cloud["fields"]] == [("x", 0, 7), ("y", 4, 7), ("z", 8, 7)]
    assert (cloud["point_step"], cloud["row_step"], cloud["is_dense"]) == (12, 12 * WIDTH, False)
    xyz = np.frombuffer(cloud["data"], "<f4").reshape(HEIGHT, WIDTH, 3)
    assert np.isnan(xyz[3, 5]).all()
    camera = CameraInfo(**header["camera"] | {"distortion": DISTORTION})
    np.testing.assert_allclose(xyz[np.isfinite(depth)], points(depth, camera), rtol=1e-5, atol=1e-6)


def test_fields_are_set_in_messages(bridge, received):
    """Message classes like those that ROS generates: nested messages exist, lists contain messages."""
    message = SimpleNamespace(header=SimpleNamespace(stamp=SimpleNamespace(sec=0, nanosec=0), frame_id=""))
    header, arrays = received
    fields = bridge.point_cloud(header, arrays["depth"], "optical")
    filled = bridge.fill(message, fields, {"fields": SimpleNamespace})
    assert filled.header.frame_id == "optical"
    stamp = filled.header.stamp.sec * 10**9 + filled.header.stamp.nanosec
    assert 0 <= header["t_publish_ns"] - stamp < 10**9  # the sweep's end, a little before
    assert [field.name for field in filled.fields] == ["x", "y", "z"]
    assert filled.data == fields["data"]


def test_other_messages_are_skipped(bridge, received):
    assert bridge.decode([b"status", b"{}"]) is None
    assert bridge.decode([b"depth", b'{"schema": "sweepdepth/9"}']) is None


@pytest.mark.skipif(importlib.util.find_spec("rclpy") is not None, reason="ROS is here")
def test_a_missing_ros_is_reported():
    run = subprocess.run([sys.executable, str(SCRIPT), "tcp://127.0.0.1:1"], capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "rclpy is not there" in run.stderr
    assert "setup.bash" in run.stderr
    assert "Traceback" not in run.stderr
