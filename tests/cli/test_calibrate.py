"""`sweepdepth calibrate` from the command line, on simulated recordings whose lens is known."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from sweepdepth import Calibration
from sweepdepth.capture.events import TRIGGER_DTYPE, Batch, make_events
from sweepdepth.capture.optics import breathing_magnification
from sweepdepth.capture.recordings import write_recording
from sweepdepth.synth.optics.planes import make_texture, plane_images
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import focus_steps, simulate_sweeps

START_US = 1_763_000_000_000_000

PLACES = (0.2, 0.5, 0.8)
"""Of the targets, in parts of the range."""

COMMAND = Path(sys.executable).with_name("sweepdepth")

TRUTH = """
camera = { width = 96, height = 72, pixel_pitch_um = 18.5, fx = 700.0, fy = 700.0, cx = 48.0, cy = 36.0 }
lens = { focal_length_mm = 12.0, f_number = 1.4 }

[sweep]
waveform = "triangle"
frequency_hz = 2.5
far_diopters = 0.5
near_diopters = 2.5
sync = "trigger"
delay_us = 6000

[breathing]
scale_per_diopter = 0.008
center = [52.0, 34.0]
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Three targets, an initial calibration that is wrong in every value, and a recording at rest."""
    folder, truth = tmp_path_factory.mktemp("calibrate"), Calibration.parse(TRUTH)
    for i, place in enumerate(PLACES):
        surface = truth.sweep.far_diopters + place * truth.sweep.range_diopters
        images = plane_images(make_texture("fine", i, 0.6), truth, focus_steps(truth), surface)
        recorded = simulate_sweeps(images, truth, PRESETS["clean"], sweeps=6, seed=i, start_us=START_US)
        end_us = 1 + max(int(part["timestamp"][-1]) for part in (recorded.events, recorded.triggers))
        write_recording(folder / f"target_{i}.h5", [Batch(recorded.events, recorded.triggers, end_us)], 96, 72)
    rough = truth.sweep.model_copy(update={"far_diopters": 0.55, "near_diopters": 2.6, "delay_us": 0})
    start = truth.model_copy(update={"sweep": rough, "breathing": None})
    (folder / "start.toml").write_text(start.to_toml())

    random = np.random.default_rng(0)
    noise, hot = 1400, 400
    x = np.concatenate([random.integers(0, 96, noise), np.full(hot, 12)])
    y = np.concatenate([random.integers(0, 72, noise), np.full(hot, 7)])
    time = np.sort(random.integers(START_US, START_US + 2_000_000, len(x)))
    resting = Batch(make_events(time, x, y, random.random(len(x)) < 0.5), np.empty(0, TRIGGER_DTYPE), int(time[-1]) + 1)
    write_recording(folder / "rest.h5", [resting], 96, 72)
    return folder


def sweepdepth(*arguments) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=250, check=False)


def targets(folder: Path) -> list[str]:
    return [
        f"{folder / f'target_{i}.h5'}@{1 / diopters:.6f}"
        for i, diopters in enumerate(0.5 + 2 * place for place in PLACES)
    ]


def test_a_known_lens_is_calibrated(folder):
    out = folder / "lens.toml"
    run = sweepdepth(
        "calibrate",
        *targets(folder),
        "--lens",
        folder / "start.toml",
        "--out",
        out,
        "--rest",
        folder / "rest.h5",
        "--json",
    )
    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout)
    found, truth = Calibration.load(out), Calibration.parse(TRUTH)
    phase = np.linspace(0, 1, 51)
    assert np.abs(found.focus_at(phase) - truth.focus_at(phase)).max() < 0.01 * truth.sweep.range_diopters
    assert abs(found.sweep.delay_us - 6000) < 1000
    assert found.breathing is not None
    near, far = truth.sweep.near_diopters, truth.sweep.far_diopters
    magnification = breathing_magnification(near, far, found.breathing.scale_per_diopter)
    assert abs(magnification - breathing_magnification(near, far, 0.008)) < 0.001
    assert found.camera.hot_pixels == ((12, 7),)
    assert (summary["grade"], summary["hot_pixels"], summary["out"]) == ("good", 1, str(out))
    assert summary["worst_residual"] < 0.01
    assert Path(summary["picture"]).read_bytes().startswith(b"\x89PNG")
    text = out.read_text()
    assert text.startswith("# verdict: good")
    for line in ("residual", "the lens turns", "magnification at the near end certain to", "1 hot pixels"):
        assert line in text

    # Its output is the next initial calibration, and no calibration replaces the one that is read.
    again = sweepdepth("calibrate", *targets(folder), "--lens", out, "--out", out)
    assert again.returncode == 1
    assert again.stderr.startswith("error: ")
    assert "is read by this command; choose another name" in again.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["target_0.h5"], "expected RECORDING@METRES"),
        (["target_0.h5@1.1", "nowhere.h5@0.6"], "nowhere.h5"),
    ],
)
def test_recordings_that_cannot_be_calibrated_are_one_line_errors(folder, tmp_path, arguments, message):
    run = sweepdepth(
        "calibrate",
        *(folder / text for text in arguments),
        "--lens",
        folder / "start.toml",
        "--out",
        tmp_path / "l.toml",
    )
    assert run.returncode == 1
    assert message in run.stderr
    assert len(run.stderr.strip().splitlines()[-1]) > 0
    assert "Traceback" not in run.stderr
    assert not (tmp_path / "l.toml").exists()
