"""Depth frames between processes: rate, latency, cost of publishing, and memory with a subscriber that never reads."""

import argparse
import multiprocessing
import tempfile
import time
from multiprocessing.queues import SimpleQueue

import numpy as np
import psutil
import zmq
from rich.console import Console
from rich.table import Table

from sweepdepth.capture.sweeps import Direction
from sweepdepth.stream.wire.messages import CameraInfo, DepthFrame, StreamInfo
from sweepdepth.stream.wire.publisher import Publisher
from sweepdepth.stream.wire.subscriber import Subscriber

SIZES = [(346, 260), (640, 480)]
IN_FLIGHT = 4
LIVE_FPS = 50


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement")
    seconds = parser.parse_args().seconds

    table = Table(title="depth and std, float32, publisher and subscriber in two processes of one machine")
    for name in ("transport", "frame", "frames/s", "MB/s", "of memcpy", "latency p50", "p99", "publish() p50", "p99"):
        table.add_column(name, justify="right" if name != "transport" else "left")
    with tempfile.TemporaryDirectory() as folder:
        for address in ("tcp://127.0.0.1:*", f"ipc://{folder}/socket"):
            for width, height in SIZES:
                table.add_row(address.partition(":")[0], f"{width}×{height}", *measure(address, width, height, seconds))
    console = Console(width=110)
    console.print(table)
    console.print(
        f"Rates with {IN_FLIGHT} frames under way at most, so that none is lost; latency at {LIVE_FPS} frames/s, from "
        "publish() to a checked frame in the other process.\n" + stuck_subscriber(n_frames=300)
    )


def make_frame(width: int, height: int) -> DepthFrame:
    camera = CameraInfo(width=width, height=height, fx=648.6, fy=648.6, cx=width / 2, cy=height / 2)
    info = StreamInfo(camera=camera, far_diopters=0.5, near_diopters=2.5, estimator="polarity")
    depth, std = np.random.default_rng(0).uniform(0.4, 2.0, (2, height, width)).astype(np.float32)
    return DepthFrame(depth, std, info, 0, 200_000, Direction.FAR_TO_NEAR, 0.9, {"bin": 1.0, "estimate": 9.0})


def measure(address: str, width: int, height: int, seconds: float) -> list[str]:
    """Values of one row of the table, from frames/s on."""
    frame = make_frame(width, height)
    n_bytes = frame.depth.nbytes + frame.std.nbytes
    spawn = multiprocessing.get_context("spawn")
    reports: SimpleQueue[float] = spawn.SimpleQueue()
    with Publisher(address) as publisher:
        process = spawn.Process(target=receive, args=(publisher.address, reports))
        process.start()
        publisher.wait_for_subscribers(1)
        rate = throughput(publisher, frame, reports, seconds)
        latency_ms, publish_us = latency(publisher, frame, reports, seconds)
        memcpy = memcpy_rate(frame)
    process.join()
    return [
        f"{rate:.0f}",
        f"{rate * n_bytes / 1e6:.0f}",
        f"{100 * rate * n_bytes / memcpy:.0f} %",
        *(f"{value:.2f} ms" for value in np.percentile(latency_ms, (50, 99))),
        *(f"{value:.0f} µs" for value in np.percentile(publish_us, (50, 99))),
    ]


def receive(address: str, reports: SimpleQueue[float]) -> None:
    """The other process: report the latency of each depth frame in ms."""
    with Subscriber(address, topics=("depth",)) as subscriber:
        for frame in subscriber:
            reports.put((time.time_ns() - frame.t_publish_ns) / 1e6)


def throughput(publisher: Publisher, frame: DepthFrame, reports: SimpleQueue[float], seconds: float) -> float:
    """Frames per second, limited by the receiver."""
    started = time.perf_counter()
    sent = received = 0
    while time.perf_counter() - started < seconds:
        while sent - received < IN_FLIGHT:
            publisher.publish(frame)
            sent += 1
        reports.get()
        received += 1
    rate = received / (time.perf_counter() - started)
    for _ in range(sent - received):
        reports.get()
    return rate


def latency(
    publisher: Publisher, frame: DepthFrame, reports: SimpleQueue[float], seconds: float
) -> tuple[list[float], list[float]]:
    """Latency in ms to the subscriber and time in µs in `publish`, for each frame at a live rate."""
    latency_ms: list[float] = []
    publish_us: list[float] = []
    for _ in range(round(seconds * LIVE_FPS)):
        started = time.perf_counter()
        publisher.publish(frame)
        publish_us.append(1e6 * (time.perf_counter() - started))
        latency_ms.append(reports.get())
        time.sleep(max(0.0, started + 1 / LIVE_FPS - time.perf_counter()))
    return latency_ms, publish_us


def memcpy_rate(frame: DepthFrame) -> float:
    """Bytes per second of copying both arrays repeatedly to the same place."""
    target = np.empty_like(frame.depth), np.empty_like(frame.std)
    times: list[float] = []
    for _ in range(200):
        started = time.perf_counter()
        np.copyto(target[0], frame.depth)
        np.copyto(target[1], frame.std)
        times.append(time.perf_counter() - started)
    return (frame.depth.nbytes + frame.std.nbytes) / float(np.median(times))


def stuck_subscriber(n_frames: int) -> str:
    """Publish different frames to a subscriber that never reads, and report the memory used."""
    template = make_frame(640, 480)
    with Publisher("tcp://127.0.0.1:*") as publisher, zmq.Context() as context, context.socket(zmq.SUB) as stuck:
        stuck.setsockopt(zmq.RCVHWM, 1)
        stuck.subscribe("depth")
        stuck.connect(publisher.address)
        publisher.wait_for_subscribers(1)
        process = psutil.Process()
        before = highest = process.memory_info().rss
        for _ in range(n_frames):
            depth, std = template.depth.copy(), template.std.copy()
            publisher.publish(DepthFrame(depth, std, template.info, 0, 1, template.direction))
            highest = max(highest, process.memory_info().rss)
            time.sleep(0.002)
        after = process.memory_info().rss
        stuck.close(linger=0)
    total = n_frames * (template.depth.nbytes + template.std.nbytes)
    return (
        f"To a subscriber that never reads: {n_frames} frames of 640×480, {total / 1e6:.0f} MB in all. The memory "
        f"of both ends grew by {(highest - before) / 1e6:.0f} MB at most, {(after - before) / 1e6:.0f} MB in the end."
    )


if __name__ == "__main__":
    main()
