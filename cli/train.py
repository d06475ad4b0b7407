"""`sweepdepth train`"""

from collections import Counter
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .extras import require
from .interruption import until_interrupted
from .options import DebugOption, ForceOption, JsonOption
from .output import print_json, progress_bar, say

if TYPE_CHECKING:
    from ..net.training import SweepSource, TrainingConfig


_SEEN, _LENGTH, _COMPUTING = "Data and network", "Duration", "Computing"


class Preset(StrEnum):
    """Network preset."""

    DEFAULT = "default"
    PAPER = "paper"
    FRAMES = "frames"
    FRAMES30 = "frames30"
    UNET = "unet"
    EDFF = "edff"
    EDFV = "edfv"
    EDGES = "edges"
    SINGLE = "single"
    PRIOR = "prior"


class Accelerator(StrEnum):
    """Accelerator, as Lightning names it."""

    AUTO = "auto"
    CPU = "cpu"
    GPU = "gpu"


def train(
    out: Annotated[Path, typer.Option("--out", help="Folder of the run: checkpoints, logs, weights.safetensors.")],
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            rich_help_panel=_SEEN,
            help="Dataset, or folder of recordings with depth; repeat one to weight it twice.",
        ),
    ],
    preset: Annotated[
        Preset,
        typer.Option(
            rich_help_panel=_SEEN,
            help="default; paper, edff, edfv: of papers, on events; frames, frames30: default on frames; edges, "
            "single, prior: on photographs; unet: U-Net on counts. See docs/defocus.md.",
        ),
    ] = Preset.DEFAULT,
    init: Annotated[
        Path | None,
        typer.Option(
            "--init",
            metavar="FILE|NAME",
            rich_help_panel=_SEEN,
            help="Weights to start from (fine-tuning), instead of a preset.",
        ),
    ] = None,
    keep: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.99,
            rich_help_panel=_SEEN,
            help="Weight of --init in the result, against forgetting in fine-tuning.",
        ),
    ] = 0.0,
    steps: Annotated[int, typer.Option(min=1, rich_help_panel=_LENGTH, help="Optimisation steps.")] = 10_000,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, rich_help_panel=_LENGTH, help="Time limit, in addition to --steps.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=_LENGTH, help="End after this many epochs without a lower validation RMSE."
        ),
    ] = None,
    as_recorded: Annotated[
        bool,
        typer.Option(
            "--as-recorded",
            rich_help_panel=_SEEN,
            help="Train on a dataset's recordings even if sweeps can be resimulated.",
        ),
    ] = False,
    batch: Annotated[
        int, typer.Option(min=1, rich_help_panel=_COMPUTING, help="Samples per step, over all devices.")
    ] = 16,
    learning_rate: Annotated[
        float | None,
        typer.Option(rich_help_panel=_COMPUTING, help="Peak learning rate; default: 0.002, or 0.0001 with --init."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, rich_help_panel=_COMPUTING, help="Random seed.")] = 0,
    augment: Annotated[
        bool, typer.Option(rich_help_panel=_SEEN, help="Augment events: loss, noise, flips, motion, lag, …")
    ] = True,
    adversarial: Annotated[
        float,
        typer.Option(min=0.0, rich_help_panel=_SEEN, help="Weight of an adversarial loss on depth maps; for U-Nets."),
    ] = 0.0,
    resume: Annotated[
        bool,
        typer.Option("--resume", rich_help_panel=_LENGTH, help="Continue the run in --out from its last checkpoint."),
    ] = False,
    devices: Annotated[
        int, typer.Option(min=1, rich_help_panel=_COMPUTING, help="Processes that share each step (DDP).")
    ] = 1,
    accelerator: Annotated[
        Accelerator, typer.Option(rich_help_panel=_COMPUTING, help="Accelerator to use.")
    ] = Accelerator.AUTO,
    workers: Annotated[int, typer.Option(min=0, rich_help_panel=_COMPUTING, help="Loader processes per device.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, rich_help_panel=_COMPUTING, help="Threads per process.")] = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a network on labelled sweeps. Ctrl-C and SIGTERM save the run at the current step for --resume."""
    require("train", "torch", "lightning", "safetensors", "tensorboard")
    from ..capture.atomic import make_folder
    from ..net.architecture import PRESETS
    from ..net.training import TrainingConfig, TrainingStopped, train
    from ..net.weights import open_weights

    if devices > 1 and minutes is not None:  # each process would have its own clock
        raise typer.BadParameter(f"--devices {devices}: --minutes trains on one device; leave it out")
    if keep and init is None:
        raise typer.BadParameter(f"--keep {keep:g}: there is nothing to keep without --init")
    network = PRESETS[preset.value] if init is None else open_weights(init).config
    if adversarial and network.kind != "unet":
        raise typer.BadParameter(f"--adversarial {adversarial:g}: this loss is for U-Nets; choose another --preset")
    config = TrainingConfig(
        network=network,
        init=None if init is None else str(init),
        keep=keep,
        steps=steps,
        steps_per_epoch=min(250, steps),
        batch=batch,
        learning_rate=learning_rate or (2e-3 if init is None else 1e-4),
        seed=seed,
        adversarial=adversarial,
        augmented=augment,
        minutes=minutes,
        patience=patience,
    )
    make_folder(out)
    sources = _sources(config, data, as_recorded)
    stop = until_interrupted()
    try:
        with progress_bar("training", 1.0, "steps") as advance:
            weights = train(
                sources,
                config,
                out,
                resume=resume,
                force=force,
                devices=devices,
                accelerator=accelerator.value,
                workers=workers,
                threads=threads,
                facts={"datasets": _datasets(data)},
                say=say,
                on_progress=advance,
                stop=stop,
            )
    except TrainingStopped as stopped:
        if as_json:
            print_json({"weights": None, "stopped": stopped.step})
        say(str(stopped))
        raise typer.Exit(130) from None
    if as_json:
        print_json({"weights": str(weights), "facts": dict(open_weights(weights).facts)})
    else:
        say(f"written: {weights}\ncompare it: sweepdepth eval --data DATASET --weights {weights}")


def _sources(config: "TrainingConfig", data: list[Path], as_recorded: bool) -> list["SweepSource"]:
    """The sources of samples: ideal focal stacks if a dataset has them, else recordings."""
    from ..capture.errors import RecordingError
    from ..net.cases import find_sources
    from ..net.training import SweepSource, images_wanted, load_cases, recorded

    shown = config.network.representation
    sources: list[SweepSource] = []
    for folder, times in Counter(data).items():
        if not as_recorded and _has_ideal_stacks(folder):
            from ..capture.files.dataset import open_dataset
            from ..synth.resimulate import lively, load_ideal_scenes, resimulated

            with progress_bar("reading", None, "scenes") as advance:
                there = load_ideal_scenes(folder, advance)
            scenes = lively(there)
            frames, photographs = images_wanted(shown)
            if missing := next((n for n in photographs for scene in scenes if n not in scene.photographs), None):
                raise RecordingError(
                    f"{folder}: holds no photographs {missing!r}; render with intensity.photographs = true"
                )
            drawn = resimulated(scenes, frames=frames, photographs=photographs)
            rendered = open_dataset(folder).manifest.configuration.get("render") != "patches"
            sources += times * [
                SweepSource(f"{folder}/{scene.name}", draw, validates=rendered, renewed=True)
                for scene, draw in zip(scenes, drawn, strict=True)
            ]
            say(f"{folder}: {len(scenes):,} scenes with resimulated sweeps")
            if len(scenes) < len(there):
                say(f"{folder}: {len(there) - len(scenes):,} more are skipped, since their brightness hardly changes")
            continue
        files, skipped = find_sources(folder), list[str]()
        with progress_bar("reading", len(files), "recordings") as advance:
            cases = load_cases(
                files,
                shown,
                on_source=advance,
                on_skip=lambda source, reason, skipped=skipped: skipped.append(f"skipped {source.name}: {reason}"),
            )
        for line in skipped:
            say(line)
        sources += times * recorded(cases)
        say(f"{folder}: {len(cases):,} sweeps of {len(files) - len(skipped):,} recordings")
    return sources


def _has_ideal_stacks(folder: Path) -> bool:
    """Whether a folder is a dataset whose focal stacks are free of noise."""
    from ..capture.files.dataset import MANIFEST, open_dataset

    if not (folder / MANIFEST).exists():
        return False
    intensity = open_dataset(folder).manifest.configuration.get("intensity", {})
    return bool(intensity.get("frames")) and not intensity.get("noise", True)


def _datasets(data: list[Path]) -> dict[str, str]:
    """Descriptions of the training datasets, stored in the weights."""
    from ..capture.files.dataset import MANIFEST, open_dataset

    found = {}
    for folder in data:
        if (folder / MANIFEST).exists():
            dataset = open_dataset(folder)
            found[folder.name] = f"seed {dataset.manifest.seed}, {len(dataset.indices):,} scenes"
        else:
            found[folder.name] = "recordings with their depth" if folder.is_dir() else "one file"
    return found
