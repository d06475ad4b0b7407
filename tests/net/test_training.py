"""Training on analytic scenes: it learns, resumes after being killed, and fine-tunes."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sweepdepth import Calibration, RecordingError
from sweepdepth.capture.files.photographs import Photographs
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.architecture import EvidenceConfig, UNetConfig
from sweepdepth.net.cases import Case
from sweepdepth.net.network import CaseNetwork, EventNetwork, load_network
from sweepdepth.net.representation import Representation
from sweepdepth.net.training import SweepSource, TrainingConfig, TrainingError, TrainingStopped, recorded, train
from sweepdepth.net.training.adversary import Adversary
from sweepdepth.net.training.augmentation import NONE, Augmentation
from sweepdepth.net.training.curves import write_curves
from sweepdepth.net.training.data import EpochOrder, SweepSamples, hold_back, split_scenes
from sweepdepth.net.training.loop import averaging, calibration_knots
from sweepdepth.net.training.samples import make_sample
from sweepdepth.net.weights import describe_weights, load_module, make_network, open_weights, save_weights
from sweepdepth.synth.resimulate import IdealScene, resimulated

from ..conftest import LENS, plane_events

ROOT = Path(__file__).parents[2]

TINY = UNetConfig(representation=Representation(bins=5), widths=(8, 16))
SMALL = EvidenceConfig(widths=(8, 8), blocks=(1, 1), reach=(3, 3), fine=4)

RUN = """
import sys
from pathlib import Path
from tests.net.test_training import SMALL, make_cases, make_stacks, settings
from sweepdepth.net.training import recorded, train
stacks = "stacks" in sys.argv
sources, config = (make_stacks(), settings(network=SMALL)) if stacks else (recorded(make_cases()), settings())
train(sources, config, Path(sys.argv[1]), resume="resume" in sys.argv, threads=1, workers=int(stacks))
"""


def make_cases(scenes=6):
    """Textured strips at known depths, 48 × 48."""
    text = LENS.replace("width = 96", "width = 48").replace("height = 72", "height = 48")
    calibration = Calibration.parse(text.replace("cx = 48.0", "cx = 24.0").replace("cy = 36.0", "cy = 24.0"))
    cases = []
    for scene in range(scenes):
        position = np.random.default_rng(scene).uniform(0, 1)
        diopters = np.full(48, 0.5 + 2 * position)
        for variant in range(2):
            sweep = Sweep(0, 200_000, Direction.FAR_TO_NEAR, calibration)
            events = plane_events(sweep, diopters, 0.15, seed=10 * scene + variant)
            name = f"scene_{scene:06d}" + (f"_v{variant}" if variant else "")
            cases.append(Case(name, 0, events, sweep, np.tile(1 / diopters, (48, 1)).astype(np.float32)))
    return cases


def make_stacks(scenes=6):
    """Ideal focal stacks of random texture that is blurred on both sides of one focus."""
    calibration = make_cases(1)[0].calibration
    scenes_ = []
    for number in range(scenes):
        random = np.random.default_rng([number, 1])
        texture, grey = random.uniform(0.1, 0.9, (48, 48)), 0.5
        position = random.uniform(0.1, 0.9)
        contrast = np.exp(-(((np.linspace(0, 1, 12) - position) / 0.3) ** 2))[:, None, None]
        stack = (grey + contrast * (texture - grey)).astype(np.float16)
        depth = np.full((48, 48), 1 / (0.5 + 2 * position), np.float32)
        scenes_.append(IdealScene(f"scene_{number:06d}", stack, depth, calibration))
    return [SweepSource(scene.name, draw) for scene, draw in zip(scenes_, resimulated(scenes_), strict=True)]


def settings(**changes):
    values = {"network": TINY, "steps": 12, "steps_per_epoch": 4, "batch": 4, "validated": 0.2, "averaging": 0.5}
    return TrainingConfig.model_validate(values | changes)


@pytest.fixture(scope="module")
def cases():
    return recorded(make_cases())


def said(lines):
    return [float(line.split("loss ")[1].split(",")[0].split(";")[0]) for line in lines if line.startswith("step ")]


def estimate_with_shipped(labelled):
    """The depth that `replay` computes for a sweep."""
    estimator = load_network()
    assert isinstance(estimator, EventNetwork)
    return estimator(EventFocalStack.build(labelled.events, labelled.sweep, estimator.bins, estimator.polarity))


def test_variants_of_a_scene_are_all_training_or_all_validation(cases):
    training, validation = split_scenes(cases, 0.2)
    assert [source.scene for source in validation] == ["scene_000005"]
    assert len(training) == 10
    assert split_scenes(cases[:1], 0.5) == (cases[:1], [])


def test_only_representative_scenes_are_used_for_validation(cases):
    drawn = [SweepSource(f"zzz {number}", source.draw, validates=False) for number, source in enumerate(cases)]
    training, validation = split_scenes([*cases, *drawn], 0.5)
    assert {source.scene for source in validation} == {"scene_000003", "scene_000004", "scene_000005"}
    assert len(training) == 6 + len(drawn)


@pytest.mark.parametrize("scenes,kept", [(1, 0), (2, 1), (7, 1), (8, 2), (60, 3)])
def test_two_scenes_suffice_for_validation(cases, scenes, kept):
    for validates in (True, False):
        some = [SweepSource(f"{number:02}", cases[0].draw, validates) for number in range(scenes)]
        training, validation = split_scenes(some, 0.05)
        assert (len(training), len(validation)) == (scenes - kept, kept)


def test_some_patch_scenes_are_held_back_for_calibration():
    rendered = [SweepSource(f"r{n}", lambda random: None) for n in range(3)]  # pyright: ignore[reportArgumentType]
    patches = [replace(source, scene=f"p{n:03}", validates=False) for n in range(100) for source in rendered[:2]]
    training, held = hold_back(rendered + patches, 0.1)
    assert [source.scene for source in held] == [f"p{n:03}" for n in range(90, 100)]
    assert len(training) == 3 + 2 * 90
    assert not {source.scene for source in training} & {source.scene for source in held}
    assert hold_back(rendered + patches, 0.05) == (rendered + patches, [])


def test_an_epoch_covers_all_samples_and_devices_share_it_without_overlap():
    done = 0
    orders = [EpochOrder(10, 20, 3, lambda: done, rank, 2) for rank in range(2)]
    seen = [list(order) for order in orders]
    assert sorted(seen[0] + seen[1]) == [(r, n) for r in range(2) for n in range(10)]
    done = 6  # stopped here, and resumed
    assert [list(order) for order in orders] == [items[3:] for items in seen]
    done = 20
    assert {round_ for round_, _ in orders[0]} == {2, 3}
    assert list(orders[0]) != seen[0]


def test_a_samples_randomness_depends_on_seed_epoch_and_number_alone(cases):
    samples = SweepSamples(cases, TINY.representation, Augmentation(), 32, 7)
    first, again, other = samples[3, 1], samples[3, 1], samples[4, 1]
    assert first[0][0].shape == (TINY.representation.channels, 32, 32)
    assert torch.equal(first[0][0], again[0][0])
    assert all(np.array_equal(a, b) for a, b in zip(first[1:], again[1:], strict=True))
    assert not torch.equal(first[0][0], other[0][0])


def test_a_focal_stack_gives_a_reproducible_new_sweep_each_epoch():
    samples = SweepSamples(make_stacks(2), SMALL.representation, Augmentation(), None, 7)
    first, again, other = samples[3, 1], samples[3, 1], samples[4, 1]
    assert [tuple(part.shape) for part in first[0]] == [(8, 21, 24, 24), (6, 21, 12, 12), (5, 12, 12), (4, 21)]
    assert all(torch.equal(a, b) for a, b in zip(first[0], again[0], strict=True))
    assert not torch.equal(first[0][0], other[0][0])


def test_positions_of_a_near_to_far_sweep_follow_its_order():
    (stack,) = make_stacks(1)
    every = [stack.draw(np.random.default_rng(number)) for number in range(12)]
    drawn = next(sweep for sweep in every if sweep.sweep.direction == Direction.NEAR_TO_FAR)
    settings = drawn.calibration.sweep
    source = SweepSource("one", lambda random: drawn)
    sample = SweepSamples([source], SMALL.representation, Augmentation(False, 0, 0, 0, 0, 0, 0, 0), None, 0)[0, 0]
    place = (1 / drawn.truth - settings.far_diopters) / settings.range_diopters
    assert sample[1] == pytest.approx(1 - place, abs=1e-5)


def test_training_reduces_the_error_and_records_it_in_the_weights(cases, tmp_path):
    lines = []
    config = settings(steps=120, steps_per_epoch=40, learning_rate=0.01, averaging=0.9)
    path = train(cases, config, tmp_path, threads=1, workers=0, say=lines.append)
    losses = said(lines)
    assert len(losses) == 3
    assert max(losses[1:]) < losses[0] - 0.003
    facts = open_weights(path).facts
    assert facts["scenes"] == 5
    assert facts["training"]["steps"] == 120
    assert 0 < facts["validation"]["val_rmse"] < 0.5
    assert facts["deviation"]["scale"] > 0
    assert list(tmp_path.rglob("metrics.csv"))
    assert list(tmp_path.rglob("events.out.tfevents*"))


@pytest.mark.parametrize("what", ["recordings", "stacks"])
def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path, what):
    """It continues with the same samples, also if they are resimulated: losses of equal steps and the weights agree to
    rounding."""
    script = tmp_path / "run.py"
    script.write_text(RUN)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}

    def start(*arguments):
        return subprocess.Popen(
            [sys.executable, str(script), *arguments, what], env=environment, stdout=subprocess.PIPE, text=True
        )

    whole, killed = start(str(tmp_path / "whole")), start(str(tmp_path / "killed"))
    assert killed.stdout is not None
    assert "to train on" in killed.stdout.readline()
    assert "step 4 of 12" in killed.stdout.readline()
    deadline = time.monotonic() + 60
    while not (tmp_path / "killed" / "last.ckpt").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    resumed = start(str(tmp_path / "killed"), "resume")
    expected, text = whole.communicate()[0], resumed.communicate()[0]
    assert (whole.returncode, resumed.returncode) == (0, 0)
    after = said(text.splitlines())
    assert 1 <= len(after) <= 2
    assert after == pytest.approx(said(expected.splitlines())[-len(after) :], abs=2e-4)
    facts = [open_weights(tmp_path / name / "weights.safetensors").facts for name in ("whole", "killed")]
    assert facts[0]["validation"] == pytest.approx(facts[1]["validation"], abs=1e-3)
    assert facts[0]["deviation"]["scale"] == pytest.approx(facts[1]["deviation"]["scale"], rel=1e-2)


def test_a_stopped_run_loses_no_step(tmp_path):
    """It is saved in the middle of an epoch, and the resumed run equals one that was not stopped. With loader
    processes: tests/cli/test_train.py."""
    sources, lines = make_stacks(), {"whole": [], "stopped": []}
    config = settings(network=SMALL, steps=9)
    train(sources, config, tmp_path / "whole", threads=1, workers=0, say=lines["whole"].append)
    stop = threading.Event()

    def stop_at_six(share):
        if share >= 6 / 9:
            stop.set()

    arguments = {"threads": 1, "workers": 0, "say": lines["stopped"].append}
    with pytest.raises(TrainingStopped, match=r"stopped at step 6 of 9: saved in .*last\.ckpt; continue with --resume"):
        train(sources, config, tmp_path / "stopped", stop=stop, on_progress=stop_at_six, **arguments)
    checkpoint = torch.load(tmp_path / "stopped" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 6
    shares = []
    train(sources, config, tmp_path / "stopped", resume=True, on_progress=shares.append, **arguments)
    assert shares == pytest.approx([6 / 9, 7 / 9, 8 / 9, 1])
    expected, got = ([line for line in said_ if "loss" in line] for said_ in lines.values())
    assert [line.split(":")[0] for line in got] == ["step 4 of 9", "step 8 of 9", "step 9 of 9"]
    assert said(got) == pytest.approx(said(expected), abs=2e-4)
    whole, stopped = (load_module(open_weights(tmp_path / run / "weights.safetensors")) for run in lines)
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(stopped.state_dict()[name], value, atol=2e-3, rtol=2e-2)


def test_progress_lines_compare_with_constant_and_shipped_weights_and_curves_are_drawn(tmp_path):
    lines = []
    torch.manual_seed(0)
    guessing = make_network(SMALL)
    for parameter in guessing.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    save_weights(tmp_path / "guessing.safetensors", guessing, {})
    config = settings(  # so slow that it stays worse than a constant
        network=SMALL, init=str(tmp_path / "guessing.safetensors"), steps=6, learning_rate=1e-7
    )
    weights = train(make_stacks(), config, tmp_path, force=True, threads=1, workers=0, say=lines.append)
    reports = [line for line in lines if line.startswith("step ")]
    assert [line.split(":")[0] for line in reports] == ["step 4 of 6", "step 6 of 6"]
    shipped = lines[0].split("RMSE of the shipped weights there ")[1]
    assert lines[0].startswith("5 scenes to train on, 1 to validate with; ")
    for line in reports:
        assert re.search(rf"RMSE 0\.\d+, of a constant 0\.\d+, of the shipped weights {shipped}, ", line)
    assert sum(line.startswith("warning: so far, the network is no better than a constant") for line in lines) == 2
    with Image.open(tmp_path / "curves.png") as curves:
        assert curves.size == (640, 560)
    page = (tmp_path / "training.html").read_text()
    for shown in ("Step 6 of 6", "of the shipped weights", "mean error at events", "data:image/png;base64,"):
        assert shown in page
    assert "refresh" not in page  # the run has ended
    found = {s.scene: s for s in make_stacks()}["scene_000005"].draw(np.random.default_rng([0, 21, 0, 0]))
    estimate = estimate_with_shipped(found)
    error = (estimate.diopters - 1 / found.truth) / found.calibration.sweep.range_diopters
    assert float(shipped) == pytest.approx(float(np.sqrt(np.mean(error**2))), abs=1e-3)
    assert open_weights(weights).facts["validation"]["val_constant"] > 0


def test_the_page_of_an_unfinished_run_is_read_again(tmp_path):
    row = {"step": 250, "loss": 1.5, "val_rmse": 0.2, "val_constant": 0.3, "samples_per_s": 17.0, "loader_share": 0.02}
    write_curves([row], tmp_path, 1000)
    page = (tmp_path / "training.html").read_text()
    assert '<meta http-equiv="refresh" content="30">' in page
    assert ">20.00 %</td>" in page
    assert "shipped" not in page


def test_a_run_without_improvement_ends_after_patience(cases, tmp_path):
    config = settings(steps=400, learning_rate=1e-9, averaging=0.0, patience=2)
    lines = []
    train(cases, config, tmp_path, threads=1, workers=0, say=lines.append)
    steps = [line.split(":")[0] for line in lines if line.startswith("step ")]
    assert 3 <= len(steps) <= 10
    assert any("no lower RMSE for 2 epochs" in line for line in lines)
    with pytest.raises(TrainingError, match="no scene to validate with"):
        train(cases[:1], config, tmp_path / "one", threads=1, workers=0)


def test_training_in_a_program_forks_no_process_by_itself(cases, tmp_path, monkeypatch):
    """It may have threads whose locks would stay locked."""
    monkeypatch.setattr("os.fork", lambda: pytest.fail("forked"))
    assert train(cases, settings(steps=1, steps_per_epoch=1), tmp_path, threads=1, say=lambda line: None).exists()


def test_a_run_is_neither_overwritten_nor_resumed_as_another(cases, tmp_path):
    config = settings(steps=4)
    train(cases, config, tmp_path, threads=1, workers=0, say=lambda line: None)
    with pytest.raises(TrainingError, match=r"holds a training run; continue with --resume"):
        train(cases, config, tmp_path)
    with pytest.raises(TrainingError, match=r"was started with another seed \(0, now 1\)"):
        train(cases, config.model_copy(update={"seed": 1}), tmp_path, resume=True)
    with pytest.raises(TrainingError, match=r"no training run to resume"):
        train(cases, config, tmp_path / "nothing", resume=True)


def test_weights_in_the_folder_are_not_lost(cases, tmp_path):
    """Neither those of something else, nor, even with `force`, those that the run starts from."""
    weights = tmp_path / "weights.safetensors"
    save_weights(weights, make_network(TINY), {})
    before = weights.read_bytes()
    with pytest.raises(TrainingError, match=r"weights.safetensors: would be replaced; give another --out, or --force"):
        train(cases, settings(), tmp_path)
    with pytest.raises(RecordingError, match=r"weights.safetensors: is read by this command"):
        train(cases, settings(init=str(weights)), tmp_path, force=True)
    assert weights.read_bytes() == before


def test_resuming_a_finished_run_writes_its_weights(cases, tmp_path):
    weights = train(cases, settings(learning_rate=0.01), tmp_path, threads=1, workers=0)
    before = open_weights(weights)
    expected = load_module(before).state_dict()
    weights.unlink()
    train(cases, settings(learning_rate=0.01), tmp_path, resume=True, threads=1, workers=0)
    after = open_weights(weights)
    assert after.facts == before.facts
    assert all(torch.equal(value, expected[name]) for name, value in load_module(after).state_dict().items())


def test_fine_tuning_starts_from_the_given_weights(cases, tmp_path):
    first = train(
        cases, settings(steps=80, steps_per_epoch=40, learning_rate=0.01), tmp_path / "a", threads=1, workers=0
    )
    lines = []
    config = settings(network=UNetConfig(), init=str(first), steps=1, steps_per_epoch=1, learning_rate=1e-6)
    second = train(cases, config, tmp_path / "b", threads=1, workers=0, say=lines.append)
    assert open_weights(second).config == TINY
    assert describe_weights(second)["facts"]["steps"] == 1
    assert describe_weights(second)["began with facts"]["steps"] == 80
    fresh = []
    train(cases, settings(steps=1, steps_per_epoch=1), tmp_path / "c", threads=1, workers=0, say=fresh.append)
    assert said(lines)[0] < said(fresh)[0] - 0.03


def test_keep_averages_with_the_initial_weights(cases, tmp_path):
    first = train(cases, settings(seed=3), tmp_path / "first", threads=1, workers=0)
    results = {}
    for keep in (0.0, 0.25):
        config = settings(init=str(first), steps=4, learning_rate=0.01, keep=keep)
        results[keep] = train(cases, config, tmp_path / str(keep), threads=1, workers=0)
    a, tuned, mixed = (load_module(open_weights(path)).state_dict() for path in (first, results[0.0], results[0.25]))
    assert max(float((a[name] - tuned[name]).abs().max()) for name in a) > 0.01
    for name, value in mixed.items():
        if value.is_floating_point():
            torch.testing.assert_close(value, 0.25 * a[name] + 0.75 * tuned[name], atol=2e-3, rtol=2e-3)
    scale = [open_weights(path).facts["deviation"]["scale"] for path in results.values()]
    assert scale[0] != scale[1]  # measured on the average, not taken over


def with_photographs(cases):
    """Cases whose photographs show the depth as brightness."""
    shown = []
    for case in cases:
        position = (1 / case.truth - 0.5) / 2
        images = np.repeat((0.2 + position)[None], 2, axis=0).astype(np.float32)
        pair = Photographs(images, np.array([1.0, 2.0]), np.ones(2))
        single = Photographs(images[:1], np.array([0.5]), np.ones(1))
        shown.append(replace(case, photographs={"focus_pair": pair, "defocused": single}))
    return shown


def test_a_network_on_photographs_learns_with_and_without_an_adversary(tmp_path):
    sources = recorded(with_photographs(make_cases()))
    network = UNetConfig(representation=Representation(source="defocused", dark_channel=True), widths=(8, 16))
    for name, adversarial in (("alone", 0.0), ("judged", 0.05)):
        lines = []
        config = settings(network=network, adversarial=adversarial)
        weights = train(sources, config, tmp_path / name, threads=1, workers=0, say=lines.append)
        assert open_weights(weights).facts["training"]["adversarial"] == adversarial
        assert not any("adversary" in key for key in load_module(open_weights(weights)).state_dict())
        assert said(lines)[-1] < said(lines)[0]
    with pytest.raises(ValueError, match="this loss is for U-Nets"):
        settings(network=SMALL, adversarial=0.1)


def test_an_adversary_learns_to_discriminate_and_the_network_to_deceive_it():
    """True maps are 0.7 everywhere. Estimates start at 0.3, and only the adversary draws them towards the truth."""
    torch.manual_seed(0)
    found = torch.full((4, 32, 32), 0.3, requires_grad=True)
    true, image = torch.full((4, 32, 32), 0.7), torch.zeros(4, 32, 32)
    adversary = Adversary(weight=0.5)
    optimizer = torch.optim.Adam([{"params": adversary.parameters(), "lr": 1e-2}, {"params": [found], "lr": 1e-2}])
    losses = []
    for _ in range(30):
        loss = adversary(found, true, image)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert min(losses) < 0.9 * losses[0]
    assert (found.detach() - 0.7).abs().mean().item() < 0.3


def test_sparse_networks_learn_and_answer_only_where_there_is_evidence(tmp_path):
    events = Representation(bins=5, polarity="signed", sparse=True, least_events=20, window_px=5)
    pair = Representation(source="focus_pair", sparse=True)
    cases_ = with_photographs(make_cases(2))
    for name, shown in (("events", events), ("pair", pair)):
        _, _, weight = make_sample(cases_[0], shown, NONE, np.random.default_rng(0))
        path = tmp_path / f"{name}.safetensors"
        save_weights(path, make_network(UNetConfig(representation=shown, widths=(8, 16))), {})
        network = load_network(path, engine="torch")
        assert isinstance(network, CaseNetwork)
        answered = np.isfinite(network(cases_[0]).diopters)
        assert np.array_equal(answered, weight > 0)
        assert (0 < answered.mean() < 1) == (name == "events")  # those photographs have no boundary


def test_too_small_and_too_large_deviations_are_calibrated():
    random = np.random.default_rng(0)
    stated = random.uniform(0.01, 0.3, 60_000)
    error = np.abs(random.normal(size=len(stated))) * (0.05 + 0.5 * stated)
    knots = calibration_knots(error, stated)
    actual = np.interp(stated, *knots)
    assert (np.diff(knots[1]) >= 0).all()
    for low, high in ((0.02, 0.08), (0.2, 0.3)):
        part = (stated > low) & (stated < high)
        assert (error < actual)[part].mean() == pytest.approx(0.68, abs=0.06)
        assert (error < 2 * actual)[part].mean() == pytest.approx(0.95, abs=0.03)


def test_settings_are_kept_beside_the_run(cases, tmp_path):
    train(cases, settings(steps=1, steps_per_epoch=1), tmp_path, threads=1, workers=0, say=lambda line: None)
    assert TrainingConfig.model_validate(json.loads((tmp_path / "settings.json").read_text())) == settings(
        steps=1, steps_per_epoch=1
    )


@pytest.mark.parametrize("steps, decay", [(5, 0.0), (400, 0.975), (5000, 0.998), (20_000, 0.998)])
def test_the_average_of_the_weights_reaches_back_a_tenth_of_a_short_run(steps, decay):
    assert averaging(TrainingConfig(steps=steps)) == pytest.approx(decay)


def test_the_error_at_events_is_left_out_where_they_are_all_beyond_the_range():
    """It would be NaN, and with it the mean over all sweeps."""
    import torch

    from sweepdepth.net.architecture import EvidenceConfig
    from sweepdepth.net.training.loop import Regression

    network = EvidenceConfig(widths=(8, 8), blocks=(1, 1), reach=(3, 3))
    module, logged = Regression(TrainingConfig(network=network)).eval(), {}
    module.log = lambda name, value, **_: logged.update({name: float(value)})  # type: ignore[method-assign]
    random = torch.Generator().manual_seed(0)
    shapes = (1, 8, 21, 8, 8), (1, 6, 21, 4, 4), (1, 5, 4, 4), (1, 4, 21)
    inputs = [torch.rand(shape, generator=random) for shape in shapes]
    position = torch.full((1, 16, 16), 0.3)
    position[:, :8] = 1.2
    weight = torch.where(position > 1, 1.0, 0.3)
    with torch.no_grad():
        module.validation_step((inputs, position, weight), 0)
    assert "val_mae_events" not in logged
    assert np.isfinite(list(logged.values())).all()
    with torch.no_grad():
        module.validation_step((inputs, position.clip(0, 1), weight), 0)
    assert np.isfinite(logged["val_mae_events"])
