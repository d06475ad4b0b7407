"""From labelled recordings to depth by a trained network, on the command line."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch

from sweepdepth import Calibration
from sweepdepth.capture.events import EVENT_DTYPE, FALLING, RISING, Batch, join, make_triggers
from sweepdepth.capture.files.dataset import (
    Manifest,
    SceneRecording,
    SceneTruth,
    create_dataset,
    scene_path,
    write_scene,
)
from sweepdepth.capture.files.depth_file import read_depth_file
from sweepdepth.capture.recordings import write_recording
from sweepdepth.capture.sweeps import Direction, Sweep

COMMAND = Path(sys.executable).with_name("sweepdepth")
DURATION_US = 200_000


def sweepdepth(*arguments, expect=0):
    done = subprocess.run([COMMAND, *map(str, arguments)], capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == expect, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def labelled(tmp_path_factory, textured_planes, lens):
    """A folder of recordings with calibration and depth files beside them."""
    folder = tmp_path_factory.mktemp("labelled")
    calibration = Calibration.parse(lens)
    for number in range(4):
        diopters = np.full(calibration.camera.width, 0.7 + 0.4 * number)
        sweeps = [
            Sweep(k * DURATION_US, (k + 1) * DURATION_US, direction, calibration)
            for k, direction in enumerate((Direction.FAR_TO_NEAR, Direction.NEAR_TO_FAR, Direction.FAR_TO_NEAR))
        ]
        events = join([textured_planes(sweep, diopters, seed=number) for sweep in sweeps])
        edges = make_triggers(np.arange(4) * DURATION_US, np.array([RISING, FALLING, RISING, FALLING], np.uint8))
        batch = Batch(events, edges, 3 * DURATION_US + 1)
        camera = calibration.camera
        write_recording(folder / f"wall{number}.h5", [batch], camera.width, camera.height)
        (folder / f"wall{number}.toml").write_text(lens)
        np.save(folder / f"wall{number}_depth.npy", np.tile(1 / diopters, (camera.height, 1)).astype(np.float32))
    return folder


@pytest.fixture(scope="module")
def weights(labelled, tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    out, _ = sweepdepth(
        "train", "--data", labelled, "--out", run, "--steps", 3, "--batch", 4, "--workers", 0, "--threads", 1, "--json"
    )
    result = json.loads(out)
    assert result["facts"]["training"]["steps"] == 3
    return run / "weights.safetensors"


def test_trained_weights_turn_recordings_into_dense_depth(labelled, weights, tmp_path):
    recording, lens, out = labelled / "wall0.h5", labelled / "wall0.toml", tmp_path / "d.h5"
    sweepdepth("replay", recording, "--lens", lens, "--weights", weights, "--out", out)
    frames = read_depth_file(out)
    assert len(frames) == 3
    assert np.isfinite(frames.depth).all()
    assert (frames.depth >= 0.4 - 1e-6).all()
    assert (frames.depth <= 2.0 + 1e-6).all()


def test_trained_weights_are_evaluated_and_described(labelled, weights):
    out, _ = sweepdepth("eval", "--data", labelled, "--weights", weights, "--json")
    assert "weights" in out
    out, _ = sweepdepth("info", weights, "--json")
    facts = json.loads(out)
    assert facts["network"]["preset"] == "default"
    assert facts["training"]["steps"] == 3
    assert facts["datasets"] == {labelled.name: "recordings with their depth"}


def test_an_existing_run_is_not_overwritten(labelled, weights):
    _, complaint = sweepdepth("train", "--data", labelled, "--out", weights.parent, "--steps", 3, expect=1)
    assert "continue with --resume, or start again with --force" in complaint


def test_a_folder_without_truth_is_refused(tmp_path):
    _, complaint = sweepdepth("train", "--data", tmp_path, "--out", tmp_path / "run", expect=1)
    assert str(tmp_path) in complaint
    assert complaint.startswith("error: ")


def test_a_damaged_recording_is_left_out_and_the_status_says_so(labelled, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(labelled, data)
    (data / "wall3.h5").write_bytes((data / "wall3.h5").read_bytes()[:2000])
    line = ["train", "--data", data, "--out", tmp_path / "run", "--steps", 1, "--batch", 2, "--workers", 0]
    _, said = sweepdepth(*line, "--threads", 1, expect=3)
    assert "skipped " in said
    assert "wall3.h5" in said
    assert (tmp_path / "run" / "weights.safetensors").exists()


def test_training_ends_when_its_time_is_up(labelled, tmp_path):
    line = ["train", "--data", labelled, "--out", tmp_path, "--steps", 100_000, "--minutes", 0.05, "--batch", 2]
    out, _ = sweepdepth(*line, "--workers", 0, "--threads", 1, "--json")
    assert 1 <= json.loads(out)["facts"]["steps"] < 100_000


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_a_signal_to_all_processes_saves_the_run(labelled, tmp_path, number):
    """Sent like by a terminal or a service manager: to the loader processes, too."""
    line = ["train", "--data", labelled, "--out", tmp_path, "--steps", 100_000, "--batch", 2, "--threads", 1]
    command = [str(COMMAND), *map(str, line)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    loaders, deadline = [], time.monotonic() + 250
    while not (loaders and list(tmp_path.glob("logs/tensorboard/events*"))) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        loaders = psutil.Process(process.pid).children()
        time.sleep(0.2)
    os.killpg(process.pid, number)
    _, said = process.communicate(timeout=200)
    assert process.returncode == 130, said
    found = re.search(r"stopped at step ([\d,]+) of 100,000: saved in .*last\.ckpt; continue with --resume", said)
    assert found is not None, said
    assert "Traceback" not in said
    step = int(found[1].replace(",", ""))
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["global_step"] == step > 0
    assert not any(loader.is_running() for loader in loaders)


def test_sweeps_are_resimulated_from_ideal_focal_stacks(tmp_path, lens):
    calibration = Calibration.parse(lens)
    camera, sweep = calibration.camera, calibration.sweep
    random = np.random.default_rng(0)
    focus = np.linspace(sweep.far_diopters, sweep.near_diopters, 12)
    depth = np.full((camera.height, camera.width), 1 / focus.mean(), np.float32)
    data = tmp_path / "stacks"
    create_dataset(data, Manifest(3, {"intensity": {"frames": 12, "noise": False}}))
    events, edges = np.empty(0, EVENT_DTYPE), make_triggers(np.empty(0), np.empty(0))
    for index in range(3):
        stack = random.uniform(0.35, 0.5, (12, camera.height, camera.width)).astype(np.float32)
        truth = SceneTruth(calibration, depth, depth, stack, focus)
        write_scene(scene_path(data, index), SceneRecording(events, edges, truth))
    line = ("train", "--steps", 2, "--batch", 2, "--workers", 0, "--json")
    out, error = sweepdepth(*line, "--data", data, "--data", data, "--out", tmp_path / "trained")
    assert "3 scenes with resimulated sweeps" in error
    assert json.loads(out)["facts"]["scenes"] == 2  # one is used for validation
    assert "step 2 of 2" in error

    sweepdepth("synth", "pack", data, tmp_path / "stacks.pack")
    out, error = sweepdepth(*line, "--data", tmp_path / "stacks.pack", "--out", tmp_path / "from_pack")
    assert "stacks.pack: 3 scenes with resimulated sweeps" in error
    assert json.loads(out)["facts"]["scenes"] == 2
    assert json.loads(out)["facts"]["datasets"] == {"stacks.pack": "3 packed scenes"}


def test_training_reports_missing_options(tmp_path, labelled):
    _, error = sweepdepth("train", "--out", tmp_path / "run", expect=2)
    assert "--data" in error
    _, error = sweepdepth("train", "--data", labelled, "--keep", 0.5, "--out", tmp_path / "run", expect=2)
    assert "--init" in error
    _, error = sweepdepth(
        "train", "--data", labelled, "--minutes", 1, "--devices", 2, "--out", tmp_path / "run", expect=2
    )
    assert "--devices 2" in error
    assert not (tmp_path / "run").exists()
