"""The event sensor model: frames per second of the kernel and its NumPy reference on a focal sweep.

    ./run bench sensor --frames 400

Frames show a textured slanted surface during sweeps, at two steps of blur: the default of simulations, and one that
gives about the 120 images per sweep that simulators with interpolated event times need. Times are CPU time of `advance`
on one core, sorting included, the best of the repetitions. "memory" is the speed at which one core can only read the
same frames.
"""

import argparse
import time
import timeit
from collections.abc import Callable

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import j1

from sweepdepth import Calibration
from sweepdepth.synth.sensor import Sensor, advance, advance_numpy, expose_first
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import DEFAULT_BLUR_STEP_PX, focus_steps

LENS = """
camera = { width = 346, height = 260, pixel_pitch_um = 18.5, fx = 648.6, fy = 648.6, cx = 173.0, cy = 130.0 }
lens = { focal_length_mm = 12.0, f_number = 1.4 }
sweep = { waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, sync = "trigger" }
"""
BLUR_LEVELS_PER_PX = 8
FINE_BLUR_STEP_PX = 0.1


def sweep_stack(calibration: Calibration, focus: np.ndarray, seed: int) -> np.ndarray:
    """Images of a slanted surface through the range, with the spectrum of natural images: (S, H, W) float32.

    Each column is interpolated between images blurred by discs in the frequency domain.
    """
    camera, sweep = calibration.camera, calibration.sweep
    random = np.random.default_rng(seed)
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(camera.width), np.fft.fftfreq(camera.height)))
    spectrum = np.fft.rfft2(random.standard_normal((camera.height, camera.width))) / np.maximum(frequency, 0.01)
    per_diopter = camera.fx * calibration.lens.aperture_m
    levels = []
    for level in range(int(per_diopter * sweep.range_diopters * BLUR_LEVELS_PER_PX) + 2):
        z = np.pi * frequency * level / BLUR_LEVELS_PER_PX + 1e-9
        levels.append(np.fft.irfft2(spectrum * 2 * j1(z) / z, s=(camera.height, camera.width)))
    levels = np.array(levels)
    levels = np.exp(0.5 * levels / levels[0].std()) * 0.18
    surface = np.linspace(sweep.far_diopters, sweep.near_diopters, camera.width)
    columns = np.arange(camera.width)
    stack = []
    for phi in focus:
        at = per_diopter * np.abs(phi - surface) * BLUR_LEVELS_PER_PX
        low = at.astype(int)
        share = at - low
        stack.append(levels[low, :, columns].T * (1 - share) + levels[low + 1, :, columns].T * share)
    return np.array(stack, np.float32)


def frames_per_second(
    sensor: Sensor, frames: np.ndarray, step: Callable[..., np.ndarray], duration_us: float, repeat: int
) -> tuple[float, int]:
    """Frames per second, the best of the repetitions, and the number of events."""
    times = np.arange(len(frames)) * duration_us
    best, count = np.inf, 0
    for _ in range(repeat):
        array = expose_first(sensor, frames[0], 0.0, seed=1)
        start = time.process_time()
        count = len(step(array, frames[1:], times[1:]))
        best = min(best, time.process_time() - start)
    return (len(frames) - 1) / best, count


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()

    calibration = Calibration.parse(LENS)
    table = Table(title=f"Event sensor, {calibration.camera.width}×{calibration.camera.height}, one core")
    for column in ("sensor", "images / sweep", "events / frame", "kernel, frames / s", "NumPy twin", "ratio", "memory"):
        table.add_column(column, justify="left" if column == "sensor" else "right")
    for blur_step_px in (DEFAULT_BLUR_STEP_PX, FINE_BLUR_STEP_PX):
        stack = sweep_stack(calibration, focus_steps(calibration, blur_step_px), seed=0)
        there_and_back = np.concatenate([np.arange(len(stack)), np.arange(len(stack) - 2, 0, -1)])
        frames = stack[np.resize(there_and_back, options.frames)]
        few = frames[: max(20, options.frames // 8)]
        step_us = calibration.sweep.duration_us / (len(stack) - 1)
        memory = len(frames) / min(timeit.repeat(frames.max, number=1, repeat=options.repeat, timer=time.process_time))
        for name, sensor in PRESETS.items():
            fast, count = frames_per_second(sensor, frames, advance, step_us, options.repeat)
            slow, _ = frames_per_second(sensor, few, advance_numpy, step_us, 2)
            table.add_row(
                name,
                f"{len(stack)}",
                f"{count / len(frames):.0f}",
                f"{fast:,.0f}",
                f"{slow:,.0f}",
                f"{fast / slow:.0f}×",
                f"{100 * fast / memory:.0f} % of {memory:,.0f}",
            )
        table.add_section()
    Console().print(table)
