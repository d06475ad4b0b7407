"""Options of `train`: configuration of the training, and the processes that compute it."""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..net.training import TrainingConfig

DATA, DURATION, COMPUTING = "Data and network", "Duration", "Computing"


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


@dataclass(frozen=True)
class Computing:
    """Processes and devices of a training run.

    Args:
        devices: processes that share each step.
        accelerator: Lightning's name of the accelerator.
        workers: loader processes per device.
        threads: threads per process; None: the number of cores.
    """

    devices: int
    accelerator: str
    workers: int
    threads: int | None


def training_config(
    preset: Annotated[
        Preset,
        typer.Option(
            rich_help_panel=DATA,
            help="default; paper, edff, edfv: of papers, on events; frames, frames30: default on frames; edges, "
            "single, prior: on photographs; unet: U-Net on counts. See docs/defocus.md.",
        ),
    ] = Preset.DEFAULT,
    init: Annotated[
        Path | None,
        typer.Option(
            "--init",
            metavar="FILE|NAME",
            rich_help_panel=DATA,
            help="Weights to start from (fine-tuning), instead of a preset.",
        ),
    ] = None,
    keep: Annotated[
        float,
        typer.Option(
            min=0.0,
            max=0.99,
            rich_help_panel=DATA,
            help="Weight of --init in the result, against forgetting in fine-tuning.",
        ),
    ] = 0.0,
    augment: Annotated[
        bool, typer.Option(rich_help_panel=DATA, help="Augment events: loss, noise, flips, motion, lag, …")
    ] = True,
    crop: Annotated[
        int,
        typer.Option(
            min=32,
            rich_help_panel=DATA,
            help="Longest side of a sample in pixels; larger frames are cropped at random.",
        ),
    ] = 192,
    adversarial: Annotated[
        float,
        typer.Option(min=0.0, rich_help_panel=DATA, help="Weight of an adversarial loss on depth maps; for U-Nets."),
    ] = 0.0,
    steps: Annotated[int, typer.Option(min=1, rich_help_panel=DURATION, help="Optimisation steps.")] = 10_000,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, rich_help_panel=DURATION, help="Time limit, in addition to --steps.")
    ] = None,
    patience: Annotated[
        int | None,
        typer.Option(
            min=1, rich_help_panel=DURATION, help="End after this many epochs without a lower validation RMSE."
        ),
    ] = None,
    batch: Annotated[
        int, typer.Option(min=1, rich_help_panel=COMPUTING, help="Samples per step, over all devices.")
    ] = 16,
    learning_rate: Annotated[
        float | None,
        typer.Option(rich_help_panel=COMPUTING, help="Peak learning rate; default: 0.002, or 0.0001 with --init."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, rich_help_panel=COMPUTING, help="Random seed.")] = 0,
) -> "TrainingConfig":
    """Configuration of a training run from its options.

    Raises:
        typer.BadParameter: options contradict each other.
        WeightsError: `init` cannot be read.
    """
    from ..net.architecture import PRESETS
    from ..net.training import TrainingConfig
    from ..net.weights import open_weights

    if keep and init is None:
        raise typer.BadParameter(f"--keep {keep:g}: there is nothing to keep without --init")
    network = PRESETS[preset.value] if init is None else open_weights(init).config
    if adversarial and network.kind != "unet":
        raise typer.BadParameter(f"--adversarial {adversarial:g}: this loss is for U-Nets; choose another --preset")
    return TrainingConfig(
        network=network,
        init=None if init is None else str(init),
        keep=keep,
        steps=steps,
        steps_per_epoch=min(250, steps),
        batch=batch,
        learning_rate=learning_rate or (2e-3 if init is None else 1e-4),
        seed=seed,
        crop_px=crop,
        adversarial=adversarial,
        augmented=augment,
        minutes=minutes,
        patience=patience,
    )


def computing(
    devices: Annotated[
        int, typer.Option(min=1, rich_help_panel=COMPUTING, help="Processes that share each step (DDP).")
    ] = 1,
    accelerator: Annotated[
        Accelerator, typer.Option(rich_help_panel=COMPUTING, help="Accelerator to use.")
    ] = Accelerator.AUTO,
    workers: Annotated[int, typer.Option(min=0, rich_help_panel=COMPUTING, help="Loader processes per device.")] = 1,
    threads: Annotated[int | None, typer.Option(min=1, rich_help_panel=COMPUTING, help="Threads per process.")] = None,
) -> Computing:
    """Processes and devices from their options."""
    return Computing(devices, accelerator.value, workers, threads)
