"""Sends events to `sweepdepth live --camera pipe:PATH`: the complete pipe format, with NumPy alone.

    python pipe_sender.py events.sock
    sweepdepth live --camera pipe:events.sock --lens pipe_sender.toml --record run.h5

`pipe_sender.toml` is the calibration that fits what is sent here. Replace `camera_batches` by what your camera's SDK
gives you, converted by `pack_events` and `pack_triggers`. PATH may be a pipe (mkfifo PATH) or a socket, which is made
here when there is nothing at PATH. See docs/pipe.md.
"""

import argparse
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np

EVENT = np.dtype([("timestamp", "<i8"), ("x", "<i2"), ("y", "<i2"), ("polarity", "i1")], align=True)
TRIGGER = np.dtype([("timestamp", "<i8"), ("edge", "u1")], align=True)
RISING, FALLING = 1, 2
WIDTH, HEIGHT = 96, 72


def header(width: int, height: int) -> bytes:
    """The header of a stream: magic, version, width, height, 0."""
    return struct.pack("<8sHHHH", b"SWEEPEVT", 1, width, height, 0)


def batch(items: np.ndarray, complete_us: int = -1) -> bytes:
    """A batch of events or triggers; nothing before `complete_us` will follow, −1 if unknown."""
    return struct.pack("<IIq", 1 if items.dtype == EVENT else 2, len(items), complete_us) + items.tobytes()


def pack_events(t_us: np.ndarray, x: np.ndarray, y: np.ndarray, on: np.ndarray) -> np.ndarray:
    """Columns of N events as N items of 16 bytes; times in µs, not decreasing."""
    items = np.zeros(len(t_us), EVENT)
    items["timestamp"], items["x"], items["y"], items["polarity"] = t_us, x, y, on
    return items


def pack_triggers(t_us: np.ndarray, edge: np.ndarray) -> np.ndarray:
    """External edges: RISING at the far end of the sweep, FALLING at the near end."""
    items = np.zeros(len(t_us), TRIGGER)
    items["timestamp"], items["edge"] = t_us, edge
    return items


def camera_batches(
    width: int = WIDTH, height: int = HEIGHT, rate: int = 200_000, period_us: int = 400_000
) -> Iterator[bytes]:
    """Simulates a camera: a moving dot, in batches of 10 ms, and an edge every half period."""
    rng = np.random.default_rng(0)
    began, now_us, next_edge_us, edge = time.monotonic(), 0, 0, RISING
    while True:
        until_us = now_us + 10_000
        while next_edge_us < until_us:
            # An edge must be sent before later events.
            yield batch(pack_triggers(np.array([next_edge_us]), np.array([edge])))
            next_edge_us, edge = next_edge_us + period_us // 2, FALLING if edge == RISING else RISING
        t = np.sort(rng.integers(now_us, until_us, rate // 100))
        angle = 2 * np.pi * t / 1e6
        x = (width / 2 + width / 3 * np.cos(angle) + rng.normal(0, 2, len(t))).clip(0, width - 1)
        y = (height / 2 + height / 3 * np.sin(angle) + rng.normal(0, 2, len(t))).clip(0, height - 1)
        yield batch(pack_events(t, x, y, rng.integers(0, 2, len(t))), complete_us=until_us)
        now_us = until_us
        time.sleep(max(0.0, began + now_us / 1e6 - time.monotonic()))


def readers(path: str) -> Iterator[Callable[[bytes], object]]:
    """For one reader after the other, a function that sends bytes to it."""
    if os.path.exists(path) and stat.S_ISFIFO(os.stat(path).st_mode):
        while True:
            with open(path, "wb", buffering=0) as pipe:  # waits until somebody reads

                def write_all(data: bytes, pipe=pipe) -> None:
                    rest = memoryview(data)
                    while rest:
                        rest = rest[pipe.write(rest) :]

                yield write_all
    if os.path.exists(path) and stat.S_ISSOCK(os.stat(path).st_mode):
        os.unlink(path)  # left by an earlier sender
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen(1)
        while True:
            connection, _ = server.accept()
            with connection:
                yield connection.sendall


def main() -> None:
    parser = argparse.ArgumentParser(description="Send events to `sweepdepth live --camera pipe:PATH`.")
    parser.add_argument("path", help="a pipe (mkfifo PATH), or a socket, which is made if nothing is there")
    parser.add_argument("--width", type=int, default=WIDTH, help="of the sensor, pixels (%(default)s)")
    parser.add_argument("--height", type=int, default=HEIGHT, help="of the sensor, pixels (%(default)s)")
    parser.add_argument("--rate", type=int, default=200_000, help="events a second (%(default)s)")
    parser.add_argument("--frequency", type=float, default=2.5, help="periods of the lens a second (%(default)s)")
    options = parser.parse_args()
    for send in readers(options.path):
        try:
            send(header(options.width, options.height))
            for data in camera_batches(options.width, options.height, options.rate, round(1e6 / options.frequency)):
                send(data)
        except ConnectionError:
            print("the reader left; waiting for the next one", file=sys.stderr)


if __name__ == "__main__":
    main()
