"""Speed of writing and reading each recording format, in a worker process and in this process.

    python -m bench.recordings --events 5e6

The recording is synthetic: uniform in space, 5 million events per second. "in-process" runs the same decoder without
worker, shared memory and checks; "open_recording" is the public function, timed after the events decoded during
opening; "faery" and "expelliarmus" are those libraries' decoders into their own arrays, if installed and supported
(`pip install expelliarmus`; it decodes EVT3's times wrongly). Rates are the best of the repetitions.
"""

import argparse
import importlib
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from sweepdepth.capture.events import Batch, make_events, make_triggers
from sweepdepth.capture.formats.recordings import EVT, FORMATS, Format
from sweepdepth.capture.recordings import open_recording, write_recording
from sweepdepth.capture.sources.ring import SLOT_EVENTS, SLOTS

WIDTH, HEIGHT = 640, 480
START_US = 1_763_000_511_821_624
EVENTS_PER_S = 5_000_000
SWEEP_US = 100_000


def batches(n_events: int, with_triggers: bool) -> Iterator[Batch]:
    """Batches of 100 ms, each starting with an edge."""
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
    """Events per second when a file is decoded in this process, chunk by chunk."""
    module, function = format_.decoder.split(":")
    decode = getattr(importlib.import_module(f"sweepdepth.capture.recordings.{module}"), function)
    start = time.perf_counter()
    n = sum(len(chunk.events) for chunk in decode(str(path), (WIDTH, HEIGHT)).chunks)
    return n / (time.perf_counter() - start)


def rate_guarded(path: Path) -> tuple[float, float]:
    """Seconds to open a file, and events per second through `open_recording`, excluding the initial content of the
    ring."""
    begin = time.perf_counter()
    with open_recording(path) as recording:
        opening = time.perf_counter() - begin
        n, counted_from, start = 0, 0, begin
        for batch in recording:
            n += len(batch.events)
            if not counted_from and n >= SLOTS * SLOT_EVENTS:
                counted_from, start = n, time.perf_counter()
        return opening, (n - counted_from) / (time.perf_counter() - start)


def rate_of_faery(name: str, path: Path) -> float | None:
    """Events per second of faery's decoder on the same file; None if it has none."""
    try:
        extension = importlib.import_module("faery.extension")
    except ImportError:
        return None
    decoders: dict[str, Callable[[], Any]] = {
        "AEDAT4": lambda: extension.aedat.Decoder(str(path)),
        "EVT": lambda: extension.evt.Decoder(str(path), (WIDTH, HEIGHT), None),
        "EVT3": lambda: extension.evt.Decoder(str(path), (WIDTH, HEIGHT), None),
        "DAT": lambda: extension.dat.Decoder(str(path), (WIDTH, HEIGHT), None),
        "ES": lambda: extension.es.Decoder(str(path), 0),
    }
    if name not in decoders:
        return None
    start = time.perf_counter()
    n = 0
    with decoders[name]() as decoder:
        for packet in decoder:
            found = packet.get("events") if isinstance(packet, dict) else packet
            found = found[1] if isinstance(found, tuple) else found
            n += 0 if found is None or (name == "AEDAT4" and packet[0].data_type != "events") else len(found)
    return n / (time.perf_counter() - start)


def write_evt3(path: Path, content: list[Batch]) -> None:
    """Write EVT3 like cameras: a row word for each event, a time word whenever the time changes."""
    with path.open("wb") as file:
        file.write(f"% evt 3.0\n% format EVT3;height={HEIGHT};width={WIDTH}\n% t0 {START_US}\n% end\n".encode())
        high_before = low_before = -1
        for batch in content:
            events = batch.events
            t = events["timestamp"] - START_US
            x, y, p = (events[name].astype(np.int64) for name in ("x", "y", "polarity"))
            words = np.stack([8 << 12 | t >> 12 & 0xFFF, 6 << 12 | t & 0xFFF, y, 2 << 12 | p << 11 | x], 1)
            highs = np.diff(t >> 12, prepend=high_before) != 0
            lows = highs | (np.diff(t & 0xFFF, prepend=low_before) != 0)
            kept = np.stack([highs, lows, np.ones(len(t), bool), np.ones(len(t), bool)], 1)
            file.write(words[kept].astype("<u2").tobytes())
            high_before, low_before = int(t[-1]) >> 12, int(t[-1]) & 0xFFF


def rate_of_expelliarmus(name: str, path: Path) -> float | None:
    """Events per second of expelliarmus's decoder on the same file; None if it has none."""
    encodings = {"EVT": "evt2", "EVT3": "evt3", "DAT": "dat"}
    if name not in encodings or find_spec("expelliarmus") is None:
        return None
    wizard = importlib.import_module("expelliarmus").Wizard(encoding=encodings[name])
    start = time.perf_counter()
    return len(wizard.read(path)) / (time.perf_counter() - start)


def best(rates: list[float | None]) -> str:
    """The largest rate in millions; empty if there is none."""
    known = [rate for rate in rates if rate]
    return f"{max(known) / 1e6:.1f}" if known else ""


def measure(n_events: int, repetitions: int) -> Table:
    """Measure all formats, one row each, in one run for comparability."""
    table = Table(title=f"{n_events / 1e6:g} million events, {WIDTH}×{HEIGHT}")
    for column in (
        "format",
        "bytes/event",
        "write M/s",
        "in-process M/s",
        "faery M/s",
        "expelliarmus M/s",
        "open_recording M/s",
        "ratio",
        "open ms",
    ):
        table.add_column(column, justify="left" if column == "format" else "right")
    with tempfile.TemporaryDirectory() as folder:
        evt3 = replace(EVT, name="EVT3", suffixes=(".evt3.raw",))
        for format_ in (*(format_ for format_ in FORMATS if format_.encoder), evt3):
            path = Path(folder) / f"recording{format_.suffixes[0]}"
            content = list(batches(n_events, format_.holds_triggers))
            start = time.perf_counter()
            if format_ is evt3:
                write_evt3(path, content)
            else:
                write_recording(path, content, WIDTH, HEIGHT, lossy=True)
            writing = time.perf_counter() - start
            del content
            alone, guarded, opening, faery, expelliarmus = [], [], [], [], []
            for _ in range(repetitions):
                alone.append(rate_in_process(format_, path))
                faery.append(rate_of_faery(format_.name, path))
                expelliarmus.append(rate_of_expelliarmus(format_.name, path))
                seconds, rate = rate_guarded(path)
                opening.append(seconds)
                guarded.append(rate)
            table.add_row(
                format_.name,
                f"{path.stat().st_size / n_events:.1f}",
                "" if format_ is evt3 else f"{n_events / writing / 1e6:.1f}",
                f"{max(alone) / 1e6:.1f}",
                best(faery),
                best(expelliarmus),
                f"{max(guarded) / 1e6:.1f}",
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
