"""`sweepdepth train`"""

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .extras import require
from .interruption import exit_unless_all, until_interrupted
from .options import DebugOption, ForceOption, JsonOption, sharing
from .output import print_json, progress_bar, say
from .training_data import describe_training_data, find_training_data
from .training_options import DATA, DURATION, Computing, computing, training_config

if TYPE_CHECKING:
    from ..net.training import TrainingConfig


@sharing(configuring=training_config, computing=computing)
def train(
    out: Annotated[Path, typer.Option("--out", help="Folder of the run: checkpoints, logs, weights.safetensors.")],
    data: Annotated[
        list[Path],
        typer.Option(
            "--data",
            rich_help_panel=DATA,
            help="Dataset, pack, or folder of recordings with depth; repeat one to weight it twice.",
        ),
    ],
    *,
    as_recorded: Annotated[
        bool,
        typer.Option(
            "--as-recorded",
            rich_help_panel=DATA,
            help="Train on a dataset's recordings even if sweeps can be resimulated.",
        ),
    ] = False,
    configuring: "Callable[[], TrainingConfig]",
    resume: Annotated[
        bool,
        typer.Option("--resume", rich_help_panel=DURATION, help="Continue the run in --out from its last checkpoint."),
    ] = False,
    computing: Callable[[], Computing],
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Train a network on labelled sweeps. Ctrl-C and SIGTERM save the run at the current step for --resume."""
    require("train", "torch", "lightning", "safetensors", "tensorboard")
    from ..capture.atomic import make_folder
    from ..net.training import TrainingStopped, train
    from ..net.weights import open_weights

    config, processes = configuring(), computing()
    if processes.devices > 1 and config.minutes is not None:  # each process would have its own clock
        raise typer.BadParameter(f"--devices {processes.devices}: --minutes trains on one device; leave it out")
    make_folder(out)
    sources, unread = find_training_data(data, config.network.representation, as_recorded)
    stop = until_interrupted()
    try:
        with progress_bar("training", 1.0, "steps") as advance:
            weights = train(
                sources,
                config,
                out,
                resume=resume,
                force=force,
                **asdict(processes),
                facts={"datasets": describe_training_data(data)},
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
    exit_unless_all(len(sources), unread)
