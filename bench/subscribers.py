"""Many subscribers, one of them over a slow link: the frames that it gets, and its effect on the others.

Runs in a network namespace whose loopback is limited for the slow subscriber (by Linux's htb) and unlimited for the
others. Ages are the time from publishing to a validated frame in the subscriber.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
import psutil

from sweepdepth.stream.outputs import FRESH
from sweepdepth.stream.wire.compression import ENCODINGS, Encoding
from sweepdepth.stream.wire.messages import CameraInfo, DepthFrame, StatusFrame, StreamInfo
from sweepdepth.stream.wire.publisher import Publisher
from sweepdepth.stream.wire.subscriber import Subscriber

INSIDE = "SWEEPDEPTH_BENCH_NAMESPACE"
"""Set if this already runs in its namespace."""

SETTLING_S = 3.0


@dataclass
class Received:
    """Frames that one subscriber received in one phase."""

    ages_ms: list[float] = field(default_factory=list)
    lost: int = 0  # missing messages by gaps in `seq`


@dataclass
class Phase:
    """One row: numbers of published and received frames."""

    name: str
    published: int = 0
    fast: list[Received] = field(default_factory=list)
    slow: Received | None = None
    drops: dict[str, int] = field(default_factory=dict)  # counted by the publisher
    frame_bytes: int = 0
    publish_ms: float = 0.0  # median


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=20, help="the slow one among them")
    parser.add_argument("--size", default="640x480", help="of the depth, in pixels")
    parser.add_argument("--rate", type=float, default=5.0, help="depth frames a second")
    parser.add_argument("--link", default="10mbit", help="rate of the slow link, as tc understands it")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each phase")
    parser.add_argument("--encodings", nargs="+", choices=ENCODINGS, default=["none"])
    parser.add_argument("--json", action="store_true", help="print all ages as JSON instead of tables")
    options = parser.parse_args()
    if INSIDE not in os.environ:
        why = why_not()
        if why:
            sys.exit(f"error: {why}")
        command = [*namespace(), sys.executable, "-m", "bench.subscribers", *sys.argv[1:]]
        sys.exit(subprocess.call(command, env=os.environ | {INSIDE: "1"}))
    shape(options.link)
    width, height = map(int, options.size.split("x"))
    frame, found = real_frame(width, height), {}
    if not options.json:
        print_head(options)
    for encoding in options.encodings:
        phases = measure(encoding, frame, options)
        found[encoding] = [asdict(phase) for phase in phases]
        if not options.json:
            print_phases(encoding, phases, options)
    if options.json:
        print(json.dumps(found))


# The link


def namespace() -> list[str]:
    """The command that runs another one in a new network namespace, with the right to configure it."""
    return ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]


def why_not() -> str:
    """Why traffic cannot be limited on this system; empty if it can."""
    missing = [name for name in ("unshare", "ip", "tc") if shutil.which(name) is None]
    if missing:
        return f"{', '.join(missing)} missing: apt-get install util-linux iproute2"
    tried = subprocess.run(
        [*namespace(), sys.executable, "-c", "from bench.subscribers import shape; shape('10mbit')"],
        capture_output=True,
        text=True,
        check=False,
    )
    return (
        "" if tried.returncode == 0 else f"no shaped namespace here: {(tried.stderr.strip() or '?').splitlines()[-1]}"
    )


def shape(rate: str) -> None:
    """Bring loopback up with a slow class of the given rate and Ethernet's packet size; other traffic stays
    unlimited."""
    for words in (
        "ip link set lo mtu 1500 up",
        "tc qdisc add dev lo root handle 1: htb default 10 r2q 10000",
        "tc class add dev lo parent 1: classid 1:10 htb rate 32gbit",
        f"tc class add dev lo parent 1: classid 1:20 htb rate {rate} burst 16k cburst 16k",
    ):
        run(words)


def slow_down(port: int) -> None:
    """Send traffic to a port through the slow class."""
    run(f"tc filter add dev lo parent 1: protocol ip u32 match ip dport {port} 0xffff flowid 1:20")


def run(words: str) -> None:
    done = subprocess.run(words.split(), capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"error: {words}: {done.stderr.strip()}")


# The subscribers, in separate processes


def listen(address: str, count: int, ours: Connection) -> None:
    """Subscribe `count` times; report the ports, then at each request the frames received since the previous one."""
    received = [Received() for _ in range(count)]
    lock, stop = threading.Lock(), threading.Event()

    def hear(k: int) -> None:
        with Subscriber(address, topics=("depth",), stop=stop) as frames:
            for frame in frames:
                age_ms = 1e-6 * (time.time_ns() - frame.t_publish_ns)
                with lock:
                    received[k].ages_ms.append(age_ms)
                    received[k].lost += frame.lost

    threads = [threading.Thread(target=hear, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    port = int(address.rpartition(":")[2])
    while len(ports := local_ports(port)) < count:
        time.sleep(0.02)
    ours.send(ports)
    while ours.recv() == "report":
        with lock:
            ours.send(received.copy())
            received[:] = [Received() for _ in received]
    stop.set()
    for thread in threads:
        thread.join()


def local_ports(peer: int) -> list[int]:
    """The ports by which this process is connected to another."""
    return [c.laddr.port for c in psutil.Process().net_connections("tcp") if c.raddr and c.raddr.port == peer]


def started(address: str, count: int) -> tuple[Any, Any, list[int]]:
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=listen, args=(address, count, theirs))
    process.start()
    return process, ours, ours.recv()


# The run


def real_frame(width: int, height: int) -> DepthFrame:
    """Depth of the bundled recording by the network, tiled to a larger size with its frames and their mirror images,
    the first 16 all different, so that it is as hard to compress as real depth."""
    from sweepdepth import open_recording
    from sweepdepth.stream.demo import recording_path
    from sweepdepth.stream.replay import replay
    from sweepdepth.stream.run_options import Callbacks

    frames: list[DepthFrame] = []
    with open_recording(recording_path()) as recording:
        replay(recording, callbacks=Callbacks(on_frame=frames.append))
    frame = frames[0]
    rows, columns = (-(-size // own) for size, own in zip((height, width), frame.depth.shape, strict=True))

    def tile(name: str, k: int) -> np.ndarray:
        part = getattr(frames[k % len(frames)], name)
        return part[:: -1 if k // 4 % 2 else 1, :: -1 if k // 8 % 2 else 1]

    depth, std = (
        np.block([[tile(name, columns * y + x) for x in range(columns)] for y in range(rows)])[:height, :width].copy()
        for name in ("depth", "std")
    )
    camera = CameraInfo(width=width, height=height, fx=2 * width, fy=2 * width, cx=width / 2, cy=height / 2)
    info = StreamInfo(
        camera=camera, **{k: getattr(frame.info, k) for k in ("far_diopters", "near_diopters", "estimator")}
    )
    return DepthFrame(depth, std, info, 0, 200_000, frame.direction, frame.quality, frame.latency_ms)


def measure(encoding: Encoding, frame: DepthFrame, options: argparse.Namespace) -> list[Phase]:
    """Three phases: without the slow subscriber, with it, and without it again."""
    phases = [Phase("without the slow one"), Phase("with it"), Phase("after it has left")]
    with Publisher("tcp://127.0.0.1:*", send_hwm=FRESH, encoding=encoding) as publisher:
        fast, fast_end, ports = started(publisher.address, options.subscribers - 1)
        assert len(ports) == options.subscribers - 1
        slow = slow_end = None
        for phase in phases:
            if phase is phases[1]:
                slow, slow_end, (port,) = started(publisher.address, 1)
                slow_down(port)
            publisher.wait_for_subscribers(options.subscribers - (slow is None))
            publish(publisher, frame, options.rate, SETTLING_S)
            before = Counter(publisher.drops)
            for end in (fast_end, slow_end):
                if end is not None:
                    end.send("report")
                    end.recv()
            took_ms = publish(publisher, frame, options.rate, options.seconds)
            phase.published, phase.publish_ms = len(took_ms), float(np.median(took_ms))
            phase.drops = {why: n - before[why] for why, n in publisher.drops.items()}
            phase.frame_bytes = frame_bytes(frame, encoding)
            fast_end.send("report")
            phase.fast = fast_end.recv()
            if slow is not None and slow_end is not None:
                slow_end.send("report")
                (phase.slow,) = slow_end.recv()
                slow_end.send("stop")
                slow.join()
                slow = slow_end = None
        fast_end.send("stop")
        fast.join()
    return phases


def publish(publisher: Publisher, frame: DepthFrame, rate: float, seconds: float) -> list[float]:
    """Publish depth at a constant rate and a status every second; returns the ms that publishing each frame took."""
    took_ms, began = [], time.monotonic()
    for k in range(round(rate * seconds)):
        time.sleep(max(0.0, began + k / rate - time.monotonic()))
        at = time.perf_counter()
        publisher.publish(frame)
        took_ms.append(1e3 * (time.perf_counter() - at))
        if k % max(1, round(rate)) == 0:
            publisher.publish(StatusFrame(frames_per_s=rate))
    return took_ms


def frame_bytes(frame: DepthFrame, encoding: Encoding) -> int:
    from uuid import uuid4

    from sweepdepth.stream.wire.messages import encode

    return sum(map(len, encode(frame, stream=uuid4(), seq=0, t_publish_ns=0, encoding=encoding)))


def print_head(options: argparse.Namespace) -> None:
    print(
        f"\n### {options.subscribers} subscribers, one over {options.link}; {options.size}, {options.rate:g} frames/s\n"
    )
    head = ("encoding", "phase", "MB a frame", "publish()", "fast: frames each", "lost", "age p50", "p99")
    print("| " + " | ".join((*head, "slow: frames/s", "missed", "age p50", "p99", "full queues counted")) + " |")
    print("|" + "---|" * (len(head) + 5), flush=True)


def print_phases(encoding: Encoding, phases: list[Phase], options: argparse.Namespace) -> None:
    for phase in phases:
        ages = np.concatenate([np.asarray(received.ages_ms) for received in phase.fast])
        row = [
            encoding,
            phase.name,
            f"{phase.frame_bytes / 1e6:.2f}",
            f"{phase.publish_ms:.1f} ms",
            f"{np.mean([len(received.ages_ms) for received in phase.fast]):.1f} of {phase.published}",
            f"{sum(received.lost for received in phase.fast)}",
            *(f"{value:.1f} ms" for value in np.percentile(ages, (50, 99))),
        ]
        if phase.slow is None:
            row += ["", "", "", ""]
        else:
            slow = phase.slow
            p50, p99 = np.percentile(slow.ages_ms, (50, 99)) if slow.ages_ms else (np.nan, np.nan)
            row += [f"{len(slow.ages_ms) / options.seconds:.2f}", f"{slow.lost}", f"{p50:.0f} ms", f"{p99:.0f} ms"]
        print("| " + " | ".join([*row, str(phase.drops.get("slow_subscriber", 0))]) + " |", flush=True)


if __name__ == "__main__":
    main()
