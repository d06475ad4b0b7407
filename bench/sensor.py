"""The event sensor model: frames per second of the kernel, of its NumPy reference and of v2e, on a focal sweep.

    ./run bench sensor --frames 400 --v2e ~/v2e
    ./run bench sensor --sensors davis346 --steps 0.25

Frames show a textured slanted surface during sweeps, at two steps of blur: the default of simulations, and one that
gives about the 120 images per sweep that simulators with interpolated event times need. Times are CPU time of `advance`
on one core, sorting included, the best of the repetitions; "threads" is by the clock, on all cores. "memory" is the
speed at which one core can only read the same frames. With `--v2e`, v2e's emulator of a checkout takes the same frames
with the same thresholds, bandwidth, leak, noise and dead time, on one core in PyTorch; repetitions of both alternate.
The second table divides the time of one core; "pixels" is that with thresholds that nothing reaches.
"""

import argparse
import os
import sys
import time
import timeit
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import j1

from sweepdepth import Calibration
from sweepdepth.capture.events import EVENT_DTYPE
from sweepdepth.synth.sensor import Sensor, advance, advance_numpy, expose_first
from sweepdepth.synth.sensor.kernel import expose
from sweepdepth.synth.sensor.keys import read_out, sort_keys
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import DEFAULT_BLUR_STEP_PX, focus_steps

LENS = """
camera = { width = 346, height = 260, pixel_pitch_um = 18.5, fx = 648.6, fy = 648.6, cx = 173.0, cy = 130.0 }
lens = { focal_length_mm = 12.0, f_number = 1.4 }
sweep = { waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, sync = "trigger" }
"""
BLUR_LEVELS_PER_PX = 8
FINE_BLUR_STEP_PX = 0.1
BLIND = {"on_threshold": 10.0, "off_threshold": 10.0, "leak_hz": 0.0, "shot_noise_hz": 0.0, "hot_fraction": 0.0}


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
    sensor: Sensor,
    frames: np.ndarray,
    step: Callable[..., np.ndarray],
    duration_us: float,
    repeat: int,
    clock: Callable[[], float] = time.process_time,
) -> tuple[float, int]:
    """Best of the repetitions, and the number of events."""
    times = np.arange(len(frames)) * duration_us
    best, count = np.inf, 0
    for _ in range(repeat):
        array = expose_first(sensor, frames[0], 0.0, seed=1)
        start = clock()
        count = len(step(array, frames[1:], times[1:]))
        best = min(best, clock() - start)
    return (len(frames) - 1) / best, count


def parts(sensor: Sensor, frames: np.ndarray, duration_us: float, repeat: int) -> list[str]:
    """Cells of the second table: µs per frame and ns per event of one core."""
    steps, times = len(frames) - 1, np.arange(len(frames)) * duration_us
    best: dict[str, float] = dict.fromkeys(("pixels", "events", "sort", "decode"), np.inf)
    count = 0

    def kernel_seconds(shown: Sensor) -> tuple[float, np.ndarray]:
        kept: list[tuple[float, np.ndarray]] = []

        def timed(*arguments: Any) -> np.ndarray:
            start = time.thread_time()
            keys = expose(*arguments)
            kept.append((time.thread_time() - start, keys.copy()))
            return keys

        advance(expose_first(shown, frames[0], 0.0, seed=1), frames[1:], times[1:], timed)
        return kept[0]

    for _ in range(repeat):
        pixels, _ = kernel_seconds(sensor.model_copy(update=BLIND))
        whole, keys = kernel_seconds(sensor)
        count = len(keys)
        events = np.empty(count, EVENT_DTYPE)
        start = time.thread_time()
        keys = sort_keys(keys)
        sorted_at = time.thread_time()
        read_out(keys, frames.shape[2], 0, 1 / sensor.rate_limit_meps if sensor.rate_limit_meps else 0.0, 0.0, events)
        took = (pixels, whole, sorted_at - start, time.thread_time() - sorted_at)
        best = {name: min(best[name], seconds) for name, seconds in zip(best, took, strict=True)}
    best["events"] -= best["pixels"]
    per_event = (f"{1e9 * best[name] / count:.0f}" for name in ("events", "sort", "decode"))
    return [f"{count / steps:.0f}", *(f"{1e6 * seconds / steps:.0f}" for seconds in best.values()), *per_event]


def v2e_frames_per_second(folder: Path, sensor: Sensor, frames: np.ndarray, duration_us: float) -> float:
    """Frames per second of CPU time of v2e's emulator on one core."""
    import torch

    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    emulator = __import__("v2ecore.emulator", fromlist=["EventEmulator"]).EventEmulator(
        pos_thres=sensor.on_threshold,
        neg_thres=sensor.off_threshold,
        sigma_thres=sensor.threshold_sigma,
        cutoff_hz=sensor.bandwidth_hz,
        leak_rate_hz=sensor.leak_hz,
        refractory_period_s=1e-6 * sensor.refractory_us,
        shot_noise_rate_hz=sensor.shot_noise_hz,
        seed=1,
        device="cpu",
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    emulator.generate_events(255 * frames[0], 0.0)
    start = time.process_time()
    for i, frame in enumerate(frames[1:], 1):
        emulator.generate_events(255 * frame, 1e-6 * duration_us * i)
    took = time.process_time() - start
    torch.set_num_threads(threads)
    return (len(frames) - 1) / took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=400)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--sensors", nargs="+", default=list(PRESETS), choices=list(PRESETS))
    parser.add_argument("--steps", type=float, nargs="+", default=[DEFAULT_BLUR_STEP_PX, FINE_BLUR_STEP_PX], help="px")
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--v2e", type=Path, help="a checkout of v2e to compare with")
    options = parser.parse_args()

    calibration = Calibration.parse(LENS)
    shared = partial(advance, kernel=partial(expose, threads=options.threads))
    table = Table(title=f"Event sensor, {calibration.camera.width}×{calibration.camera.height}, frames / s")
    columns = ("sensor", "images / sweep", "events / frame", "one core", "ns / pixel", f"{options.threads} threads")
    for column in (*columns, "NumPy twin", "ratio", "memory", *(("v2e", "ratio") if options.v2e else ())):
        table.add_column(column, justify="left" if column == "sensor" else "right")
    divided = Table(title="One core: µs per frame, and ns per event")
    for column in ("sensor", "images / sweep", "events / frame", "pixels", "events", "sort", "decode"):
        divided.add_column(column, justify="left" if column == "sensor" else "right")
    for column in ("ns/event", "sort", "decode"):
        divided.add_column(column, justify="right")
    for blur_step_px in options.steps:
        stack = sweep_stack(calibration, focus_steps(calibration, blur_step_px), seed=0)
        there_and_back = np.concatenate([np.arange(len(stack)), np.arange(len(stack) - 2, 0, -1)])
        frames = stack[np.resize(there_and_back, options.frames)]
        few = frames[: max(20, options.frames // 8)]
        step_us = calibration.sweep.duration_us / (len(stack) - 1)
        memory = len(frames) / min(timeit.repeat(frames.max, number=1, repeat=options.repeat, timer=time.process_time))
        for name in options.sensors:
            sensor, fast, count, v2e = PRESETS[name], 0.0, 0, 0.0
            for _ in range(options.repeat):
                once, count = frames_per_second(sensor, frames, advance, step_us, 1)
                fast = max(fast, once)
                if options.v2e:
                    v2e = max(v2e, v2e_frames_per_second(options.v2e, sensor, few, step_us))
            threaded, _ = frames_per_second(sensor, frames, shared, step_us, options.repeat, time.perf_counter)
            slow, _ = frames_per_second(sensor, few, advance_numpy, step_us, 2)
            row = [
                name,
                f"{len(stack)}",
                f"{count / len(frames):.0f}",
                f"{fast:,.0f}",
                f"{1e9 / fast / frames[0].size:.2f}",
                f"{threaded:,.0f}",
                f"{slow:,.0f}",
                f"{fast / slow:.0f}×",
                f"{100 * fast / memory:.0f} % of {memory:,.0f}",
            ]
            if options.v2e:
                row += [f"{v2e:,.0f}", f"{fast / v2e:.0f}×, {threaded / v2e:.0f}×"]
            table.add_row(*row)
            divided.add_row(name, f"{len(stack)}", *parts(sensor, frames, step_us, options.repeat))
        table.add_section()
        divided.add_section()
    Console(width=140).print(table, divided)


if __name__ == "__main__":
    main()
