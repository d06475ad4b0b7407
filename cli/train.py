"""`sweepdepth train`"""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .options import DebugOption, ForceOption, JsonOption
from .output import print_json, progress_bar, say

if TYPE_CHECKING:
    from ..net.cases import Case
    from ..net.training import Endless, TrainingConfig


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
    out: Annotated[Path, typer.Option("--out", help="Folder of the run: checkpoints, logs, weights.safetensors.")],
    data: Annotated[
        list[Path] | None,
        typer.Option("--data", help="Dataset, or folder of recordings with depth; may be repeated."),
    ] = None,
    preset: Annotated[
        Preset,
        typer.Option(help="default: ours; paper: WACV 2025; frames, frames30: ours on conventional images."),
    ] = Preset.DEFAULT,
    init: Annotated[
        Path | None, typer.Option("--init", help="Weights to start from (fine-tuning), instead of a preset.")
    ] = None,
    keep: Annotated[
        float,
        typer.Option(min=0.0, max=0.99, help="Share of --init in the result: keeps what fine-tuning forgets."),
    ] = 0.0,
    steps: Annotated[int, typer.Option(min=1, help="Optimisation steps.")] = 10_000,
    minutes: Annotated[float | None, typer.Option(min=0.01, help="End after so long, if not after --steps.")] = None,
    endless: Annotated[
        bool,
        typer.Option(
            "--endless", help="Make sweeps as they are needed, best on a GPU: of patch scenes, and of --data's images."
        ),
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Samples a step, over all devices.")] = 16,
    learning_rate: Annotated[float | None, typer.Option(help="At its highest; 0.002, or 0.0001 with --init.")] = None,
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
    from ..capture.recordings.atomic import make_folder
    from ..net.architecture import PRESETS
    from ..net.training import TrainingConfig, train
    from ..net.weights import open_weights

    if not data and not endless:
        raise typer.BadParameter("give --data DIR, or --endless")
    if devices > 1 and (endless or minutes is not None):  # each process would have its own clock, or the same sweeps
        raise typer.BadParameter(f"--devices {devices}: --endless and --minutes train on one device; leave it out")
    if endless and batch % 2:
        raise typer.BadParameter(f"--batch {batch}: --endless sweeps there and back; give an even number")
    if keep and init is None:
        raise typer.BadParameter(f"--keep {keep:g}: there is nothing to keep without --init")
    network = PRESETS[preset.value] if init is None else open_weights(init).config
    config = TrainingConfig(
        network=network,
        init=None if init is None else str(init),
        keep=keep,
        steps=steps,
        steps_per_epoch=min(250, steps),
        batch=batch,
        learning_rate=learning_rate or (2e-3 if init is None else 1e-4),
        seed=seed,
        augmented=augment,
        minutes=minutes,
    )
    make_folder(out)
    cases, batches = [], None
    if endless:
        config, batches = _endless(config, data or [], accelerator)
    else:
        cases = _cases(config, data or [])
    weights = train(
        cases,
        config,
        out,
        endless=batches,
        resume=resume,
        force=force,
        devices=devices,
        accelerator=accelerator.value,
        workers=workers,
        threads=threads,
        facts={"datasets": _datasets(data or [])},
        say=say,
    )
    if as_json:
        print_json({"weights": str(weights), "facts": dict(open_weights(weights).facts)})
    else:
        say(f"written: {weights}\ncompare it: sweepdepth eval --data DATASET --weights {weights}")


def _cases(config: "TrainingConfig", data: list[Path]) -> list["Case"]:
    """All labelled sweeps of some folders."""
    from ..net.cases import find_sources
    from ..net.samples import load_cases

    sources = [source for folder in data for source in find_sources(folder)]
    skipped: list[str] = []
    with progress_bar("reading", len(sources), "recordings") as advance:
        cases = load_cases(
            sources,
            config.network.representation,
            on_source=advance,
            on_skip=lambda source, reason: skipped.append(f"skipped {source.name}: {reason}"),
        )
    for line in skipped:
        say(line)
    say(f"{len(cases):,} sweeps of {len(sources) - len(skipped):,} recordings")
    return cases


def _datasets(data: list[Path]) -> dict[str, str]:
    """Which datasets a network was trained on, as its weights say it."""
    from ..capture.dataset import MANIFEST, open_dataset

    found = {}
    for folder in data:
        if (folder / MANIFEST).exists():
            dataset = open_dataset(folder)
            found[folder.name] = f"seed {dataset.manifest.seed}, {len(dataset.indices):,} scenes"
        else:
            found[folder.name] = "recordings with their depth" if folder.is_dir() else "one file"
    return found


def _endless(
    config: "TrainingConfig", data: list[Path], accelerator: Accelerator
) -> tuple["TrainingConfig", "Endless"]:
    """Endless batches for a run, from the focal stacks of datasets or of one pack besides patch scenes."""
    import torch

    from ..net.training import Endless
    from ..synth.endless import EndlessConfig, endless_batches, load_pool

    gpu = torch.cuda.is_available() and accelerator is not Accelerator.CPU
    device = "cuda" if gpu else "cpu"
    pool = None
    if data:
        with progress_bar("reading", None, "scenes") as advance:
            pool = load_pool(data, device, advance)
        say(f"focal stacks of {pool.size:,} rendered scenes")
    made = EndlessConfig(batch=config.batch)
    if not gpu:
        made = made.for_cpu(pool)
        say("compiling, and making the first patch scenes: half a minute")
    training, validation = endless_batches(
        made, config.network.representation, pool, config.validated, config.seed, device
    )
    about = made.model_dump(mode="json") | {"rendered_scenes": 0 if pool is None else pool.size}
    return config.model_copy(update={"endless": about}), Endless(training, validation)
