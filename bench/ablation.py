"""Ablation: contribution of each part of network and evidence, by training without it with equal steps and seeds.

    ./run bench ablation DATASET [DATASET …] [--steps 300] [--only NAME …] [--out DIR]

Datasets are as for `sweepdepth train`, with ideal focal stacks; those of `./run bench defocus` will do. All variants
train on the same samples, as many at once as there are processors, and are evaluated on the same validation sweeps of
rendered scenes not used for training. Crops are small and steps few, so only differences larger than that between two
seeds are meaningful. DIR has the results; those that are there are not made again.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from sweepdepth.capture.atomic import write_whole
from sweepdepth.capture.files.dataset import open_dataset
from sweepdepth.net.architecture import EvidenceConfig
from sweepdepth.net.training import SweepSource, TrainingConfig, loss, train
from sweepdepth.net.training.data import split_scenes
from sweepdepth.net.training.samples import Sample
from sweepdepth.net.weights import open_weights
from sweepdepth.synth.resimulate import lively, load_ideal_scenes, resimulated

CROP_PX = 96
VALIDATED = 0.1
"""Fraction of the rendered scenes to validate with."""
NETWORK = EvidenceConfig()
COLUMNS = {"RMSE": "val_rmse", "mean error": "val_mae", "mean error at events": "val_mae_events"}
Inputs = tuple[torch.Tensor, ...]  # half, quarter, pixel, candidate; see `Evidence`


@dataclass(frozen=True)
class Variant:
    """The configuration's difference from the default."""

    network: EvidenceConfig = NETWORK
    change: Callable[[Sample], Sample] | None = None
    ranked: float = loss.RANKED_WEIGHT
    seed: int = 0
    uses: Callable[[SweepSource], bool] = lambda source: True


def of_inputs(change: Callable[[Inputs], None]) -> Callable[[Sample], Sample]:
    """Make a change of samples from a function that changes inputs in place."""

    def changed(sample: Sample) -> Sample:
        inputs = tuple(part.clone() for part in sample[0])
        change(inputs)
        return inputs, *sample[1:]

    return changed


def no_shares(inputs: Inputs) -> None:
    inputs[0][2:6] = 0
    inputs[1][2:6] = 0


def no_even_share(inputs: Inputs) -> None:
    inputs[0][4:6] = 0
    inputs[1][4:6] = 0


def no_coarse_bands(inputs: Inputs) -> None:
    inputs[1][:] = 0


def no_fine_bands(inputs: Inputs) -> None:
    inputs[0][:6] = 0


def no_rate(inputs: Inputs) -> None:
    inputs[0][6] = 0


def no_matched(inputs: Inputs) -> None:
    inputs[0][:2], inputs[0][7], inputs[1][:2] = 0, 0, 0


def no_motion(inputs: Inputs) -> None:
    inputs[2][4] = 0


def no_place(inputs: Inputs) -> None:
    inputs[3][2] = 0.5


def no_ends(inputs: Inputs) -> None:
    inputs[3][:2] = 0


def range_order(sample: Sample) -> Sample:
    """Candidates from far to near for both sweep directions; the position channel decreases in near→far sweeps."""
    (half, quarter, pixel, candidate), position, weight = sample
    if candidate[2, 0] < candidate[2, -1]:
        return sample
    return (half.flip(1), quarter.flip(1), pixel, candidate.flip(1)), 1 - position, weight


VARIANTS = {
    "everything": Variant(),
    "everything, another seed": Variant(seed=1),
    "rendered scenes alone": Variant(uses=lambda source: source.validates),
    "patch scenes alone": Variant(uses=lambda source: not source.validates),
    "range order instead of time order": Variant(change=range_order),
    "without the share of the even part": Variant(change=of_inputs(no_even_share)),
    "without the two coarse bands": Variant(change=of_inputs(no_coarse_bands)),
    "without the two fine bands": Variant(change=of_inputs(no_fine_bands)),
    "candidates do not see each other": Variant(NETWORK.model_copy(update={"reach": (1, 1, 1, 1, 1)})),
    "sees 16 px instead of the whole frame": Variant(
        NETWORK.model_copy(update={"widths": (24, 32), "blocks": (2, 3), "reach": (3, 3)})
    ),
    "cross-entropy alone": Variant(ranked=0.0),
    "without the event rate": Variant(change=of_inputs(no_rate)),
    "without shares of the events' energy": Variant(change=of_inputs(no_shares)),
    "without matched energy": Variant(change=of_inputs(no_matched)),
    "without the motion for each px of blur": Variant(change=of_inputs(no_motion)),
    "without the candidate's position": Variant(change=of_inputs(no_place)),
    "without the blur left before the ends": Variant(change=of_inputs(no_ends)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--only", nargs="*", choices=VARIANTS, help="these variants; all unless given")
    parser.add_argument("--out", type=Path, default=Path("bench-ablation"))
    options = parser.parse_args()
    found = run(options.datasets, options.steps, options.only or list(VARIANTS), options.out)
    table = Table("", title=f"{options.steps} steps of 16, crops of {CROP_PX} px", title_justify="left")
    for column in COLUMNS:
        table.add_column(column, justify="right")
    for name, scores in found.items():
        table.add_row(name, *(f"{100 * scores[key]:.1f} %" for key in COLUMNS.values()))
    Console(width=100).print(table)


def run(datasets: list[Path], steps: int, names: list[str], out: Path, processes: int | None = None) -> dict[str, dict]:
    """Train the variants that `out` has no results of, and return the validation scores of all.

    Raises:
        SystemExit: the folder holds a run of other steps or datasets.
    """
    out.mkdir(parents=True, exist_ok=True)
    known, sizes = out / "sizes.json", {"datasets": [str(path.resolve()) for path in datasets], "steps": steps}
    if known.exists() and json.loads(known.read_text()) != sizes:
        sys.exit(f"{out}: holds a run with {known.read_text().strip()}; give the same, or another --out")
    _write(known, sizes)
    missing = [name for name in names if not _scores(name, out).exists()]
    # Processes of one thread each: with several threads, small networks mostly wait for each other.
    with ProcessPoolExecutor(processes or os.cpu_count(), get_context("spawn"), _open, (datasets,)) as pool:
        for done in [pool.submit(_train, name, steps, out) for name in missing]:
            Console(stderr=True, highlight=False).print(done.result())
    return {name: json.loads(_scores(name, out).read_text()) for name in names}


def _scores(name: str, out: Path) -> Path:
    return out / f"{name.replace(' ', '_')}.json"


def _write(path: Path, values: dict) -> None:
    write_whole(path, lambda partial: partial.write_text(json.dumps(values, indent=1) + "\n"))


def ideal_sources(folders: list[Path]) -> list[SweepSource]:
    """The scenes of the datasets; rendered ones may be used for validation."""
    sources = []
    for folder in folders:
        rendered = open_dataset(folder).manifest.configuration.get("render") != "patches"
        scenes = lively(load_ideal_scenes(folder))
        sources += [
            SweepSource(f"{folder}/{scene.name}", draw, validates=rendered, renewed=True)
            for scene, draw in zip(scenes, resimulated(scenes), strict=True)
        ]
    return sources


_sources: list[SweepSource] = []  # of a training process


def _open(datasets: list[Path]) -> None:
    _sources.extend(ideal_sources(datasets))


def _train(name: str, steps: int, out: Path) -> str:
    variant = VARIANTS[name]
    config = TrainingConfig(
        network=variant.network, steps=steps, steps_per_epoch=steps, crop_px=CROP_PX, seed=variant.seed
    )
    sources, kept = split_scenes(_sources, VALIDATED)
    used = [source for source in sources if variant.uses(source)]
    usual, loss.RANKED_WEIGHT = loss.RANKED_WEIGHT, variant.ranked
    try:
        with tempfile.TemporaryDirectory() as folder:
            weights = train(
                used,
                config,
                Path(folder),
                validation=kept,
                change=variant.change,
                threads=1,
                say=lambda line: None,
            )
            facts = open_weights(weights).facts
    finally:
        loss.RANKED_WEIGHT = usual
    _write(_scores(name, out), {"scenes": facts["scenes"], **facts["validation"]})
    return f"{name}: {facts['scenes']} scenes, {facts['validation']}"


if __name__ == "__main__":
    main()
