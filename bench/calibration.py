"""Errors of `sweepdepth calibrate` on simulated recordings, over seeds, sensors and textures.

Each row: a lens with a random range, delay and breathing, recorded at five distances with simulated sweeps over a
textured plane, and calibrated from an initial calibration that is wrong in all of them. "focus" is the largest error of
the focus over the sweep, as a fraction of the range; "magnification" the error at the near end; "hot" the hot pixels
found in a recording at rest, of the actual number. The measured delay includes the latency of the pixels, as it should,
since depth is computed from their events. So "delay" is its error relative to the lens's delay plus that latency, which
is printed beside it: see `lag_ms`.
"""

import argparse
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from sweepdepth import Calibration
from sweepdepth.capture.events import TRIGGER_DTYPE, Batch, join
from sweepdepth.capture.optics import breathing_magnification
from sweepdepth.capture.recordings import write_recording
from sweepdepth.capture.reporting.figures import save_figure
from sweepdepth.capture.target_calibration import Calibrated, Target, calibrate
from sweepdepth.capture.target_calibration.report import calibration_figure
from sweepdepth.synth.optics.planes import TextureKind, make_texture, plane_images
from sweepdepth.synth.sensor import advance, expose_first, finish
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import focus_steps, simulate_sweeps

EPOCH_US = 1_763_000_000_000_000
DISTANCES = (0.15, 0.32, 0.5, 0.68, 0.85)
"""Positions of the targets, as fractions of the range in 1/m."""


def lens_of(seed: int, width: int, height: int, waveform: str) -> Calibration:
    """A lens with random ends, delay and breathing."""
    random = np.random.default_rng([seed, 5])
    far = random.uniform(0.3, 0.8)
    return Calibration.model_validate(
        {
            "camera": {
                "width": width,
                "height": height,
                "pixel_pitch_um": 18.5,
                "fx": 648.6,
                "fy": 648.6,
                "cx": width / 2,
                "cy": height / 2,
            },
            "lens": {"focal_length_mm": 12.0, "f_number": 1.4},
            "sweep": {
                "waveform": waveform,
                "frequency_hz": 2.5,
                "far_diopters": far,
                "near_diopters": far + random.uniform(1.6, 2.4),
                "sync": "trigger",
                "delay_us": int(random.integers(-6000, 9000)),
            },
            "breathing": {
                "scale_per_diopter": random.uniform(0.003, 0.015) * random.choice([-1, 1]),
                "center": (width * random.uniform(0.45, 0.55), height * random.uniform(0.45, 0.55)),
            },
        }
    )


def start_from(truth: Calibration) -> Calibration:
    """A typical initial calibration: rounded ends, no delay, no breathing."""
    sweep = truth.sweep
    rough = {
        "far_diopters": sweep.far_diopters + 0.04 * sweep.range_diopters,
        "near_diopters": sweep.near_diopters + 0.06 * sweep.range_diopters,
        "delay_us": 0,
    }
    return truth.model_copy(update={"sweep": sweep.model_copy(update=rough), "breathing": None, "focus_curve": None})


def record_targets(
    folder: Path, truth: Calibration, kind: TextureKind, sensor: str, seed: int, contrast: float
) -> list[Target]:
    """Recordings of a plane at `DISTANCES`, six sweeps each."""
    targets = []
    for i, place in enumerate(DISTANCES):
        surface = truth.sweep.far_diopters + place * truth.sweep.range_diopters
        texture = make_texture(kind, seed=10 * seed + i, contrast=contrast)
        images = plane_images(texture, truth, focus_steps(truth), surface)
        recorded = simulate_sweeps(images, truth, PRESETS[sensor], sweeps=6, seed=seed + i, start_us=EPOCH_US)
        end_us = 1 + max(int(recorded.events["timestamp"][-1]), int(recorded.triggers["timestamp"][-1]))
        path = folder / f"target_{i}.h5"
        batch = Batch(recorded.events, recorded.triggers, end_us)
        write_recording(path, [batch], truth.camera.width, truth.camera.height, force=True)
        targets.append(Target(path, 1 / surface))
    return targets


def record_rest(folder: Path, truth: Calibration, sensor: str, seed: int, seconds: float = 10.0) -> tuple[Path, int]:
    """A recording of a static image with the lens at rest, and the number of hot pixels."""
    size = (truth.camera.height, truth.camera.width)
    preset = PRESETS[sensor].model_copy(update={"hot_fraction": 5e-4, "hot_hz": 50.0})
    images = np.full((2, *size), 0.4, np.float32)
    array = expose_first(preset, images[0], EPOCH_US, seed=seed)
    events = advance(array, images[1:], np.array([EPOCH_US + seconds * 1e6]))
    events = join([events, finish(array)])
    path = folder / "rest.h5"
    batch = Batch(events, np.empty(0, TRIGGER_DTYPE), int(EPOCH_US + seconds * 1e6))
    write_recording(path, [batch], truth.camera.width, truth.camera.height, force=True)
    return path, int(np.count_nonzero(array.pixels.hot))


def lag_ms(truth: Calibration, kind: TextureKind, sensor: str, seed: int, contrast: float) -> float:
    """Mean latency of the pixels over the events of a plane in mid-range.

    A photoreceptor with cutoff f follows slow changes with a lag of 1/(2πf), where f is proportional to the light; the
    half-normal readout delay has a mean of σ·√(2/π), and timestamps are late by half their resolution.
    """
    pixels = PRESETS[sensor].model_copy(update={"leak_hz": 0, "shot_noise_hz": 0, "hot_fraction": 0})
    middle = len(DISTANCES) // 2
    texture = make_texture(kind, seed=10 * seed + middle, contrast=contrast)
    surface = truth.sweep.far_diopters + DISTANCES[middle] * truth.sweep.range_diopters
    images = plane_images(texture, truth, focus_steps(truth), surface)
    events = simulate_sweeps(images, truth, pixels, sweeps=2, seed=seed, start_us=EPOCH_US).events
    passed = np.clip((events["timestamp"] - EPOCH_US) / truth.sweep.duration_us, 0, 2)
    frame = np.rint(np.minimum(passed, 2 - passed) * (len(images) - 1)).astype(int)
    light = images[frame, events["y"], events["x"]] + pixels.stray_light + pixels.dark_level
    response_s = 1 / (2 * np.pi * pixels.bandwidth_hz * light) if pixels.bandwidth_hz else np.zeros(1)
    readout_us = pixels.delay_us * (2 / np.pi) ** 0.5 + (pixels.resolution_us - 1) / 2
    return 1e3 * float(response_s.mean()) + 1e-3 * readout_us


@dataclass(frozen=True)
class Errors:
    """Errors of a calibration."""

    focus: float  # largest over the sweep, as a fraction of the range
    magnification: float  # at the near end
    delay_ms: float  # relative to the lens's delay plus the pixels' latency


def errors_of(result: Calibrated, truth: Calibration, lag_ms: float) -> Errors:
    """Errors of a result; the pixels' latency is `lag_ms`."""
    found, phase = result.calibration, np.linspace(0, 1, 101)
    focus = np.abs(found.focus_at(phase) - truth.focus_at(phase)).max() / truth.sweep.range_diopters
    near = truth.sweep.near_diopters
    assert found.breathing is not None
    assert truth.breathing is not None
    magnification = [
        breathing_magnification(near, truth.sweep.far_diopters, c.breathing.scale_per_diopter)
        for c in (found, truth)
        if c.breathing is not None
    ]
    return Errors(
        float(focus),
        float(magnification[0] - magnification[1]),
        (found.sweep.delay_us - truth.sweep.delay_us) / 1000 - lag_ms,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=2, help="how many")
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--sensors", nargs="+", default=["clean", "davis346", "dvxplorer"], choices=sorted(PRESETS))
    parser.add_argument("--textures", nargs="+", default=["natural", "fine"], choices=["natural", "fine", "board"])
    parser.add_argument("--contrast", type=float, default=0.6)
    parser.add_argument("--size", type=int, nargs=2, default=(120, 90), metavar=("WIDTH", "HEIGHT"))
    parser.add_argument("--picture", type=Path, help="where the plot of the last row goes, as calibrate draws it")
    options = parser.parse_args()
    table = Table(title=f"calibration from five distances, {options.size[0]}×{options.size[1]}")
    for column in (
        "sensor",
        "texture",
        "waveform",
        "seed",
        "focus",
        "magnification",
        "delay ms",
        "lag ms",
        "hot",
        "verdict",
        "s",
    ):
        table.add_column(column, justify="left" if column in ("sensor", "texture", "waveform") else "right")
    with tempfile.TemporaryDirectory() as folder:
        for sensor in options.sensors:
            for kind in options.textures:
                for seed in range(options.first_seed, options.first_seed + options.seeds):
                    waveform = ("triangle", "sine")[seed % 2]
                    truth = lens_of(seed, options.size[0], options.size[1], waveform)
                    targets = record_targets(Path(folder), truth, kind, sensor, seed, options.contrast)
                    began = time.process_time()
                    rest, n_hot = record_rest(Path(folder), truth, sensor, seed)
                    result = calibrate(targets, start_from(truth), rest)
                    seconds = time.process_time() - began
                    lag = lag_ms(truth, kind, sensor, seed, options.contrast)
                    errors = errors_of(result, truth, lag)
                    table.add_row(
                        sensor,
                        kind,
                        waveform,
                        str(seed),
                        f"{errors.focus:.2%}",
                        f"{errors.magnification:+.3%}",
                        f"{errors.delay_ms:+.2f}",
                        f"{lag:.2f}",
                        f"{len(result.calibration.camera.hot_pixels)}/{n_hot}",
                        result.grade,
                        f"{seconds:.0f}",
                    )
                    Console(width=120, stderr=True).print(result.verdict, errors)
                    if options.picture:
                        save_figure(calibration_figure(result), options.picture)
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
