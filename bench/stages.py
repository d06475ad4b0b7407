"""Time per event in each stage of the live path, on one core.

    ./run bench stages [--rate 20] [--size 640x480]

The events of `./run bench live` pass through each stage in batches of 5 ms; for each batch the best of several passes
counts. The last rows are the total and, for comparison, the time to copy an event, a lower bound for stages that write
events.
"""

import argparse
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sweepdepth.capture import disturbances
from sweepdepth.capture.disturbances import Watch
from sweepdepth.capture.disturbances.motion import MotionWatch
from sweepdepth.capture.events import EVENT_DTYPE, TRIGGER_DTYPE, Batch
from sweepdepth.capture.sources.chunks import NO_TRIGGERS, Chunk
from sweepdepth.capture.sources.sanitizer import Sanitizer
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.capture.tracking import Span
from sweepdepth.net.evidence import BINS

from ._live_load import STEP_US, SWEEP_US, Load
from ._live_source import make_sweep

PASSES = 7


def nanoseconds(parts: list[np.ndarray], begin: Callable[[], Any], step: Callable[[Any, np.ndarray], object]) -> float:
    """Time per event: the best of several passes for each batch, each with a new state."""
    best = np.full(len(parts), np.inf)
    for _ in range(PASSES):
        state = begin()
        for i, part in enumerate(parts):
            start = time.perf_counter()
            step(state, part)
            best[i] = min(best[i], time.perf_counter() - start)
    return 1e9 * best.sum() / sum(map(len, parts))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=20.0, help="in million events a second")
    parser.add_argument("--size", default="640x480", help="of the sensor, in pixels")
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    load = Load(width, height, None, None, "sweep")
    calibration, events = load.calibration, make_sweep(options.rate, load)
    cuts = np.searchsorted(events["timestamp"], np.arange(STEP_US, SWEEP_US, STEP_US))
    parts = [part.copy() for part in np.split(events, cuts)]
    room = np.empty(max(map(len, parts)), EVENT_DTYPE)
    sweep = Sweep(0, SWEEP_US, Direction.FAR_TO_NEAR, calibration)
    none = np.empty(0, TRIGGER_DTYPE)
    disturbances.warm_up()

    def copy(_: None, part: np.ndarray) -> None:
        room[: len(part)].view("V16")[:] = part.view("V16")

    def check(sanitizer: Sanitizer, part: np.ndarray) -> None:
        sanitizer.admit(Chunk(part, NO_TRIGGERS, int(part["timestamp"][-1]) + 1))

    def watch(watched: Watch, part: np.ndarray) -> None:
        watched.clean(Batch(part, none, int(part["timestamp"][-1]) + 1))

    def look(motion: MotionWatch, part: np.ndarray) -> None:
        motion.see(Span(sweep, part, closed=False))

    def binned(stack: EventFocalStack, part: np.ndarray) -> None:
        stack.add(part)

    stages = {
        "check and put in order": (lambda: Sanitizer("bench", width, height, live=True), check),
        "flicker and hot pixels": (lambda: Watch(calibration), watch),
        "motion": (lambda: MotionWatch(width, height, 2), look),
        "binning, interpolated": (lambda: EventFocalStack.empty(sweep, BINS, "interpolated"), binned),
    }
    found = {name: nanoseconds(parts, begin, step) for name, (begin, step) in stages.items()}
    found["all of the binning thread"] = sum(found.values())
    found["a copy of the events"] = nanoseconds(parts, lambda: None, copy)
    table = Table(title=f"{options.rate:g} M events/s, {width}×{height}, {BINS} bins, one core")
    for column in ("stage", "ns an event", "M events/s"):
        table.add_column(column, justify="left" if column == "stage" else "right")
    for name, ns in found.items():
        table.add_row(name, f"{ns:.1f}", f"{1000 / ns:.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
