"""Effect of flicker, motion and hot pixels on depth, and of the runtime's countermeasures.

A lens sweeps over textured planes at four distances, side by side; the events go through the runtime's disturbance
watch, tracker and estimator. Flicker: light at 100 Hz with an amplitude of "depth" relative to its mean, with and
without averaging. Motion: a texture that slides sideways by a number of pixels per sweep. "error" is the median depth
error, "RMSE" its root mean square, both as fractions of the sweep range; "coverage" the fraction of known pixels;
"quality" the frames' quality by the watch, 1 without disturbances. "cost" is for random events at 640×480, 20 million
per second.

With `--seeds N` instead: the number of N other scenes in which flicker and motion were reported.
"""

import argparse
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from rich.console import Console
from rich.table import Table

from sweepdepth import Calibration
from sweepdepth.capture.disturbances import Watch, warm_up
from sweepdepth.capture.events import TRIGGER_DTYPE, Batch, join, make_events
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.capture.tracking import Span, make_tracker
from sweepdepth.net.polarity import estimate_depth
from sweepdepth.synth.optics.planes import TextureKind, make_texture, plane_images
from sweepdepth.synth.sensor import expose_sequence
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import Flicker, SimulatedRecording, focus_steps, simulate_sweeps

PLACES = (0.2, 0.4, 0.6, 0.8)
"""Positions of the planes, as fractions of the range in 1/m."""

SWEEPS, SETTLED = 10, 5
"""Sweeps per recording, and those ignored at its start, while the watch has not decided yet."""

BATCH_US = 10_000

LENS = """
camera = { width = 120, height = 90, pixel_pitch_um = 18.5, fx = 648.6, fy = 648.6, cx = 60.0, cy = 45.0 }
lens = { focal_length_mm = 12.0, f_number = 1.4 }
sweep = { waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, sync = "trigger" }
"""


@dataclass(frozen=True)
class Outcome:
    """Results of one recording in the runtime."""

    error: float
    rmse: float
    coverage: float
    events_in: int
    events_kept: int
    quality: float
    warnings: tuple[str, ...]


def planes(calibration: Calibration, seed: int) -> np.ndarray:
    """Images of four textured planes side by side, by focus."""
    camera, sweep, focus = calibration.camera, calibration.sweep, focus_steps(calibration)
    width = camera.width // len(PLACES)
    images = np.empty((len(focus), camera.height, camera.width), np.float32)
    for i, place in enumerate(PLACES):
        texture = make_texture("natural", 10 * seed + i, 0.6)
        columns = slice(i * width, (i + 1) * width)
        surface = sweep.far_diopters + place * sweep.range_diopters
        images[..., columns] = plane_images(texture, calibration, focus, surface)[..., columns]
    return images


def plane_diopters(calibration: Calibration) -> np.ndarray:
    """(W,) 1/m of the four planes."""
    sweep = calibration.sweep
    return sweep.far_diopters + sweep.range_diopters * np.repeat(PLACES, calibration.camera.width // len(PLACES))


def slide(
    calibration: Calibration, sensor: str, px_per_sweep: float, seed: int, kind: TextureKind = "natural"
) -> SimulatedRecording:
    """Sweeps over one plane in the middle of the range, whose texture slides sideways."""
    focus, texture = focus_steps(calibration), make_texture(kind, seed, 0.6)
    middle = calibration.sweep.far_diopters + calibration.sweep.range_diopters / 2
    still = np.zeros((2, calibration.camera.height, calibration.camera.width), np.float32)
    triggers = simulate_sweeps(still, calibration, PRESETS[sensor], sweeps=SWEEPS, seed=seed).triggers

    def passes() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in range(SWEEPS):
            along = i + np.linspace(0, 1, len(focus))
            images = []
            for at, phi in zip(along, focus if i % 2 == 0 else focus[::-1], strict=True):
                shift = texture.shift + 2 * np.pi * texture.frequency[:, 0] * px_per_sweep * at
                images.append(plane_images(replace(texture, shift=shift), calibration, [phi], middle)[0])
            yield np.array(images), along * calibration.sweep.duration_us

    return SimulatedRecording(calibration, expose_sequence(PRESETS[sensor], passes(), seed=seed), triggers)


def run(recording: SimulatedRecording, truth: np.ndarray, *, suppressing: bool) -> Outcome:
    """Process a recording by watch, tracker and estimator; `truth` (W,) is in 1/m."""
    events, triggers, calibration = recording.events, recording.triggers, recording.calibration
    watch, tracker = Watch(calibration, suppressing=suppressing), make_tracker(calibration)
    last_us = 1 + max(int(part["timestamp"][-1]) for part in (events, triggers))
    ends = [*range(BATCH_US, last_us, BATCH_US), last_us]
    sweeps: dict[int, list[Span]] = {}
    qualities: list[float] = []
    kept, before_us = 0, 0

    def take(spans: list[Span]) -> None:
        for span in spans:
            watch.see(span)
            sweeps.setdefault(span.sweep.start_us, []).append(span)
            if span.closed:
                qualities.append(watch.quality)

    for end_us in ends:
        (i, j), (k, m) = (np.searchsorted(part["timestamp"], (before_us, end_us)) for part in (events, triggers))
        cleaned = watch.clean(Batch(events[i:j], triggers[k:m], end_us))
        kept += len(cleaned.events)
        take(tracker.feed(cleaned))
        before_us = end_us
    take(tracker.feed(watch.finish(last_us)) + tracker.finish())

    range_diopters, errors = calibration.sweep.range_diopters, []
    for spans in list(sweeps.values())[SETTLED:]:
        if spans[-1].closed:
            estimate = estimate_depth(join([span.events for span in spans]), spans[-1].sweep)
            errors.append(np.abs(estimate.diopters - truth) / range_diopters)
    error = np.array(errors)
    return Outcome(
        float(np.nanmedian(error)),
        float(np.sqrt(np.nanmean(error**2))),
        float(np.isfinite(error).mean()),
        len(events),
        kept,
        float(np.mean(qualities[SETTLED:])),
        watch.warnings,
    )


def flicker_table(console: Console, sensors: list[str], depths: list[float], hz: float) -> None:
    calibration = Calibration.parse(LENS)
    images, truth = planes(calibration, 1), plane_diopters(calibration)
    table = Table(title=f"light of {hz:g} Hz, sweeps of 200 ms, 120×90, estimator polarity")
    for column in ("sensor", "depth", "events a pixel and sweep", "averaged", "error", "RMSE", "coverage", "quality"):
        table.add_column(column, justify="left" if column == "sensor" else "right")
    for sensor in sensors:
        for depth in depths:
            flicker = Flicker(hz, depth) if depth else None
            recording = simulate_sweeps(images, calibration, PRESETS[sensor], sweeps=SWEEPS, seed=1, flicker=flicker)
            for suppressing in (False, True) if depth else (False,):
                outcome = run(recording, truth, suppressing=suppressing)
                averaged = any("averaged" in line for line in outcome.warnings)
                per_sweep = outcome.events_in / images[0].size / SWEEPS
                if suppressing and not averaged:
                    continue  # same result
                row = [sensor, f"{depth:g}", f"{per_sweep:.0f}", "yes" if averaged else "no"]
                table.add_row(*row, *numbers(outcome))
    console.print(table)


def motion_table(console: Console, sensors: list[str], speeds: list[float]) -> None:
    calibration = Calibration.parse(LENS)
    middle = calibration.sweep.far_diopters + calibration.sweep.range_diopters / 2
    table = Table(title="a texture that slides sideways, sweeps of 200 ms, 120×90, estimator polarity")
    for column in ("sensor", "px a sweep", "warning", "error", "RMSE", "coverage", "quality"):
        table.add_column(column, justify="left" if column == "sensor" else "right")
    for sensor in sensors:
        for speed in speeds:
            outcome = run(slide(calibration, sensor, speed, 1), np.full(120, middle), suppressing=True)
            warned = any("during sweeps" in line for line in outcome.warnings)
            table.add_row(sensor, f"{speed:g}", "yes" if warned else "no", *numbers(outcome))
    console.print(table)


def numbers(outcome: Outcome) -> tuple[str, str, str, str]:
    return f"{outcome.error:.3f}", f"{outcome.rmse:.3f}", f"{outcome.coverage:.0%}", f"{outcome.quality:.2f}"


WARNING_TEXT = {"flicker": "flickers", "motion": "during sweeps"}
"""Text by which each disturbance is recognised in a warning."""


def detection_table(
    console: Console, sensors: list[str], depths: list[float], speeds: list[float], hz: float, seeds: range
) -> None:
    """Detection rates on scenes not used to choose the thresholds."""
    calibration = Calibration.parse(LENS)
    table = Table(title=f"scenes with a warning, of {len(seeds)}")
    for column in ("sensor", "scene", *WARNING_TEXT):
        table.add_column(column, justify="left" if column in ("sensor", "scene") else "right")

    def add(sensor: str, scene: str, recordings: Iterable[SimulatedRecording]) -> None:
        warnings = [warnings_of(recording) for recording in recordings]
        counts = (sum(any(words in line for line in lines) for lines in warnings) for words in WARNING_TEXT.values())
        table.add_row(sensor, scene, *map(str, counts))

    for sensor in sensors:
        pixels = PRESETS[sensor].model_copy(update={"hot_fraction": 0.0})
        for depth in depths:
            flicker = Flicker(hz, depth) if depth else None
            found = (
                simulate_sweeps(
                    planes(calibration, seed), calibration, pixels, sweeps=SWEEPS, seed=seed, flicker=flicker
                )
                for seed in seeds
            )
            add(sensor, f"light of {hz:g} Hz, depth {depth:g}" if depth else "four planes at rest", found)
        for speed in speeds:
            found = (slide(calibration, sensor, speed, seed, ("natural", "fine")[seed % 2]) for seed in seeds)
            add(sensor, f"texture that slides {speed:g} px a sweep", found)
    console.print(table)


def warnings_of(recording: SimulatedRecording) -> set[str]:
    """All warnings of the watch while a recording goes through it."""
    events, triggers, calibration = recording.events, recording.triggers, recording.calibration
    watch, tracker = Watch(calibration), make_tracker(calibration)
    last_us = 1 + max(int(part["timestamp"][-1]) for part in (events, triggers))
    warned: set[str] = set()
    before_us = 0
    for end_us in [*range(BATCH_US, last_us, BATCH_US), last_us]:
        (i, j), (k, m) = (np.searchsorted(part["timestamp"], (before_us, end_us)) for part in (events, triggers))
        for span in tracker.feed(watch.clean(Batch(events[i:j], triggers[k:m], end_us))):
            watch.see(span)
        warned.update(watch.warnings)
        before_us = end_us
    return warned


def cost_table(console: Console, n_events: int) -> None:
    """CPU time of the watch per event on random events, the worst case for the cache."""
    text = LENS.replace("width = 120, height = 90", "width = 640, height = 480")
    calibration, random = Calibration.parse(text), np.random.default_rng(0)
    events = make_events(
        np.sort(random.integers(0, n_events // 20, n_events)),
        random.integers(0, 640, n_events, dtype=np.int16),
        random.integers(0, 480, n_events, dtype=np.int16),
        random.integers(0, 2, n_events, dtype=np.int8),
    )
    ends = np.arange(BATCH_US, n_events // 20 + 1, BATCH_US)
    parts = np.split(events, np.searchsorted(events["timestamp"], ends[:-1]))
    none = np.empty(0, TRIGGER_DTYPE)
    warm_up()
    table = Table(title=f"cost, {n_events / 1e6:g} million events at 640×480")
    table.add_column("part")
    table.add_column("ns an event", justify="right")
    watch = Watch(calibration)
    began = time.process_time()
    for part, end_us in zip(parts, ends.tolist(), strict=True):
        watch.clean(Batch(part, none, end_us))
    cleaned = time.process_time()
    sweep = Sweep(0, n_events // 20, Direction.FAR_TO_NEAR, calibration)
    for part in parts:
        watch.see(Span(sweep, part, closed=False))
    done = time.process_time()
    table.add_row("detection of flicker and hot pixels", f"{1e9 * (cleaned - began) / n_events:.1f}")
    table.add_row("detection of motion", f"{1e9 * (done - cleaned) / n_events:.1f}")
    console.print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sensors", nargs="+", default=["davis346", "dvxplorer"], choices=sorted(PRESETS))
    parser.add_argument("--depths", nargs="+", type=float, default=[0.0, 0.1, 0.15, 0.2, 0.4, 0.8])
    parser.add_argument("--speeds", nargs="+", type=float, default=[0.0, 0.5, 1.0, 2.0, 4.0, 8.0])
    parser.add_argument("--hz", type=float, default=100.0)
    parser.add_argument("--seeds", type=int, help="number of scenes on which to count warnings")
    parser.add_argument("--first-seed", type=int, default=2)
    parser.add_argument("--events", type=float, default=2e7, help="events for the cost (default 2e7)")
    options = parser.parse_args()
    console = Console(width=110)
    if options.seeds:
        seeds = range(options.first_seed, options.first_seed + options.seeds)
        detection_table(console, options.sensors, options.depths, options.speeds, options.hz, seeds)
        return
    flicker_table(console, options.sensors, options.depths, options.hz)
    motion_table(console, options.sensors, options.speeds)
    cost_table(console, int(options.events))


if __name__ == "__main__":
    main()
