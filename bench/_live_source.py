"""The event source of `./run bench live`: a process that sends sweeps of a synthetic scene through a pipe."""

import itertools
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from sweepdepth.capture.cameras.pipe import BATCH, HEADER, MAGIC
from sweepdepth.capture.events import EVENT_DTYPE, TRIGGER_DTYPE

from ._live_load import STEP_US, SWEEP_US, Load

TOO_LATE_S = 0.05
"""A source that is further behind drops events, like a camera."""


def make_sweep(rate: float, load: Load) -> np.ndarray:
    """One far→near sweep with `rate` million events per second, (N,) EVENT_DTYPE; pixels brighten before their focus
    and darken after it, or the reverse."""
    rng = np.random.default_rng(0)
    n = round(rate * SWEEP_US)
    events = np.zeros(n, EVENT_DTYPE)
    x, y = rng.integers(0, load.width, n, dtype=np.int16), rng.integers(0, load.height, n, dtype=np.int16)
    bright = rng.random((load.height, load.width)) < 0.5
    focus_us = ((load.scene() - 0.5) / 2.0 * SWEEP_US).astype(np.float32)[y, x]
    # Spread over the whole sweep for a constant rate.
    at = rng.permutation(np.arange(n) * (SWEEP_US / n)).astype(np.int64)
    events["timestamp"], events["x"], events["y"] = at, x, y
    events["polarity"] = (at < focus_us) == bright[y, x]
    return events[np.argsort(at, kind="stable")]


def send(path: str, rate: float, load: Load, ours: Connection) -> None:
    """Send sweeps in both directions until killed; reports the numbers of events sent and dropped."""
    forward = make_sweep(rate, load)
    backward = forward[::-1].copy()
    backward["timestamp"] = SWEEP_US - 1 - backward["timestamp"]
    backward["polarity"] = 1 - backward["polarity"]
    sweeps = forward, backward
    cuts = [np.searchsorted(s["timestamp"], np.arange(0, SWEEP_US + 1, STEP_US)) for s in sweeps]
    counts = [0, 0]
    ours.send("ready")
    while True:  # start over for a new reader
        with suppress(BrokenPipeError), open(path, "wb", buffering=0) as pipe:
            send_sweeps(pipe, load, sweeps, cuts, counts, lambda: ours.send(tuple(counts)))


def send_sweeps(
    pipe: Any,
    load: Load,
    sweeps: tuple[np.ndarray, ...],
    cuts: list[np.ndarray],
    counts: list[int],
    notify: Callable[[], None],
) -> None:
    """Send sweeps in real time until the reader disconnects; `counts` are events sent and dropped."""

    def write(data: Any) -> None:
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[pipe.write(rest) :]

    write(HEADER.pack(MAGIC, 1, load.width, load.height, 0))
    edge = np.zeros(1, TRIGGER_DTYPE)
    origin_us = time.monotonic_ns() // 1000 + STEP_US
    printed = 0.0
    for k in itertools.count():
        at_us = origin_us + k * SWEEP_US
        events, cut = sweeps[k % 2], cuts[k % 2]
        edge["timestamp"], edge["edge"] = at_us, 1 + k % 2
        write(BATCH.pack(2, 1, -1) + edge.tobytes())
        for i in range(len(cut) - 1):
            end_us, n = at_us + (i + 1) * STEP_US, int(cut[i + 1] - cut[i])
            late_s = time.monotonic() - 1e-6 * end_us
            if late_s > TOO_LATE_S:
                counts[1] += n
                write(BATCH.pack(1, 0, end_us))
                continue
            time.sleep(max(0.0, -late_s))
            part = events[cut[i] : cut[i + 1]].copy()
            part["timestamp"] += at_us
            counts[0] += n
            write(BATCH.pack(1, n, end_us))
            write(part.view(np.uint8))
        if time.monotonic() > printed + 0.5:
            printed = time.monotonic()
            notify()
