"""Files written by an earlier version still open with the same content: one of each kind, see tests/data/older."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from sweepdepth import (
    Calibration,
    EventFocalStack,
    find_sweeps,
    open_dataset,
    open_recording,
    read_depth_file,
    read_scene,
)
from sweepdepth.capture.files.stack_pack import StackPack
from sweepdepth.capture.sweeps import Direction

FOLDER = Path(__file__).parent / "data" / "older"
START_US = 1_763_000_000_000_000


def test_a_calibration_opens():
    calibration = Calibration.load(FOLDER / "lens.toml")
    assert (calibration.camera.width, calibration.camera.height) == (48, 36)
    assert calibration.sweep.near_diopters == 2.5
    assert Calibration.parse(calibration.to_toml()) == calibration


@pytest.mark.parametrize("name", ["recording.h5", "recording.aedat4"])
def test_a_recording_opens_with_its_calibration_inside(name):
    with open_recording(FOLDER / name) as recording:
        events, triggers = recording.read()
        assert recording.calibration == Calibration.load(FOLDER / "lens.toml")
        assert not recording.repairs
    assert len(events) == 477
    assert triggers["timestamp"].tolist() == [START_US, START_US + 200_000, START_US + 400_000]
    assert triggers["edge"].tolist() == [1, 2, 1]


def test_a_numpy_recording_opens_with_its_calibration_inside():
    with open_recording(FOLDER / "recording.npz") as recording, open_recording(FOLDER / "recording.h5") as same:
        assert recording.calibration == same.calibration
        for ours, theirs in zip(recording.read(), same.read(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_prophesee_recording_opens():
    with open_recording(FOLDER / "recording.raw") as recording, open_recording(FOLDER / "recording.h5") as same:
        for ours, theirs in zip(recording.read(), same.read(), strict=True):
            np.testing.assert_array_equal(ours, theirs)


def test_a_pack_opens():
    (scene,) = StackPack(FOLDER / "scenes.pack")
    assert scene.stack.shape == (9, 36, 48)
    assert scene.stack.mean() == pytest.approx(0.1608, abs=1e-4)
    assert scene.stack[4, 17, 20] == pytest.approx(0.21296, abs=1e-5)
    assert scene.focus_diopters[[0, -1]].tolist() == [0.5, 2.5]
    assert scene.calibration == Calibration.load(FOLDER / "lens.toml")


def test_a_depth_file_opens():
    frames = read_depth_file(FOLDER / "depth.h5")
    assert frames.depth.shape == frames.std.shape == (2, 36, 48)
    assert np.isfinite(frames.depth).any()
    assert frames.t_start_us.tolist() == [START_US, START_US + 200_000]
    assert frames.calibration == Calibration.load(FOLDER / "lens.toml")


def test_a_saved_stack_opens():
    stack = EventFocalStack.load(FOLDER / "stack.npz")
    assert (stack.polarity, stack.data.shape, stack.n_events) == ("split", (2, 6, 36, 48), 239)
    assert stack.data.sum() == pytest.approx(239)
    assert (stack.sweep.start_us, stack.sweep.direction) == (START_US, Direction.FAR_TO_NEAR)
    assert stack.sweep.calibration == Calibration.load(FOLDER / "lens.toml")


def test_a_dataset_opens():
    dataset = open_dataset(FOLDER / "dataset")
    assert dataset.indices == (0,)
    assert dataset.manifest.seed == 0
    scene = read_scene(dataset.scenes[0])
    assert len(scene.events) == 323
    assert scene.truth.depth.shape == (36, 48)
    assert np.isfinite(scene.truth.depth).all()


@pytest.mark.slow
def test_older_weights_give_the_same_depth():
    pytest.importorskip("torch")
    from sweepdepth.net.network import EventNetwork, load_network

    network = load_network(FOLDER / "weights.safetensors", engine="torch")
    assert isinstance(network, EventNetwork)
    with open_recording(FOLDER / "recording.h5") as recording:
        events, _ = recording.read()
        sweep = find_sweeps(recording, Calibration.load(FOLDER / "lens.toml"))[0]
    assert sweep.direction is Direction.FAR_TO_NEAR
    inside = events[(events["timestamp"] >= sweep.start_us) & (events["timestamp"] < sweep.end_us)]
    estimate = network(EventFocalStack.build(inside, sweep, network.bins, network.polarity))
    np.testing.assert_allclose(
        estimate.diopters, np.load(FOLDER / "answer.npy").astype(np.float32), atol=0.03
    )  # of a range of 2, in any precision


@pytest.mark.slow
def test_a_training_run_resumes(tmp_path):
    pytest.importorskip("lightning")
    from sweepdepth.net.cases import Case
    from sweepdepth.net.training import TrainingConfig, recorded, train
    from sweepdepth.net.weights import open_weights

    shutil.copytree(FOLDER / "run", tmp_path / "run")
    with open_recording(FOLDER / "recording.h5") as recording:
        events, _ = recording.read()
        sweeps = find_sweeps(recording, Calibration.load(FOLDER / "lens.toml"))
    truth = np.full((36, 48), 0.8, np.float32)
    cases = [Case(f"scene_{k:06d}", 0, events, sweep, truth) for k, sweep in enumerate(sweeps)]
    network = open_weights(FOLDER / "run" / "weights.safetensors").config
    config = TrainingConfig(network=network, steps=6, steps_per_epoch=2, batch=2, validated=0.2, averaging=0.5)
    weights = train(recorded(cases), config, tmp_path / "run", resume=True, workers=0, threads=1, say=lambda line: None)
    facts = open_weights(weights).facts
    assert facts["steps"] == 6
