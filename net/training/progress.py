"""Progress reports of a training run: a line of text and curves for every epoch."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from .curves import write_curves

_ERRORS = {
    "val_rmse": "RMSE",
    "val_constant": "of a constant",
    "val_shipped": "of the shipped weights",
    "val_mae_events": "at events",
}


class Progress(Callback):
    """Prints a line per epoch: loss, errors and baselines, speed, fraction of time waiting for the loader, and time
    left."""

    def __init__(
        self,
        say: Callable[[str], None],
        on_progress: Callable[[float], None],  # called with the fraction of the run that is done
        run: Path,
        shipped_rmse: float | None,  # of the shipped weights on the validation sweeps
    ) -> None:
        self._say, self._on_progress, self._run, self._shipped_rmse = say, on_progress, run, shipped_rmse
        self._begun = self._ready = 0.0
        self._waited, self._steps, self._losses = 0.0, 0, list[Tensor]()
        self.history: list[dict[str, float]] = []
        self.ended = False  # stays False if a resumed run was already at its end

    def state_dict(self) -> dict[str, Any]:
        losses = torch.stack(self._losses).tolist() if self._losses else []
        return {"history": self.history, "losses": losses}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]
        self._losses = [torch.tensor(loss) for loss in state_dict.get("losses", [])]  # of the unfinished epoch

    def on_train_start(self, trainer: pl.Trainer, pl_module: Any) -> None:
        self._begun = self._ready = time.monotonic()
        self._losses = [loss.to(pl_module.device) for loss in self._losses]
        self._on_progress(trainer.global_step / pl_module.config.steps)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ended = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun = self._ready = time.monotonic()

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._waited += time.monotonic() - self._ready

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._losses.append(outputs["loss"].detach())  # reading the value now would synchronise with the device
        self._steps += 1
        self._on_progress(max(trainer.global_step / pl_module.config.steps, pl_module.clock()))
        self._ready = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        steps, losses, waited = self._steps, self._losses, self._waited
        self._waited, self._steps, self._losses = 0.0, 0, []
        if not steps:  # resumed at the end of an epoch, which ends again
            return
        config = pl_module.config
        seconds = time.monotonic() - self._begun
        row = {
            "step": trainer.global_step,
            "loss": float(torch.stack(losses).mean()),
            **{name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val_")},
            "samples_per_s": steps * config.batch / seconds,
            "loader_share": waited / seconds,
        }
        if self._shipped_rmse is not None:
            row["val_shipped"] = self._shipped_rmse
        self.history.append(row)
        if trainer.is_global_zero:
            self._report(row, (config.steps - trainer.global_step) * seconds / steps, config.steps)
            write_curves(self.history, self._run, config.steps)

    def _report(self, row: dict[str, float], left_s: float, steps: int) -> None:
        seen = "".join(f", {shown} {row[name]:.4f}" for name, shown in _ERRORS.items() if name in row)
        self._say(
            f"step {row['step']} of {steps}: loss {row['loss']:.4f}{seen}; "
            f"{row['samples_per_s']:.0f} samples/s, {100 * row['loader_share']:.0f} % of the time loading; "
            f"{left_s / 60:.0f} min left"
        )
        if "val_rmse" in row and row["val_rmse"] >= row["val_constant"]:
            self._say("warning: so far, the network is no better than a constant on the validation sweeps")
