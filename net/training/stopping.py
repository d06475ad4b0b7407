"""Stopping a training run before its end: it is saved at the current step."""

import signal
import threading
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.callbacks import Callback

from ...capture.errors import SweepdepthError
from .config import LAST

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class TrainingStopped(SweepdepthError):
    """A training run was stopped; resuming continues from `step`."""

    def __init__(self, out: Path, step: int, steps: int) -> None:
        self.step = step
        where = f"saved in {out / LAST}" if step else f"{out} is unchanged"
        super().__init__(f"stopped at step {step:,} of {steps:,}: {where}; continue with --resume")


class Stopping(Callback):
    """Saves a run at the first step after `stop` is set in any of its processes, and raises TrainingStopped.

    At the end of an epoch, its validation and checkpoint come first.
    """

    def __init__(self, stop: threading.Event, out: Path) -> None:
        self._stop, self._out = stop, out
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Replace Lightning's signal handler, which would stop only at the end of the epoch.
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        config, step = pl_module.config, trainer.global_step
        if (
            step and step % config.steps_per_epoch == 0 and self._stop_requested(trainer)
        ):  # saved at the end of the epoch
            raise TrainingStopped(self._out, step, config.steps)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        config, step = pl_module.config, trainer.global_step
        if step % config.steps_per_epoch and step < config.steps and self._stop_requested(trainer):
            trainer.save_checkpoint(self._out / LAST)
            raise TrainingStopped(self._out, step, config.steps)

    def _stop_requested(self, trainer: pl.Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(self._stop.is_set(), all=False)


def leave_signals_to_the_owner(_worker: int) -> None:
    """Make a loader process ignore signals sent to the whole process group: the owner ends it after saving."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
