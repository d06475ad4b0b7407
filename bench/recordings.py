"""How fast each recording format is written and read: guarded by a process of its own, and decoded in this one.

    python -m bench.recordings --events 5e6

The recording is synthetic: uniform in space, 5 million events a second. "in-process" runs the same decoder without
worker, shared memory and checks; "open_recording" is what users get, timed once it has consumed what was decoded while
it was being opened. Rates are the best of the repetitions.
"""

import argparse
import importlib
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from sweepdepth.capture.events import Batch, make_events, make_triggers
from sweepdepth.capture.recordings import open_recording, write_recording
from sweepdepth.capture.recordings.formats import FORMATS, Format
from sweepdepth.capture.recordings.ring import SLOT_EVENTS, SLOTS

WIDTH, HEIGHT = 640, 480
START_US = 1_763_000_511_821_624
EVENTS_PER_S = 5_000_000
SWEEP_US = 100_000


def batches(n_events: int, with_triggers: bool) -> Iterator[Batch]:
    """Batches of 100 ms, each beginning with an edge."""
    rng = np.random.default_rng(0)
    per_batch = EVENTS_PER_S * SWEEP_US // 1_000_000
    for index, at in enumerate(range(0, n_events, per_batch)):
        n = min(per_batch, n_events - at)
        start_us = START_US + index * SWEEP_US
        events = make_events(
            start_us + np.sort(rng.integers(0, SWEEP_US, n)),
            rng.integers(0, WIDTH, n, dtype=np.int16),
            rng.integers(0, HEIGHT, n, dtype=np.int16),
            rng.integers(0, 2, n, dtype=np.int8),
        )
        edges = make_triggers(np.array([start_us] * with_triggers), np.array([index % 2 + 1] * with_triggers))
        yield Batch(events, edges, start_us + SWEEP_US)


def rate_in_process(format_: Format, path: Path) -> float:
    """Events a second when a file is decoded in this process, chunk by chunk."""
    module, function = format_.decoder.split(":")
    decode = getattr(importlib.import_module(f"sweepdepth.capture.recordings.{module}"), function)
    start = time.perf_counter()
    n = sum(len(chunk.events) for chunk in decode(str(path), (WIDTH, HEIGHT)).chunks)
    return n / (time.perf_counter() - start)


def rate_guarded(path: Path) -> tuple[float, float]:
    """Seconds to open a file, and events a second beyond the ring's fill through `open_recording`."""
    begin = time.perf_counter()
    with open_recording(path) as recording:
        opening = time.perf_counter() - begin
        n, counted_from, start = 0, 0, begin
        for batch in recording:
            n += len(batch.events)
            if not counted_from and n >= SLOTS * SLOT_EVENTS:
                counted_from, start = n, time.perf_counter()
        return opening, (n - counted_from) / (time.perf_counter() - start)


def measure(n_events: int, repetitions: int) -> Table:
    """One row a format; all in one run, so that the rates can be compared."""
    table = Table(title=f"{n_events / 1e6:g} million events, {WIDTH}×{HEIGHT}")
    for column in ("format", "bytes/event", "write M/s", "in-process M/s", "open_recording M/s", "ratio", "open ms"):
        table.add_column(column, justify="left" if column == "format" else "right")
    with tempfile.TemporaryDirectory() as folder:
        for format_ in FORMATS:
            path = Path(folder) / f"recording{format_.suffixes[0]}"
            content = list(batches(n_events, format_.holds_triggers))
            start = time.perf_counter()
            write_recording(path, content, WIDTH, HEIGHT, lossy=True)
            writing = time.perf_counter() - start
            del content
            alone, guarded, opening = [], [], []
            for _ in range(repetitions):
                alone.append(rate_in_process(format_, path))
                seconds, rate = rate_guarded(path)
                opening.append(seconds)
                guarded.append(rate)
            table.add_row(
                format_.name,
                f"{path.stat().st_size / n_events:.1f}",
                *(f"{rate / 1e6:.1f}" for rate in (n_events / writing, max(alone), max(guarded))),
                f"{max(guarded) / max(alone):.2f}",
                f"{min(opening) * 1e3:.0f}",
            )
            path.unlink()
    return table


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--events", type=float, default=5e6, help="events in the recording (default 5e6)")
    parser.add_argument("--repetitions", type=int, default=3, help="reads of each file (default 3)")
    arguments = parser.parse_args()
    Console().print(measure(int(arguments.events), arguments.repetitions))


if __name__ == "__main__":
    main()
