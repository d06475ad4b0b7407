"""Accuracy of sweeps found without triggers (lag, drift, jitter), and cost of finding sweeps.

    ./run bench sync [RECORDING.aedat4 …]

First on simulated sweeps over four textured planes, 20 of 200 ms, with known turning points. "drift" is the growth of
the period per sweep, "jitter" the standard deviation of each turning point. "late" is the mean delay of the found
turning points, "scatter" the standard deviation about it, "worst" the largest difference from it. "late" includes the
latency of the photoreceptors, as it should, since it shifts all events. So depth is compared as well: its median error,
as a fraction of the sweep range, with the lens's turning points and with those found.

Then, if given, on recordings:

Each recording needs trigger edges, and its calibration beside it as RECORDING.toml. "lag" is the mean delay of the
found turning points relative to the triggers (and `delay_us`), including the latency of the pixels. "spread" is the
range of the differences within the recording. "rates" is the lag of the usual alternative, the best mirror symmetry of
the signed event rates of 8×8 pixels near the true period.
"""

import argparse
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from sweepdepth import Calibration
from sweepdepth.capture.errors import SyncError
from sweepdepth.capture.events import TRIGGER_DTYPE, Batch, join, make_events, make_triggers
from sweepdepth.capture.recordings import open_recording
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.capture.tracking import Tracker, make_tracker
from sweepdepth.net.polarity import estimate_depth
from sweepdepth.synth.sensor import Sensor, expose_sequence
from sweepdepth.synth.sensor.presets import PRESETS

from . import disturbances

BATCH_US = 10_000
NO_TRIGGERS = np.empty(0, TRIGGER_DTYPE)


def batches(events: np.ndarray, triggers: np.ndarray) -> list[Batch]:
    """Batches of `BATCH_US`."""
    first, last = int(events["timestamp"][0]), int(events["timestamp"][-1]) + 1
    ends = [*range(first + BATCH_US, last, BATCH_US), last]
    event_cuts = [0, *np.searchsorted(events["timestamp"], ends)]
    trigger_cuts = [0, *np.searchsorted(triggers["timestamp"], ends)]
    return [
        Batch(events[event_cuts[i] : event_cuts[i + 1]], triggers[trigger_cuts[i] : trigger_cuts[i + 1]], end)
        for i, end in enumerate(ends)
    ]


def turning_points(tracker: Tracker, parts: Sequence[Batch]) -> np.ndarray:
    """Ends of the closed sweeps in µs, and the start of the first."""
    spans = [span for batch in parts for span in tracker.feed(batch)] + tracker.finish()
    sweeps = [span.sweep for span in spans if span.closed]
    return np.array([sweeps[0].start_us, *(s.end_us for s in sweeps)])


def with_sync(calibration: Calibration, frequency_hz: float) -> Calibration:
    """The same lens with `sync = "events"` and another nominal frequency."""
    sweep = calibration.sweep.model_copy(update={"sync": "events", "frequency_hz": frequency_hz})
    return calibration.model_copy(update={"sweep": sweep})


def lag_of_rates_ms(events: np.ndarray, true_us: np.ndarray, calibration: Calibration) -> float:
    """Lag of the mirror symmetry of signed event rates, by FFT of each cell's rate in bins of 1 ms."""
    bins = 2 * round(float(np.mean(np.diff(true_us))) / 1000)
    periods = (len(true_us) - 1) // 2
    when = (events["timestamp"] - true_us[0]) // 1000
    events, when = events[(when >= 0) & (when < bins * periods)], when[(when >= 0) & (when < bins * periods)]
    columns = -(-calibration.camera.width // 8)
    cell = (events["y"] // 8).astype(np.int64) * columns + events["x"] // 8
    sign = np.where(events["polarity"] == 1, 1.0, -1.0)
    rates = np.bincount(cell * bins + when % bins, sign, (cell.max() + 1) * bins).reshape(-1, bins)
    smooth = np.exp(-2 * (np.pi * 2.5 * np.fft.rfftfreq(bins)) ** 2)
    mirror = -np.fft.irfft(((np.fft.rfft(rates) * smooth) ** 2).sum(axis=0), bins)
    middle = (np.argmax(mirror) + 1) / 2  # of this turning point or the next one, half a period away
    return float((middle + bins / 8) % (bins / 2) - bins / 8)


def accuracy(console: Console, paths: Sequence[Path]) -> None:
    table = Table(title="sync = events, against the triggers")
    for column in ("recording", "nominal / true", "lag ms", "spread ms", "quality", "rates: lag ms"):
        table.add_column(column, justify="right")
    for path in paths:
        calibration = Calibration.load(path.with_suffix(".toml"))
        with open_recording(path) as recording:
            parts = list(recording)
        events, triggers = join([b.events for b in parts]), join([b.triggers for b in parts], TRIGGER_DTYPE)
        true_us = triggers["timestamp"] + calibration.sweep.delay_us
        for nominal in (1.0, 0.77, 1.4):
            lens = with_sync(calibration, calibration.sweep.frequency_hz * nominal)
            tracker = make_tracker(lens, Direction.FAR_TO_NEAR)
            try:
                found = turning_points(tracker, batches(events, NO_TRIGGERS))
                error = (found - true_us[np.argmin(np.abs(true_us[:, None] - found), axis=0)]) / 1000
                cells = [f"{error.mean():.2f}", f"{np.ptp(error):.2f}", f"{tracker.quality:.2f}"]
            except SyncError:
                cells = ["not found", "", f"{tracker.quality:.2f}"]
            rates = f"{lag_of_rates_ms(events, true_us, calibration):.1f}" if nominal == 1 else ""
            table.add_row(path.stem, f"{nominal:.2f}", *cells, rates)
    console.print(table)


SWEEPS = 20
SETTLED = 6
"""Turning points ignored at the start, while the period is being found."""

CASES = (  # sensor, drift of the period per sweep, jitter in ms, for sweeps of 200 ms
    ("clean", 0.0, 0.0),
    ("davis346", 0.0, 0.0),
    ("dvxplorer", 0.0, 0.0),
    ("evk4", 0.0, 0.0),
    ("noisy", 0.0, 0.0),
    ("davis346", 0.0005, 0.0),
    ("davis346", 0.002, 0.0),
    ("davis346", -0.002, 0.0),
    ("davis346", 0.005, 0.0),
    ("davis346", 0.0, 0.2),
    ("davis346", 0.0, 0.5),
    ("davis346", 0.0, 1.0),
    ("davis346", 0.0, 2.0),
    ("davis346", 0.002, 0.5),
)


def record(images: np.ndarray, sensor: Sensor, turning_us: np.ndarray, seed: int) -> np.ndarray:
    """Events of a lens with given turning points, the far end first, after a sweep that initialises the sensor."""
    starts = np.concatenate([[2 * turning_us[0] - turning_us[1]], turning_us])
    passes = (
        (images[::-1] if i % 2 == 0 else images, start + (end - start) * np.linspace(0, 1, len(images)))
        for i, (start, end) in enumerate(pairwise(starts))
    )
    events = expose_sequence(sensor, passes, seed=seed)
    return events[np.searchsorted(events["timestamp"], turning_us[0]) :]


def synthetic(console: Console, seed: int) -> None:
    """Evaluate all `CASES`."""
    calibration = Calibration.parse(disturbances.LENS)
    images, truth = disturbances.planes(calibration, seed), disturbances.plane_diopters(calibration)
    table = Table(title="sync = events on simulated sweeps of 200 ms, 120×90")
    for column in (
        "sensor",
        "drift",
        "jitter ms",
        "found",
        "late ms",
        "scatter ms",
        "worst ms",
        "quality",
        "error, lens's",
        "error, found",
    ):
        table.add_column(column, justify="left" if column == "sensor" else "right")
    for name, drift, jitter_ms in CASES:
        random = np.random.default_rng([seed, 3])
        lengths = calibration.sweep.duration_us * (1 + drift) ** np.arange(SWEEPS)
        turning = (
            1e6 + np.concatenate([[0], np.cumsum(lengths)]) + 1000 * jitter_ms * random.standard_normal(SWEEPS + 1)
        )
        events = record(images, PRESETS[name], turning, seed)
        tracker = make_tracker(with_sync(calibration, calibration.sweep.frequency_hz), Direction.FAR_TO_NEAR)
        row = [name, f"{drift:.2%}", f"{jitter_ms:g}"]
        try:
            found = turning_points(tracker, batches(events, NO_TRIGGERS))
        except SyncError:
            table.add_row(*row, "no", "", "", "", f"{tracker.quality:.2f}", "", "")
            continue
        nearest = np.argmin(np.abs(turning[:, None] - found), axis=0)
        late = ((found - turning[nearest]) / 1000)[SETTLED:-1]
        errors = [depth_error(events, ends, nearest, calibration, truth) for ends in (turning[nearest], found)]
        table.add_row(
            *row,
            f"{len(found) - 1}/{SWEEPS}",
            f"{late.mean():+.2f}",
            f"{late.std():.2f}",
            f"{np.abs(late - late.mean()).max():.2f}",
            f"{tracker.quality:.2f}",
            *(f"{error:.3f}" for error in errors),
        )
    console.print(table)


def depth_error(
    events: np.ndarray, ends_us: np.ndarray, number: np.ndarray, calibration: Calibration, truth: np.ndarray
) -> float:
    """Median error over the settled sweeps between given turning points, as a fraction of the range."""
    errors = []
    for i in range(SETTLED, len(ends_us) - 2):
        start, end = round(ends_us[i]), round(ends_us[i + 1])
        direction = Direction.FAR_TO_NEAR if number[i] % 2 == 0 else Direction.NEAR_TO_FAR
        first, last = np.searchsorted(events["timestamp"], (start, end))
        estimate = estimate_depth(events[first:last], Sweep(start, end, direction, calibration))
        errors.append(np.abs(estimate.diopters - truth) / calibration.sweep.range_diopters)
    return float(np.nanmedian(errors))


LENS = """
camera = { width = 640, height = 480, pixel_pitch_um = 9.0, fx = 1333.0, fy = 1333.0, cx = 320.0, cy = 240.0 }
lens = { focal_length_mm = 12.0, f_number = 1.4 }
sweep = { waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, sync = "trigger" }
"""


def cost(console: Console, n_events: int) -> None:
    """Feed random events, 20 million per second of sensor time, in batches of 10 ms."""
    rng = np.random.default_rng(0)
    start_us, length_us = 1_763_000_000_000_000, n_events // 20
    events = make_events(
        start_us + np.sort(rng.integers(0, length_us, n_events)),
        rng.integers(0, 640, n_events, dtype=np.int16),
        rng.integers(0, 480, n_events, dtype=np.int16),
        rng.integers(0, 2, n_events, dtype=np.int8),
    )
    edges_us = np.arange(start_us, start_us + length_us, 200_000)
    parts = batches(events, make_triggers(edges_us, np.arange(len(edges_us)) % 2 + 1))
    calibration = Calibration.parse(LENS)
    table = Table(title=f"{n_events / 1e6:g} million events at 640×480")
    for column in ("sync", "million events/s", "µs a batch"):
        table.add_column(column, justify="right")
    for name in ("trigger", "clock", "events"):
        sweep = calibration.sweep.model_copy(update={"sync": name})
        lens = calibration.model_copy(update={"sweep": sweep})
        first = Direction.FAR_TO_NEAR if name == "events" else None
        for batch in parts[:200]:  # compile, and touch the memory
            make_tracker(lens, first).feed(batch)
        tracker = make_tracker(lens, first)
        before = time.perf_counter()
        for batch in parts:
            tracker.feed(batch)
        seconds = time.perf_counter() - before
        label = "events (searching)" if name == "events" else name
        table.add_row(label, f"{n_events / seconds / 1e6:,.0f}", f"{1e6 * seconds / len(parts):,.0f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recordings", nargs="*", type=Path, help="recordings with triggers, a .toml beside each")
    parser.add_argument("--events", type=float, default=4e7, help="events for the cost (default 4e7)")
    parser.add_argument("--seed", type=int, default=1, help="of the simulated scene (default 1)")
    arguments = parser.parse_args()
    console = Console()
    synthetic(Console(width=130), arguments.seed)
    if arguments.recordings:
        accuracy(console, arguments.recordings)
    cost(console, int(arguments.events))


if __name__ == "__main__":
    main()
