"""`sweepdepth train`"""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .options import DebugOption, ForceOption, JsonOption
from .output import print_json, progress_bar, say


class Preset(StrEnum):
    """Which network."""

    DEFAULT = "default"
    PAPER = "paper"
    FRAMES = "frames"
    FRAMES30 = "frames30"


class Accelerator(StrEnum):
    """What computes."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


def train(
    data: Annotated[
        list[Path], typer.Option("--data", help="Dataset, or folder of recordings with depth; may be repeated.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run: checkpoints, logs, weights.safetensors.")],
    preset: Annotated[
        Preset, typer.Option(help="default: ours; paper: WACV 2025; frames, frames30: ours on conventional images.")
    ] = Preset.DEFAULT,
    init: Annotated[
        Path | None, typer.Option("--init", help="Weights to start from (fine-tuning), instead of a preset.")
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Optimisation steps.")] = 10_000,
    batch: Annotated[int, typer.Option(min=1, help="Samples a step, over all devices.")] = 16,
    learning_rate: Annotated[float | None, typer.Option(help="At its highest; 0.002, or 0.0005 with --init.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random.")] = 0,
    augment: Annotated[bool, typer.Option(help="Augment events: loss, noise, flips, motion, lag, …")] = True,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in --out where it was saved.")] = False,
    devices: Annotated[int, typer.Option(min=1, help="Processes to share each step (DDP).")] = 1,
    accelerator: Annotated[Accelerator, typer.Option(help="What computes.")] = Accelerator.AUTO,
    workers: Annotated[int, typer.Option(min=0, help="Loader processes for each device.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of each process.")] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a network on labelled sweeps. A run that was stopped or killed goes on with --resume."""
    from importlib.util import find_spec

    from ..capture.errors import SweepdepthError

    if find_spec("torch") is None or find_spec("lightning") is None:
        raise SweepdepthError("training needs torch and lightning: pip install 'sweepdepth[train]'")
    from ..net.architecture import PRESETS
    from ..net.cases import find_sources
    from ..net.samples import load_cases
    from ..net.training import TrainingConfig, train
    from ..net.weights import open_weights

    network = PRESETS[preset.value] if init is None else open_weights(init).config
    config = TrainingConfig(
        network=network,
        init=None if init is None else str(init),
        steps=steps,
        steps_per_epoch=min(250, steps),
        batch=batch,
        learning_rate=learning_rate or (2e-3 if init is None else 5e-4),
        seed=seed,
        augmented=augment,
    )
    sources = [source for folder in data for source in find_sources(folder)]
    skipped: list[str] = []
    with progress_bar("reading", len(sources), "recordings") as advance:
        cases = load_cases(
            sources,
            network.representation,
            on_source=advance,
            on_skip=lambda source, reason: skipped.append(f"skipped {source.name}: {reason}"),
        )
    for line in skipped:
        say(line)
    say(f"{len(cases):,} sweeps of {len(sources) - len(skipped):,} recordings")
    weights = train(
        cases,
        config,
        out,
        resume=resume,
        force=force,
        devices=devices,
        accelerator=accelerator.value,
        workers=workers,
        threads=threads,
        say=say,
    )
    if as_json:
        print_json({"weights": str(weights), "facts": dict(open_weights(weights).facts)})
    else:
        say(f"written: {weights}\ncompare it: sweepdepth eval --data DATASET --weights {weights}")
