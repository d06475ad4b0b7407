"""Progress of a training run: a line for every epoch."""

import time
from collections.abc import Callable
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor


class Progress(Callback):
    """A line for every epoch: losses, speed, how long the devices waited for the loader, and the time left."""

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._begun = self._ready = 0.0
        self._waited, self._losses = 0.0, list[Tensor]()
        self.history: list[dict[str, float]] = []
        self.ended = False  # a run that was at its end when it was resumed does not begin, nor end

    def state_dict(self) -> dict[str, Any]:
        return {"history": self.history}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.history = state_dict["history"]

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.ended = True

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._begun = self._ready = time.monotonic()
        self._waited, self._losses = 0.0, []

    def on_train_batch_start(self, trainer: pl.Trainer, pl_module: Any, batch: Any, batch_idx: int) -> None:
        self._waited += time.monotonic() - self._ready

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._losses.append(outputs["loss"].detach())  # reading it would wait for the device
        self._ready = time.monotonic()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: Any) -> None:
        if not self._losses:  # resumed at the end of an epoch, which is ended once more
            return
        config = pl_module.config
        loss = float(torch.stack(self._losses).mean())
        seconds = time.monotonic() - self._begun
        row = {
            "step": trainer.global_step,
            "loss": loss,
            **{name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val_")},
            "samples_per_s": len(self._losses) * config.batch / seconds,
            "loader_share": self._waited / seconds,
        }
        self.history.append(row)
        left = (config.steps - trainer.global_step) * seconds / len(self._losses)
        names = {"val_rmse": "RMSE", "val_constant": "of a constant", "val_mae_events": "at events"}
        seen = "".join(f", {shown} {row[name]:.4f}" for name, shown in names.items() if name in row)
        self._say(
            f"step {row['step']} of {config.steps}: loss {row['loss']:.4f}{seen}; "
            f"{row['samples_per_s']:.0f} samples/s, {100 * row['loader_share']:.0f} % of the time waiting for them; "
            f"{left / 60:.0f} min left"
        )
