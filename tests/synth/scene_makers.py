"""Scene makers without Blender, some of them faulty, and how to run a job with them.

They run in the job's own processes, which import this module by name.
"""

import os
import resource
import signal
import time
from pathlib import Path

import numpy as np

from sweepdepth.synth.generation.config import GenerationConfig
from sweepdepth.synth.generation.draws import sample_calibration
from sweepdepth.synth.generation.job import generate
from sweepdepth.synth.generation.make_scene import sweep_light_field, write_recordings
from sweepdepth.synth.optics.lightfield import LightField, aperture_offsets, margin_for

VIEWS = 12
TINY = GenerationConfig.parse(
    {
        "sweeps": 2,
        "camera": {"width": 64, "height": 48, "pixel_pitch_um": 18.5},
        "lens": {"blur_px": [2, 12]},
        "intensity": {"frames": 3},
    }
)


def run(folder, scenes, *, maker="make", workers: int | None = 2, seed=0, config=TINY, **options):
    return generate(folder, scenes, seed, config, workers=workers, maker=f"scene_makers:{maker}", **options)


def notes(folder):
    """The log of the makers so far: a line for each scene begun or completed."""
    path = Path(folder).with_suffix(".notes")
    return path.read_text().splitlines() if path.exists() else []


def tilted_plane(calibration, seed):
    """The light field of a textured plane through the whole range of the sweep, from left to right."""
    camera, sweep = calibration.camera, calibration.sweep
    random = np.random.default_rng(seed)
    frequency, angle, shift = random.uniform(0.2, 1.5, 12), *random.uniform(0, 2 * np.pi, (2, 12))
    margin = margin_for(calibration)
    y, x = np.mgrid[-margin : camera.height + margin, -margin : camera.width + margin] + 0.5
    reference = (sweep.far_diopters + sweep.near_diopters) / 2
    slope = sweep.range_diopters / camera.width
    offsets = aperture_offsets(VIEWS, calibration.lens.aperture_m)
    views = []
    for u, v in offsets:
        # A point of the plane at x in the centre view, of inverse depth far + slope · x, is seen in this view at
        # x − fx · u · (far + slope · x − reference), which is solved for x.
        at = (x + camera.fx * u * (sweep.far_diopters - reference)) / (1 - camera.fx * u * slope)
        row = y + camera.fx * v * (sweep.far_diopters + slope * at - reference)
        waves = np.cos(frequency * (np.cos(angle) * at[..., None] + np.sin(angle) * row[..., None]) + shift)
        views.append(0.4 + 0.35 * waves.sum(axis=-1) / np.abs(waves.sum(axis=-1)).max())
    columns = np.arange(camera.width) + 0.5
    depth = np.broadcast_to(1 / (sweep.far_diopters + slope * columns), (camera.height, camera.width))
    frame = slice(margin, margin + camera.height), slice(margin, margin + camera.width)
    return LightField(
        views=np.array(views, np.float32),
        offsets=offsets,
        jitter=np.zeros((VIEWS, 2)),
        margin=margin,
        reference_diopters=reference,
        depth=depth.astype(np.float32),
        intensity=np.array(views[0][frame], np.float32),
    )


def make(order, index):
    """Like `generation.make_scene`, with an analytic scene instead of Blender's."""
    config = GenerationConfig.model_validate(order["config"])
    calibration = sample_calibration(order["seed"], index, config)
    light_field = tilted_plane(calibration, [order["seed"], index])
    images = sweep_light_field(light_field, calibration, config, order["threads"])
    folder = Path(order["folder"])
    events = write_recordings(images, calibration, config, folder, order["seed"], index, {"scene": '"a plane"'})
    _note(order, f"{index} made by {os.getpid()}")
    return {"events": events, "render_s": 0.0, "total_s": 0.0, "cpu_s": 0.0}


def make_when_released(order, index):
    """Waits for the file that `release` creates."""
    _note(order, f"{index} begun by {os.getpid()}")
    deadline = time.monotonic() + 200
    while not _gate(order["folder"]).exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    return make(order, index)


def release(folder):
    """Let `make_when_released` make its scenes."""
    _gate(folder).touch()


def _gate(folder):
    return Path(folder).with_suffix(".released")


def make_and_note_threads(order, index):
    made = make(order, index)
    _note(order, f"{index} with {order['threads']} threads")
    return made


def make_two_and_hang(order, index):
    _note(order, f"{index} begun by {os.getpid()}")
    if index >= 2:
        time.sleep(1000)
    return make(order, index)


def make_unless_ill(order, index):
    """Scene 1 crashes the first time, scene 2 always, scene 3 hangs, scene 4 raises."""
    _note(order, f"{index} begun by {os.getpid()}")
    attempts = sum(line.startswith(f"{index} begun") for line in notes(order["folder"]))
    if index == 1 and attempts == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if index == 2:
        print("the last words of Blender", flush=True)
        os.abort()
    if index == 3:
        time.sleep(1000)
    if index == 4:
        raise ZeroDivisionError("no light at all")
    return make(order, index)


def make_until_full(order, index):
    """From scene 2 on, no file can be written, as on a full disk."""
    if index >= 2:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (5000, resource.RLIM_INFINITY))
    return make(order, index)


def _note(order, line):
    with Path(order["folder"]).with_suffix(".notes").open("a") as file:
        file.write(line + "\n")
