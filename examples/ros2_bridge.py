"""Depth as ROS 2 messages: sensor_msgs/Image (32FC1), CameraInfo and PointCloud2.

    source /opt/ros/jazzy/setup.bash
    python3 ros2_bridge.py tcp://127.0.0.1:5560 --frame camera_optical_frame

Needs ROS 2's own Python with rclpy and sensor_msgs, and pyzmq and NumPy (for a stream with `--encoding zstd` also
python3-zstandard); nothing of sweepdepth, so that it may run on another machine and another version of Python. Depth is
in metres along Z, NaN where unknown (REP 118 and 117), in the optical frame: x right, y down, z forward (REP 103). All
conversions are plain functions that make dictionaries of the messages' fields; ROS is imported only to send them.

Topics: depth/image, depth/std (32FC1, 1/m, one standard deviation of the inverse depth), depth/camera_info and
depth/points, whose points are in the image's order and NaN where depth is unknown.
"""

import argparse
import json
import sys
from typing import Any

import numpy as np
import zmq

SCHEMA = "sweepdepth/1"
COMPRESSED = "<f4/diff/zigzag/shuffle/zstd"
FLOAT32 = 7
"""sensor_msgs/PointField.FLOAT32."""


def decode(parts: list[bytes]) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
    """Header and arrays of a depth message; None for other messages. See docs/wire.md."""
    if len(parts) < 2 or parts[0] != b"depth":
        return None
    header = json.loads(parts[1])
    infos = header.get("arrays", [])
    if header.get("schema") != SCHEMA or len(infos) != len(parts) - 2:
        return None
    arrays = {info["name"]: array_of(info, part) for info, part in zip(infos, parts[2:], strict=True)}
    return header, arrays


def array_of(info: dict[str, Any], part: bytes) -> np.ndarray:
    """One array from its buffer, compressed or not."""
    if info["dtype"] != COMPRESSED:
        return np.frombuffer(part, info["dtype"]).reshape(info["shape"])
    try:
        import zstandard
    except ImportError:
        sys.exit(
            "error: this stream is compressed, and Python's zstandard is not there: apt-get install python3-zstandard, "
            "or publish with --encoding none"
        )
    # The lowest bytes of all numbers, then their second bytes, and so on; the numbers are differences of neighbours.
    plain = zstandard.ZstdDecompressor().decompress(part)
    numbers = np.ascontiguousarray(np.frombuffer(plain, np.uint8).reshape(4, -1).T).view("<u4").reshape(info["shape"])
    numbers = (numbers >> 1) ^ -(numbers & 1)  # the sign is in the lowest bit
    return np.cumsum(np.cumsum(numbers, axis=-1, dtype="<u4"), axis=-2, dtype="<u4").view("<f4")


def stamp(header: dict[str, Any], frame_id: str) -> dict[str, Any]:
    """std_msgs/Header: the host's time at which the sweep ended.

    That is when the message was published less the age that the sweep had then, or, where the stream does not tell its
    age (a recording), less the time that depth took.
    """
    latency = header.get("latency_ms", {})
    ms = next((latency[stage] for stage in ("age", "total") if latency.get(stage) is not None), 0.0)
    ns = max(0, int(header["t_publish_ns"]) - round(1e6 * ms))
    return {"stamp": {"sec": ns // 10**9, "nanosec": ns % 10**9}, "frame_id": frame_id}


def image(
    header: dict[str, Any],
    array: np.ndarray,  # (H, W) float32
    frame_id: str,
) -> dict[str, Any]:
    """sensor_msgs/Image of one array, encoding 32FC1."""
    height, width = array.shape
    return {
        "header": stamp(header, frame_id),
        "height": height,
        "width": width,
        "encoding": "32FC1",
        "is_bigendian": 0,
        "step": 4 * width,
        "data": np.ascontiguousarray(array, "<f4").tobytes(),
    }


def camera_info(header: dict[str, Any], frame_id: str) -> dict[str, Any]:
    """sensor_msgs/CameraInfo: ROS puts pixel centres at whole numbers, sweepdepth half a pixel further."""
    camera = header["camera"]
    fx, fy, cx, cy = camera["fx"], camera["fy"], camera["cx"] - 0.5, camera["cy"] - 0.5
    return {
        "header": stamp(header, frame_id),
        "height": camera["height"],
        "width": camera["width"],
        "distortion_model": "plumb_bob",
        "d": [float(k) for k in camera.get("distortion") or [0.0] * 5],
        "k": [fx, 0.0, cx, 0.0, fy, cy, 0.0, 0.0, 1.0],
        "r": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0],
        "p": [fx, 0.0, cx, 0.0, 0.0, fy, cy, 0.0, 0.0, 0.0, 1.0, 0.0],
    }


def rays(camera: dict[str, Any]) -> np.ndarray:  # (H, W, 2)
    """x/z and y/z of every pixel's centre, lens distortion undone."""
    x = (np.arange(camera["width"]) + 0.5 - camera["cx"]) / camera["fx"]
    y = (np.arange(camera["height"]) + 0.5 - camera["cy"]) / camera["fy"]
    seen = np.stack(np.meshgrid(x, y), axis=-1)
    k1, k2, p1, p2, k3 = camera.get("distortion") or [0.0] * 5
    ray = seen.copy()
    for _ in range(20):  # the usual fixed point; OpenCV's undistortPoints does the same
        u, v = ray[..., 0], ray[..., 1]
        r2 = u * u + v * v
        radial = 1 + r2 * (k1 + r2 * (k2 + r2 * k3))
        shift = np.stack([2 * p1 * u * v + p2 * (r2 + 2 * u * u), p1 * (r2 + 2 * v * v) + 2 * p2 * u * v], axis=-1)
        ray = (seen - shift) / radial[..., None]
    return ray


def point_cloud(
    header: dict[str, Any],
    depth: np.ndarray,  # (H, W) metres along Z, NaN where unknown
    frame_id: str,
) -> dict[str, Any]:
    """sensor_msgs/PointCloud2 in the image's order: x, y, z in metres as float32, NaN where unknown."""
    height, width = depth.shape
    points = np.empty((height, width, 3), "<f4")
    points[..., :2] = rays(header["camera"]) * depth[..., None]
    points[..., 2] = depth
    return {
        "header": stamp(header, frame_id),
        "height": height,
        "width": width,
        "fields": [
            {"name": name, "offset": 4 * i, "datatype": FLOAT32, "count": 1} for i, name in enumerate(("x", "y", "z"))
        ],
        "is_bigendian": False,
        "point_step": 12,
        "row_step": 12 * width,
        "data": points.tobytes(),
        "is_dense": bool(np.isfinite(depth).all()),
    }


def fill(message: Any, fields: dict[str, Any], kinds: dict[str, Any] | None = None) -> Any:
    """Set a message's fields; `kinds` are the message classes of the fields that are lists."""
    for name, value in fields.items():
        if isinstance(value, dict):
            fill(getattr(message, name), value, kinds)
        elif kinds and name in kinds:
            setattr(message, name, [fill(kinds[name](), item) for item in value])
        else:
            setattr(message, name, value)
    return message


def bridge(address: str, frame_id: str) -> None:
    """Receive depth and publish it until interrupted; imports ROS."""
    try:
        import rclpy  # pyright: ignore[reportMissingImports]
        from rclpy.qos import qos_profile_sensor_data  # pyright: ignore[reportMissingImports]
        from sensor_msgs.msg import (  # pyright: ignore[reportMissingImports]
            CameraInfo,
            Image,
            PointCloud2,
            PointField,
        )
    except ImportError as error:
        sys.exit(
            f"error: ros2_bridge needs ROS 2's Python packages, and {error.name} is not there: source "
            "/opt/ros/DISTRO/setup.bash, and run this with ROS's python3"
        )
    subscriber = zmq.Context.instance().socket(zmq.SUB)
    subscriber.set_hwm(2)  # only the newest depth matters
    subscriber.subscribe(b"depth")
    subscriber.connect(address)
    rclpy.init()
    node = rclpy.create_node("sweepdepth")
    topics = {"image": Image, "std": Image, "camera_info": CameraInfo, "points": PointCloud2}
    publish = {
        name: node.create_publisher(kind, f"depth/{name}", qos_profile_sensor_data).publish
        for name, kind in topics.items()
    }
    try:
        while rclpy.ok():
            if not subscriber.poll(200):
                continue
            message = decode(subscriber.recv_multipart())
            if message is None:
                continue
            header, arrays = message
            publish["image"](fill(Image(), image(header, arrays["depth"], frame_id)))
            publish["std"](fill(Image(), image(header, arrays["std"], frame_id)))
            publish["camera_info"](fill(CameraInfo(), camera_info(header, frame_id)))
            publish["points"](
                fill(PointCloud2(), point_cloud(header, arrays["depth"], frame_id), {"fields": PointField})
            )
    except KeyboardInterrupt:
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("address", help="of the publisher, such as tcp://127.0.0.1:5560")
    parser.add_argument("--frame", default="camera_optical_frame", help="frame_id of all messages")
    options = parser.parse_args()
    bridge(options.address, options.frame)


if __name__ == "__main__":
    main()
