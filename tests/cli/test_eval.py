"""`sweepdepth eval` on the command line."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import typer

from sweepdepth.capture.files.dataset import open_dataset, read_truth
from sweepdepth.cli.main import app
from sweepdepth.net.evaluation.baselines import BASELINES, READY

from ..net.known_sweeps import make_dataset

COMMAND = Path(sys.executable).with_name("sweepdepth")


def run_eval(*arguments, expect=0):
    done = subprocess.run(
        [COMMAND, "eval", *map(str, arguments)], capture_output=True, text=True, timeout=280, check=False
    )
    assert done.returncode == expect, done.stderr
    return done.stdout, done.stderr


@pytest.fixture(scope="module")
def dataset(tmp_path_factory, calibration, textured_planes):
    return make_dataset(tmp_path_factory.mktemp("eval") / "strips", calibration, textured_planes)


def test_methods_stand_side_by_side_in_tables_in_json_and_on_a_page(dataset, tmp_path):
    arguments = (
        "--data",
        dataset,
        "--estimator",
        "polarity",
        "--baselines",
        "all",
        "--limit",
        1,
        "--out",
        tmp_path / "report",
    )
    out, error = run_eval(*arguments)
    for word in ("Everywhere", "At event pixels", "By light level", "AbsRel", "dim, below 150 lux", "textureless"):
        assert word in out
    assert "Nayar and Nakagawa" in out
    for method in ("polarity", "focus, 30 fps", "focus, 24 frames", "coupled", "constant"):
        assert out.count(method) > 3
    assert "evaluation.html" in error
    values = json.loads((tmp_path / "report" / "evaluation.json").read_text())
    rmse = {name: method["all"]["everywhere"]["rmse_range"] for name, method in values["methods"].items()}
    assert max(rmse["focus, 30 fps"], rmse["coupled"], rmse["polarity"]) < rmse["constant"]
    assert len((tmp_path / "report" / "evaluation.html").read_text()) > 100_000

    _, error = run_eval(*arguments, expect=1)
    assert "exists; give --force" in error


def test_json_goes_to_standard_output_in_one_line(dataset):
    out, _ = run_eval("--data", dataset, "--estimator", "polarity", "--limit", 1, "--json")
    assert len(out.splitlines()) == 1
    values = json.loads(out)
    assert values["methods"]["polarity"]["all"]["recordings"] == 1


def test_named_weights_are_compared_with_an_estimator_and_an_inapplicable_method(dataset, tmp_path):
    for path in dataset.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    with h5py.File(tmp_path / "scene_000000.h5", "r+") as file:
        del file["aperture_pair"]
    line = (
        "--data",
        tmp_path,
        "--weights",
        "default",
        "--estimator",
        "polarity",
        "--baselines",
        "coupled,constant",
        "--limit",
        1,
    )
    out, _ = run_eval(*line)
    for table in ("Errors and uncertainty", "Everywhere"):
        rows = [line.strip().split("  ")[0] for line in out[out.index(table) :].splitlines()]
        assert {"default", "polarity", "coupled", "constant"} <= set(rows)


def test_a_damaged_scene_is_named_and_ends_in_exit_status_3(dataset, tmp_path):
    for path in dataset.iterdir():
        content = path.read_bytes()
        (tmp_path / path.name).write_bytes(content[:1000] if path.name == "scene_000001.h5" else content)
    out, error = run_eval("--data", tmp_path, "--estimator", "polarity", "--json", expect=3)
    assert "skipped scene_000001" in error
    assert json.loads(out)["skipped"][0]["recording"] == "scene_000001"


def test_wrong_options_of_eval_are_one_line(dataset, tmp_path):
    _, error = run_eval("--data", tmp_path, "--estimator", "polarity", expect=1)
    assert error.startswith(f"error: {tmp_path}")
    assert error.count("\n") == 1
    _, error = run_eval("--data", dataset, "--estimator", "polarity", "--weights", "some.safetensors", expect=1)
    assert error == "error: some.safetensors: cannot be read: No such file or directory\n"


def test_the_help_names_the_baselines_in_their_order():
    command: Any = typer.main.get_command(app)
    (option,) = [option for option in command.commands["eval"].params if option.name == "baselines"]
    ready, _, others = option.help.partition(" (all: ")
    assert tuple(ready.split(", ")) == READY
    named = [name for name in re.findall(r"\w+", others) if name in BASELINES]
    assert list(dict.fromkeys(named)) == [name for name in BASELINES if name not in READY]


@pytest.mark.parametrize(
    "given, message",
    [
        ("sonar", "there is no such baseline; there are polarity, focus, coupled, constant, paper"),
        ("focus,edff", "--baselines edff: needs edff=WEIGHTS; train them with: sweepdepth train --preset edff"),
        ("apertures", "needs apertures=WEIGHTS of the preset prior, or of a folder"),
        ("focus=weights.safetensors", "focus needs no file"),
    ],
)
def test_baselines_are_selected_by_name_and_report_missing_inputs(dataset, given, message):
    _, error = run_eval("--data", dataset, "--estimator", "polarity", "--baselines", given, expect=2)
    assert message in " ".join(error.replace("│", " ").split())


def test_relative_depth_from_files_is_made_metric_by_two_apertures(dataset, tmp_path):
    """The inverse depth of the strips, scaled and shifted; the apertures determine scale and shift."""
    (relative := tmp_path / "relative").mkdir()
    for scene in open_dataset(dataset).scenes:
        np.save(relative / f"{scene.stem}_relative.npy", 3 + 0.2 / read_truth(scene).depth)
    asked = ("--estimator", "polarity", "--baselines", f"apertures={relative},constant", "--limit", 1, "--json")
    values = json.loads(run_eval("--data", dataset, *asked)[0])
    rmse = {name: method["all"]["everywhere"]["rmse_range"] for name, method in values["methods"].items()}
    assert rmse["apertures, scale and shift"] < 0.5 * rmse["constant"]
    assert rmse["apertures"] < 0.5 * rmse["constant"]
    _, error = run_eval("--data", dataset, "--baselines", f"apertures={tmp_path}", expect=1)
    assert "holds neither NAME_relative.npy nor the model_index.json" in error


def test_an_interruption_leaves_no_half_report(dataset, tmp_path):
    again = 40 * ["--data", dataset]  # long enough to be interrupted on a busy machine
    command = [COMMAND, "eval", *again, "--estimator", "polarity", "--baselines", "all", "--out", tmp_path]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while not list(tmp_path.glob(".evaluation.*")) and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
        assert process.returncode == 130, said
    assert not list(tmp_path.iterdir())
