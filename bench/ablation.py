"""Ablation: contribution of each part of network and evidence, by training without it with equal steps and seeds.

    ./run bench ablation DATASET [DATASET …] [--steps 400] [--only NAME …]

Datasets are as for `sweepdepth train`, with ideal focal stacks. All variants train on the same samples and are
evaluated on the same validation sweeps of rendered scenes not used for training. Crops are small and steps few, so only
the ranking of the variants is meaningful.
"""

import argparse
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from sweepdepth.capture.files.dataset import open_dataset
from sweepdepth.net.architecture import EvidenceConfig
from sweepdepth.net.training import SweepSource, TrainingConfig, loss, train
from sweepdepth.net.training.data import split_scenes
from sweepdepth.net.training.samples import Sample
from sweepdepth.net.weights import open_weights
from sweepdepth.synth.resimulate import lively, load_ideal_scenes, resimulated

CROP_PX = 96
NETWORK = EvidenceConfig()
Inputs = tuple[torch.Tensor, ...]  # half, quarter, pixel, candidate; see `Evidence`


@dataclass(frozen=True)
class Variant:
    """The configuration's difference from the default."""

    network: EvidenceConfig = NETWORK
    change: Callable[[Sample], Sample] | None = None
    ranked: float = loss.RANKED_WEIGHT
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
    "range order instead of time order": Variant(change=range_order),
    "without shares of the events' energy": Variant(change=of_inputs(no_shares)),
    "without the share of the even part": Variant(change=of_inputs(no_even_share)),
    "without matched energy": Variant(change=of_inputs(no_matched)),
    "without the two coarse bands": Variant(change=of_inputs(no_coarse_bands)),
    "without the two fine bands": Variant(change=of_inputs(no_fine_bands)),
    "without the event rate": Variant(change=of_inputs(no_rate)),
    "without the motion for each px of blur": Variant(change=of_inputs(no_motion)),
    "without the candidate's position": Variant(change=of_inputs(no_place)),
    "without the blur left before the ends": Variant(change=of_inputs(no_ends)),
    "candidates do not see each other": Variant(NETWORK.model_copy(update={"reach": (1, 1, 1, 1, 1)})),
    "sees 16 px instead of the whole frame": Variant(
        NETWORK.model_copy(update={"widths": (24, 32), "blocks": (2, 3), "reach": (3, 3)})
    ),
    "cross-entropy alone": Variant(ranked=0.0),
    "rendered scenes alone": Variant(uses=lambda source: source.validates),
    "patch scenes alone": Variant(uses=lambda source: not source.validates),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", type=Path)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--only", nargs="*", choices=VARIANTS, help="these variants; all unless given")
    parser.add_argument("--threads", type=int, default=None)
    options = parser.parse_args()
    sources = ideal_sources(options.datasets)
    table = Table("", title=f"{options.steps} steps of 16, crops of {CROP_PX} px", title_justify="left")
    for column in ("RMSE", "mean error"):
        table.add_column(column, justify="right")
    for name in options.only or VARIANTS:
        found = _train(VARIANTS[name], sources, options.steps, options.threads)
        table.add_row(name, *(f"{100 * found[key]:.1f} %" for key in ("val_rmse", "val_mae")))
        Console(stderr=True).print(f"{name}: {found}")
    Console(width=100).print(table)


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


def _train(variant: Variant, sources: list[SweepSource], steps: int, threads: int | None) -> dict[str, float]:
    config = TrainingConfig(network=variant.network, steps=steps, steps_per_epoch=steps, crop_px=CROP_PX)
    _, kept = split_scenes(sources, config.validated)
    judges = {source.scene for source in kept}
    used = [
        replace(source, validates=source.scene in judges)
        for source in sources
        if source.scene in judges or variant.uses(source)
    ]
    config = config.model_copy(update={"validated": 0.99})  # use all scenes that may be used for validation
    usual, loss.RANKED_WEIGHT = loss.RANKED_WEIGHT, variant.ranked
    try:
        with tempfile.TemporaryDirectory() as folder:
            weights = train(
                used, config, Path(folder), change=variant.change, workers=1, threads=threads, say=lambda line: None
            )
            return dict(open_weights(weights).facts["validation"])
    finally:
        loss.RANKED_WEIGHT = usual


if __name__ == "__main__":
    main()
