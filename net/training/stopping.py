"""How a training run is told to stop before its end: it is saved where it is, at the very step."""

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
    """A training run that was told to stop; it goes on from `step` when it is resumed."""

    def __init__(self, out: Path, step: int, steps: int) -> None:
        self.step = step
        where = f"saved in {out / LAST}" if step else f"nothing is lost of {out}"
        super().__init__(f"stopped at step {step:,} of {steps:,}: {where}; the same line with --resume goes on")


class Stopping(Callback):
    """Saves a run at the first step after which `stop` is set in any of its processes, and ends it by TrainingStopped.

    At the end of an epoch the validation and the checkpoint that are due there come first.
    """

    def __init__(self, stop: threading.Event, out: Path) -> None:
        self._stop, self._out = stop, out
        self._handlers = {number: signal.getsignal(number) for number in _SIGNALS}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        # Lightning has a handler of its own by now, which ends a run at the end of its epoch.
        if threading.current_thread() is threading.main_thread():
            for number, handler in self._handlers.items():
                signal.signal(number, handler)

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        config, step = pl_module.config, trainer.global_step
        if step and step % config.steps_per_epoch == 0 and self._told(trainer):  # saved at the end of the epoch
            raise TrainingStopped(self._out, step, config.steps)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        config, step = pl_module.config, trainer.global_step
        if step % config.steps_per_epoch and step < config.steps and self._told(trainer):
            trainer.save_checkpoint(self._out / LAST)
            raise TrainingStopped(self._out, step, config.steps)

    def _told(self, trainer: pl.Trainer) -> bool:
        return trainer.strategy.reduce_boolean_decision(self._stop.is_set(), all=False)


def leave_signals_to_the_owner(_worker: int) -> None:
    """For loader processes, which a terminal or a service manager tells to end together with their owner: it ends them
    when it has saved."""
    for number in _SIGNALS:
        signal.signal(number, signal.SIG_IGN)
