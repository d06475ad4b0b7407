"""Depth from defocus by all methods: the same scenes, lens and photons for events, frames, pairs and images.

    ./run bench defocus [--scenes 200] [--judged 24] [--steps 300] [--minutes M] [--out DIR] [--docs]

Renders scenes in Blender and as many patch scenes, trains every learned row on them with equal steps and samples,
evaluates all rows on other scenes of Blender at several light levels and speeds, and writes DIR/results.json,
DIR/defocus.md and three pictures; --docs puts page and pictures into docs/. Existing results are not made again, so the
same command resumes a stopped run.

All methods get the light of one sweep: a method on N images exposes each for an Nth of it, or until white saturates.
Sensor noise is that of `synth`; the event sensor is a DAVIS346.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from sweepdepth.capture.atomic import PartialFile
from sweepdepth.net.cases import Case
from sweepdepth.net.evaluation.evaluate import Evaluation, Summary, evaluate
from sweepdepth.net.training import SweepSource, TrainingConfig, images_wanted, train
from sweepdepth.net.training.config import SETTINGS, WEIGHTS
from sweepdepth.synth.generation.config import GenerationConfig, LightRange, SensorRange
from sweepdepth.synth.generation.job import generate
from sweepdepth.synth.resimulate import (
    COUPLED,
    Conditions,
    IdealScene,
    ResimulationConfig,
    lively,
    load_ideal_scenes,
    resimulate,
    resimulated,
)

from ._defocus_page import write_page
from ._defocus_rows import FRAMES, PHOTOGRAPHS, ROWS, Row, bytes_of, folder_of, method_of

ROOT = Path(__file__).parents[1]
SCENES = Path(__file__).with_name("defocus.toml")
SENSOR = SensorRange(preset="davis346")
LIGHTS_LUX = (1.0, 10.0, 100.0, 1000.0)
SWEEPS_S = (0.05, 0.2, 1.0)
REFERENCE = (100.0, 0.2)
"""Reference light level in lux and sweep duration in seconds; one is varied while the other stays at its reference."""

CROP_PX, BATCH = 96, 16


@dataclass(frozen=True)
class Sizes:
    """Settings that determine the result of a run."""

    scenes: int
    judged: int
    steps: int
    minutes: float | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=200, help="of either kind to train on")
    parser.add_argument("--judged", type=int, default=24, help="scenes that all rows are judged on")
    parser.add_argument("--steps", type=int, default=300, help=f"of {BATCH} samples, of each learned row")
    parser.add_argument(
        "--minutes", type=float, default=None, help="for training all rows together, if it ends earlier"
    )
    parser.add_argument("--out", type=Path, default=Path("bench-defocus"))
    parser.add_argument("--docs", action="store_true", help="put the page and its pictures into docs/")
    options = parser.parse_args()
    sizes = Sizes(options.scenes, options.judged, options.steps, options.minutes)
    results = run(sizes, options.out)
    write_page(results, options.out)
    if options.docs:
        write_page(results, ROOT / "docs", images="images")
    _print(results)


def conditions() -> list[tuple[float, float]]:
    """Light levels and durations of all conditions."""
    lux, seconds = REFERENCE
    return [*((light, seconds) for light in LIGHTS_LUX), *((lux, s) for s in SWEEPS_S if s != seconds)]


def run(sizes: Sizes, out: Path, rows: Sequence[Row] = ROWS, workers: int = 1) -> dict:
    """Make all missing parts, and return all results; training uses `workers` loader processes.

    Raises:
        SystemExit: the folder holds a run of other sizes.
    """
    out.mkdir(parents=True, exist_ok=True)
    known = out / "sizes.json"
    if known.exists() and json.loads(known.read_text()) != asdict(sizes):
        sys.exit(f"{out}: holds a run with {known.read_text().strip()}; give the same sizes, or another --out")
    _write(known, asdict(sizes))
    settings = GenerationConfig.load(SCENES)
    patches = GenerationConfig.load(SCENES, render="patches")
    training = lively(
        [
            *_scenes(out / "scenes", sizes.scenes, 0, settings),
            *_scenes(out / "patches", sizes.scenes, 0, patches),
        ]
    )
    judged = _scenes(out / "judged", sizes.judged, 1, settings)
    trained = [row for row in rows if row.network is not None]
    for row in trained:
        _train(row, training, sizes, out, len(trained), workers)
    found = [_judge(condition, judged, rows, out) for condition in conditions()]
    steps = {row.name: _facts(row, out) for row in trained}
    results = {
        "sizes": asdict(sizes),
        "scenes": {"training": len(training), "judged": len(judged)},
        "batch": BATCH,
        "reference": list(REFERENCE),
        "trained": steps,
        "conditions": found,
    }
    _write(out / "results.json", results)
    return results


def _scenes(folder: Path, count: int, seed: int, config: GenerationConfig) -> list[IdealScene]:
    """Rendered scenes with the images that any row needs, without noise."""
    _say(f"{folder}: {count} scenes")
    generate(folder, count, seed, config)
    return load_ideal_scenes(folder)


def weights_of(row: Row, out: Path) -> Path:
    """The weights of a learned row."""
    return folder_of(row, out) / WEIGHTS


def _train(row: Row, scenes: Sequence[IdealScene], sizes: Sizes, out: Path, rows: int, workers: int) -> None:
    """Train a row or resume its training; all rows get the same sweeps in the same order."""
    assert row.network is not None
    folder = folder_of(row, out)
    if (folder / WEIGHTS).exists():
        return
    lights = LightRange(illuminance_lux=(min(LIGHTS_LUX), max(LIGHTS_LUX)))
    drawn = Conditions(sensor=SENSOR, light=lights, sweep_s=(min(SWEEPS_S), max(SWEEPS_S)))
    frames, photographs = images_wanted(row.network.representation)
    sources = [
        SweepSource(scene.name, draw, renewed=True)
        for scene, draw in zip(
            scenes, resimulated(scenes, _under(drawn), frames=frames, photographs=photographs), strict=True
        )
    ]
    config = TrainingConfig(
        network=row.network,
        steps=sizes.steps,
        steps_per_epoch=min(100, sizes.steps),
        batch=BATCH,
        crop_px=CROP_PX,
        adversarial=row.adversarial,
        validated=0.1,
        minutes=None if sizes.minutes is None else sizes.minutes / rows,
    )
    _say(f"{row.name}: {sizes.steps} steps")
    begun = time.monotonic()
    train(sources, config, folder, resume=(folder / SETTINGS).exists(), workers=workers, say=_say)
    _say(f"{row.name}: {(time.monotonic() - begun) / 60:.1f} min")


def _under(drawn: Conditions) -> ResimulationConfig:
    """Settings of complete sweeps under given conditions, including sweeps without events."""
    return ResimulationConfig(anything=drawn, ordinary=drawn, whole=1.0, least_events=0.0)


def cases_under(lux: float, seconds: float, scenes: Sequence[IdealScene]) -> Iterator[Case]:
    """One sweep of every scene, with the images of all methods in the same light."""
    fixed = LightRange(illuminance_lux=(lux, lux))
    config = _under(Conditions(sensor=SENSOR, light=fixed, sweep_s=(seconds, seconds)))
    for number, scene in enumerate(scenes):
        sweep = resimulate(scene, np.random.default_rng([7, number]), config, FRAMES, PHOTOGRAPHS)
        yield Case(
            scene.name,
            0,
            sweep.events,
            sweep.sweep,
            sweep.truth,
            sweep.frames,
            sweep.frame_diopters,
            sweep.photographs[COUPLED],
            sweep.photographs,
            lux,
        )


def _judge(condition: tuple[float, float], scenes: Sequence[IdealScene], rows: Sequence[Row], out: Path) -> dict:
    """Scores of all rows under a condition, from its file if it has been judged."""
    lux, seconds = condition
    path = out / "scores" / f"{lux:g}-lux-{seconds:g}-s.json"
    if path.exists():
        return json.loads(path.read_text())
    _say(f"judging at {lux:g} lux, sweeps of {seconds:g} s")
    events, pixels = [], 1

    def count(case: Case) -> None:
        nonlocal pixels
        events.append(len(case.events))
        pixels = case.truth.size

    methods = [method_of(row, lambda learned: weights_of(learned, out)) for row in rows]
    found = evaluate(cases_under(lux, seconds, scenes), methods, count)
    scores = {row.name: _numbers(found, row, bytes_of(row, float(np.mean(events)), pixels)) for row in rows}
    result = {"lux": lux, "seconds": seconds, "events_per_pixel": float(np.mean(events)) / pixels, "rows": scores}
    path.parent.mkdir(exist_ok=True)
    _write(path, result)
    return result


def _numbers(found: Evaluation, row: Row, sent: float) -> dict:
    summary: Summary = found.summary(row.name)
    one, two = summary.reliability.within_shares
    numbers = {
        "rmse": summary.everywhere.rmse_range,
        "mae": summary.everywhere.mae_range,
        "answered_mae": summary.answered.mae_range,
        "coverage": summary.answered.coverage,
        "edges_mae": summary.breakdown.mae_range[0],
        "calibration": summary.reliability.calibration_error,
        "within_one": one,
        "within_two": two,
        "milliseconds": summary.milliseconds,
        "bytes": sent,
    }
    return {"sees": row.sees, **{name: value if np.isfinite(value) else None for name, value in numbers.items()}}


def _facts(row: Row, out: Path) -> dict:
    from sweepdepth.net.weights import make_network, open_weights

    file = open_weights(weights_of(row, out))
    parameters = sum(part.numel() for part in make_network(file.config).parameters())
    return {"steps": file.facts["steps"], "parameters": parameters}


def _write(path: Path, values: dict) -> None:
    partial = PartialFile(path, force=True)
    try:
        partial.path.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n")
        partial.commit()
    finally:
        partial.discard()


def _print(results: dict) -> None:
    from ._defocus_page import COLUMNS, reference_rows

    table = Table(title="Depth from defocus", title_justify="left")
    for number, column in enumerate(COLUMNS):
        table.add_column(column, justify="left" if number == 0 else "right")
    for row in reference_rows(results):
        table.add_row(*row)
    Console(width=150).print(table)


def _say(line: str) -> None:
    Console(stderr=True, highlight=False, markup=False).print(line)


if __name__ == "__main__":
    main()
