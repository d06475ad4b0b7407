"""Depth at the bin rate compared with the sweep rate, on a plane that moves towards and away from the camera.

A textured plane oscillates in depth in front of a sweeping lens; the events go through the runtime's binning and
estimator. Frames are dated by their newest event, without computing time. "age" is the mean age of a frame's events (by
bin), "at hand" that of the latest frame's events at any time. "own error" compares a frame with the ground truth at the
mean time of its events, which measures accuracy; "error now" compares the latest frame at any time with the ground
truth at that time, which includes its age. Errors are medians, as fractions of the sweep range.
"""

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from rich.console import Console
from rich.table import Table

from sweepdepth import Calibration
from sweepdepth.capture.events import Batch
from sweepdepth.capture.tracking import make_tracker
from sweepdepth.net.estimators import NAMES, make_estimator
from sweepdepth.stream.pipeline import Pipeline, Rate, Sinks
from sweepdepth.stream.wire.messages import DepthFrame
from sweepdepth.synth.optics.planes import make_texture, plane_images
from sweepdepth.synth.sensor import expose_sequence
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import focus_steps, simulate_sweeps

SWEEPS = 10
MIDDLE, SWING = 0.5, 0.25
"""Mean and amplitude of the plane's position, as fractions of the range in 1/m."""

LENS = """
camera = { width = 120, height = 90, pixel_pitch_um = 18.5, fx = 648.6, fy = 648.6, cx = 60.0, cy = 45.0 }
lens = { focal_length_mm = 12.0, f_number = 1.4 }
sweep = { waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, sync = "trigger" }
"""


@dataclass(frozen=True)
class Moving:
    """A recording of a moving plane, and its position over time."""

    calibration: Calibration
    batch: Batch
    hz: float  # frequency of the oscillation

    def diopters_at(self, time_us: np.ndarray) -> np.ndarray:
        sweep = self.calibration.sweep
        place = MIDDLE + SWING * np.sin(2 * np.pi * self.hz * np.asarray(time_us) * 1e-6)
        return sweep.far_diopters + place * sweep.range_diopters


def record_moving(hz: float, sensor: str, seed: int) -> Moving:
    """Simulate sweeps over the plane, whose texture grows as it approaches."""
    calibration = Calibration.parse(LENS)
    moving = Moving(calibration, Batch(np.empty(0), np.empty(0), 0), hz)
    steps = focus_steps(calibration)
    still = np.zeros((2, calibration.camera.height, calibration.camera.width), np.float32)
    triggers = simulate_sweeps(still, calibration, PRESETS[sensor], sweeps=SWEEPS, seed=seed).triggers
    duration, texture = calibration.sweep.duration_us, make_texture("natural", seed, 0.6)

    def passes() -> Iterator[tuple[np.ndarray, np.ndarray]]:
        for i in range(SWEEPS):
            focus = steps if i % 2 == 0 else steps[::-1]
            times = (i + np.linspace(0, 1, len(focus))) * duration
            surface = moving.diopters_at(times)
            yield plane_images(texture, calibration, focus, surface, surface / 1.5), times

    events = expose_sequence(PRESETS[sensor], passes(), seed=seed)
    return Moving(calibration, Batch(events, triggers, int(SWEEPS * duration) + 1000), hz)


def frames_of(moving: Moving, rate: Rate, estimator: str) -> list[DepthFrame]:
    frames: list[DepthFrame] = []
    tracker = make_tracker(moving.calibration)
    Pipeline(moving.calibration, tracker, make_estimator(estimator), Sinks((frames.append,)), rate=rate).run(
        [moving.batch]
    )
    return frames


def mean_time(frame: DepthFrame) -> float:
    """Mean time of a frame's events in µs, with equal weights for bins."""
    return float(np.mean(frame.bin_spans_us)) if len(frame.bin_spans_us) else (frame.t_start_us + frame.t_end_us) / 2


def rows(moving: Moving, frames: list[DepthFrame]) -> list[str]:
    span = moving.calibration.sweep.range_diopters
    end = np.array([frame.t_end_us for frame in frames])
    mean = np.array([mean_time(frame) for frame in frames])

    def error(frame: DepthFrame, time_us: float) -> float:
        return float(np.nanmedian(np.abs(1 / frame.depth - moving.diopters_at(np.array(time_us))))) / span

    settled = end >= 2 * moving.calibration.sweep.duration_us
    own = [error(f, t) for f, t, s in zip(frames, mean, settled, strict=True) if s]
    now = np.arange(2 * moving.calibration.sweep.duration_us, end[-1], 4000)
    at_hand = np.searchsorted(end, now, side="right") - 1
    wrong = [error(frames[i], t) for i, t in zip(at_hand, now, strict=True)]
    coverage = np.mean([np.isfinite(f.depth).mean() for f, s in zip(frames, settled, strict=True) if s])
    return [
        f"{1e6 * (len(end) - 1) / (end[-1] - end[0]):.0f}",
        f"{np.mean(end - mean) / 1000:.0f}",
        f"{np.mean(now - mean[at_hand]) / 1000:.0f}",
        f"{coverage:.0%}",
        f"{np.mean(own):.3f}",
        f"{np.mean(wrong):.3f}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hz", type=float, nargs="+", default=[0.0, 0.1, 0.2, 0.4, 0.8], help="swings a second")
    parser.add_argument("--sensor", choices=sorted(PRESETS), default="davis346")
    parser.add_argument("--estimator", choices=NAMES, default="polarity")
    options = parser.parse_args()
    title = f"a plane swinging over {2 * SWING:.0%} of the range, sweeps of 200 ms, {options.estimator}"
    table = Table(title=title)
    columns = ("swings/s", "rate", "frames/s", "age, ms", "at hand, ms", "coverage", "own error", "error now")
    for column in columns:
        table.add_column(column, justify="right")
    for hz in options.hz:
        moving = record_moving(hz, options.sensor, seed=1)
        rates: tuple[Rate, ...] = ("sweep", "bin")
        for rate in rates:
            table.add_row(f"{hz:g}", rate, *rows(moving, frames_of(moving, rate, options.estimator)))
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
