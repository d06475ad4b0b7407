"""The training loop, on Lightning: from labelled sweeps to weights. Killed runs resume from the last checkpoint."""

import logging
import math
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import EarlyStopping, EMAWeightAveraging, ModelCheckpoint
from torch import Tensor, nn
from torch.utils.data import DataLoader

from ...capture.atomic import make_folder
from ..architecture import EvidenceConfig
from ..weights import INITIAL_WEIGHTS, load_module, make_network, open_weights, save_weights
from .adversary import Adversary
from .allocation import keep_freed_memory
from .augmentation import NONE, Augmentation
from .checkpoints import WholeCheckpoints
from .comparison import rmse_of_shipped
from .config import WEIGHTS, TrainingConfig, TrainingError
from .data import EpochOrder, SweepSamples, SweepSource, hold_back, split_scenes
from .loss import distribution_loss, position_loss, read_distribution
from .progress import Progress
from .run_folder import is_first_process, prepare
from .run_logs import make_loggers, report_log_errors_once
from .samples import NEAR_WEIGHT, Sample
from .stopping import Stopping, TrainingStopped, leave_signals_to_the_owner

NORMAL_SHARE, NORMAL_SHARE_OF_TWO = 0.6827, 0.9545  # fractions of a normal distribution within 1 and 2 deviations
KNOTS = 12  # of the calibration curve from predicted to actual deviations
JUDGED_SWEEPS = 200  # most sweeps for the final calibration, if they are resimulated; no more than were trained on

TensorBatch = tuple[Sequence[Tensor], Tensor, Tensor]
"""The network's inputs, true position in the range (N, H, W), and weight (N, H, W)."""
Change = Callable[[Sample], Sample]


class Regression(pl.LightningModule):
    """The Lightning module: loss, validation and optimizer of a training run."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.network = make_network(config.network).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._distribution = isinstance(config.network, EvidenceConfig)
        self.adversary = Adversary(config.adversarial) if config.adversarial else None
        self._begun: float | None = None

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        return self.network(*inputs).float()

    def training_step(self, batch: TensorBatch, _index: int) -> Tensor:
        inputs, position, weight = batch
        out = self(inputs)
        loss = self._loss(out, position, weight)
        self.log("loss", loss, prog_bar=True)
        if self.adversary is not None:
            loss = loss + self.adversary(out[:, 0], position.clamp(0, 1), inputs[0][:, 0])
        if self._begun is None:
            self._begun = time.monotonic()
        if self.clock() >= 1 or self.trainer.global_step + 1 >= self.config.steps:
            self.trainer.should_stop = True  # stops after a validation, also within an epoch
        return loss

    def _loss(self, out: Tensor, position: Tensor, weight: Tensor) -> Tensor:
        return (distribution_loss if self._distribution else position_loss)(out, position, weight)

    def answer(self, out: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor | None]:
        """Positions (N, H, W) and their predicted deviations; None if the network predicts none."""
        if self._distribution:
            return read_distribution(out, size)
        return out[:, 0].clamp(0, 1), (0.5 * out[:, 1]).exp() if out.shape[1] > 1 else None

    def clock(self) -> float:
        """Elapsed fraction of the time limit."""
        if self.config.minutes is None or self._begun is None:
            return 0.0
        return (time.monotonic() - self._begun) / 60 / self.config.minutes

    def validation_step(self, batch: TensorBatch, _index: int) -> None:
        inputs, position, weight = batch
        out = self(inputs)
        inside = (weight > 0) & (position >= 0) & (position <= 1)
        if inside.sum() == 0:
            return
        found, _ = self.answer(out, (position.shape[-2], position.shape[-1]))
        error = (found - position)[inside]
        near = (weight == NEAR_WEIGHT)[inside]
        self.log("val_loss", self._loss(out, position, weight), batch_size=len(position))
        self.log("val_rmse", error.square().mean().sqrt(), batch_size=len(position))
        self.log("val_mae", error.abs().mean(), batch_size=len(position))
        if near.any():  # else all pixels near events are beyond the ends of the range
            self.log("val_mae_events", error[near].abs().mean(), batch_size=len(position))
        self.log("val_constant", (position[inside] - 0.5).square().mean().sqrt(), batch_size=len(position))

    def configure_optimizers(self) -> Any:
        config = self.config
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
        )

        def rate(step: int) -> float:
            done = max(step / config.steps, self.clock())
            if done < config.warm_up:
                return max(done, 1 / config.steps) / config.warm_up
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - config.warm_up) / (1 - config.warm_up)))) + 1e-3

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Samples(pl.LightningDataModule):
    """The data loaders of a run."""

    def __init__(
        self,
        train: list[SweepSource],
        validation: list[SweepSource],
        config: TrainingConfig,
        workers: int,
        change: Change | None = None,
    ) -> None:
        super().__init__()
        self._train, self._validation, self._config, self._workers = train, validation, config, workers
        self._change = change

    def train_dataloader(self) -> DataLoader:
        config, trainer = self._config, self.trainer
        assert trainer is not None
        amount = Augmentation() if config.augmented else NONE
        samples = SweepSamples(
            self._train, config.network.representation, amount, config.crop_px, config.seed, self._change
        )
        world = trainer.world_size
        if config.batch % world:
            raise TrainingError(f"a batch of {config.batch} cannot be shared by {world} devices; choose a multiple")
        length = config.steps_per_epoch * config.batch
        order = EpochOrder(
            len(samples),
            length,
            config.seed,
            lambda: trainer.global_step * config.batch,
            trainer.global_rank,
            world,
        )
        return DataLoader(
            samples,
            config.batch // world,
            sampler=order,
            num_workers=self._workers,
            worker_init_fn=leave_signals_to_the_owner,
            persistent_workers=self._workers > 0,
            prefetch_factor=4 if self._workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader | list:
        if not self._validation:
            return []
        config = self._config
        samples = SweepSamples(self._validation, config.network.representation, NONE, None, config.seed, self._change)
        order = EpochOrder(len(samples), len(samples), config.seed, lambda: 0)
        return DataLoader(samples, 1, sampler=order)


def train(
    sources: Sequence[SweepSource],
    config: TrainingConfig,
    out: Path,
    *,
    validation: Sequence[SweepSource] | None = None,
    resume: bool = False,
    force: bool = False,
    devices: int = 1,
    accelerator: str = "auto",
    workers: int = 0,
    threads: int | None = None,
    facts: Mapping[str, Any] | None = None,
    change: Change | None = None,
    say: Callable[[str], None] = print,
    on_progress: Callable[[float], None] = lambda share: None,
    stop: threading.Event | None = None,
) -> Path:
    """Train a network on labelled sweeps.

    `out` also gets the checkpoint `last.ckpt`, used by `resume`, `settings.json`, `curves.png`, `training.html`, and
    logs for CSV and TensorBoard. Runs are reproducible with the same seed, sources and machine: the randomness of a
    sample depends on seed, round and number.

    Args:
        sources: sources of the samples.
        config: everything that determines the result.
        out: the run's folder.
        validation: sources to validate with; by default, a fraction `config.validated` of the scenes is split off.
        resume: continue the existing run.
        force: replace the existing run.
        devices: processes that share each step.
        accelerator: Lightning's name of the accelerator.
        workers: loader processes per device, which make the samples; 0: they are made in this process. Loader processes
            are forked, so use them only in programs without other threads, which notebooks have: a lock that another
            thread holds stays locked in them. New processes would copy the sources, which often are functions that
            cannot be pickled, and take 14 s of processor time to start, a forked one 0.1 s.
        threads: threads per process; by default the number of cores.
        facts: further facts about the run, stored in the weights.
        change: applied to every sample, in training and validation; used by ablations to remove inputs.
        say: called with a line of text for every epoch.
        on_progress: called after every step with the fraction of the run that is done.
        stop: when set, the run is saved at the next step and ends.

    Returns:
        The path of the weights, `out`/weights.safetensors.

    Raises:
        TrainingError: `out` holds another run, or none to resume; or `patience` is set, and there are no validation
            scenes.
        TrainingStopped: `stop` was set.
        RecordingError: there are no training sweeps.
        WeightsError: `config.init` cannot be read.
        CheckpointError, LogError: the run's folder cannot be written.
    """
    if threads:
        torch.set_num_threads(threads)
    keep_freed_memory()
    start = None
    if config.init is not None:
        start = load_module(open_weights(config.init))
        config = config.model_copy(update={"network": start.config})
    training, validation = (
        split_scenes(sources, config.validated) if validation is None else (list(sources), list(validation))
    )
    training, calibrating = hold_back(training, config.validated)
    if config.patience is not None and not validation:
        raise TrainingError("--patience needs a validation error, and there is no scene to validate with")
    make_folder(out)
    checkpoint = prepare(out, config, resume, force)
    stop = stop or threading.Event()
    shipped = rmse_of_shipped(validation, config, stop) if is_first_process() else None
    if is_first_process():
        say(_validation_line(training, validation, shipped))
    if stop.is_set():
        raise TrainingStopped(out, 0, config.steps)

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    module = Regression(config)
    if start is not None:
        module.network.load_state_dict(start.state_dict())
    progress = Progress(say, on_progress, out, shipped)
    patience = [] if config.patience is None else [_patience(config.patience)]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec.*")
        trainer = _make_trainer(config, out, devices, accelerator, [progress, Stopping(stop, out), *patience])
        data = Samples(training, validation, config, workers, change)
        with report_log_errors_once(out):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        if patience and patience[0].stopped_epoch and is_first_process():
            say(f"no lower RMSE for {config.patience} epochs: ended at step {trainer.global_step:,}")
        if not progress.ended and checkpoint is not None:  # the average has not replaced the network's weights yet
            module.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
        if start is not None and config.keep:
            _average(module.network, start, config.keep)
    weights = out / WEIGHTS
    if trainer.is_global_zero:
        judging = validation or training[:50]
        metrics, _ = _judge(module, _batches(judging, config, NONE, change))
        amount = Augmentation() if config.augmented else NONE
        _, deviation = _judge(module, _batches(calibrating or judging, config, amount, change))
        about = {
            "steps": trainer.global_step,
            "scenes": len({source.scene for source in training}),
            "validation": metrics if validation else {},
            "deviation": deviation,
        }
        save_weights(weights, module.network, _facts(config) | about | dict(facts or {}), force=True)
    return weights


def _make_trainer(
    config: TrainingConfig, out: Path, devices: int, accelerator: str, callbacks: list[pl.Callback]
) -> pl.Trainer:
    return pl.Trainer(
        accelerator=accelerator,
        devices=devices,
        strategy="ddp" if devices > 1 else "auto",
        precision=_precision(config.precision),
        max_steps=config.steps,
        gradient_clip_val=1.0,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        log_every_n_steps=min(50, config.steps_per_epoch),
        logger=make_loggers(out),
        callbacks=[
            ModelCheckpoint(
                out,
                filename="last",
                save_top_k=1,
                enable_version_counter=False,
                every_n_epochs=1,
                save_on_train_epoch_end=True,
            ),
            EMAWeightAveraging(decay=averaging(config), update_starting_at_step=min(200, config.steps // 4)),
            *callbacks,
        ],
        plugins=[WholeCheckpoints()],
        enable_model_summary=False,
        enable_progress_bar=False,
    )


def _facts(config: TrainingConfig) -> dict[str, Any]:
    """What the weights file records about the configuration of a run."""
    facts = {
        "training": config.model_dump(mode="json"),
        "augmentation": asdict(Augmentation()) if config.augmented else None,
    }
    return facts if config.init is None else facts | {INITIAL_WEIGHTS: dict(open_weights(config.init).facts)}


def _validation_line(training: list[SweepSource], validation: list[SweepSource], shipped: float | None) -> str:
    """A line about the validation data."""
    if not validation:
        return "only one scene: there is nothing to validate with, so the network's error will be unknown"
    scenes = len({source.scene for source in training})
    line = f"{scenes:,} scenes to train on, {len(validation):,} to validate with"
    return line if shipped is None else f"{line}; RMSE of the shipped weights there {shipped:.4f}"


def _patience(epochs: int) -> EarlyStopping:
    return EarlyStopping("val_rmse", mode="min", patience=epochs, check_on_train_epoch_end=False)


def averaging(config: TrainingConfig) -> float:
    """Decay of the moving average of the weights: over at most a tenth of the steps, so that the result of a short run
    does not contain the weights of its beginning."""
    return min(config.averaging, max(0.0, 1 - 10 / config.steps))


def _average(network: nn.Module, start: nn.Module, keep: float) -> None:
    """Average a network with another one in place: parameters and batch statistics, the other with weight `keep`."""
    other = start.state_dict()
    mixed = {
        name: keep * other[name].to(value) + (1 - keep) * value if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(mixed)


def _batches(
    sources: Sequence[SweepSource], config: TrainingConfig, amount: Augmentation, change: Change | None
) -> Iterable[TensorBatch]:
    """Whole sweeps of the sources, each as a batch: one per source, or several if they are renewed."""
    samples = SweepSamples(sources, config.network.representation, amount, None, config.seed, change)
    wanted = min(JUDGED_SWEEPS, config.steps * config.batch)
    rounds = max(1, wanted // len(samples)) if all(source.renewed for source in sources) else 1
    order = [(round_, number) for round_ in range(rounds) for number in range(len(samples))]
    return DataLoader(samples, 1, sampler=order)  # pyright: ignore[reportArgumentType]


@torch.inference_mode()
def _judge(module: Regression, batches: Iterable[TensorBatch]) -> tuple[dict[str, float], dict[str, Any]]:
    """Errors as fractions of the range over all pixels inside it, and the calibration of predicted deviations."""
    module.eval().cpu()
    errors, at_events, stated, constants = [], [], [], []
    for inputs, position, weight in batches:
        found, deviation = module.answer(module(inputs), (position.shape[-2], position.shape[-1]))
        inside = (weight > 0) & (position >= 0) & (position <= 1)
        errors.append((found - position).abs()[inside].numpy())
        at_events.append((weight[inside] == NEAR_WEIGHT).numpy())
        constants.append((position[inside] - 0.5).numpy())
        stated.append(np.ones(int(inside.sum())) if deviation is None else deviation[inside].numpy())
    error = np.concatenate(errors) if errors else np.empty(0)
    if not error.size:
        return {}, {}
    rmse, constant = (float(np.sqrt(np.mean(e**2))) for e in (error, np.concatenate(constants)))
    metrics = {"val_rmse": rmse, "val_mae": float(error.mean()), "val_constant": constant}
    near = np.concatenate(at_events)
    if near.any():
        metrics["val_mae_events"] = float(error[near].mean())
    if not module.config.network.probabilistic:
        return metrics, {"constant": rmse}
    deviation = np.concatenate(stated)
    calibrated: dict[str, Any] = {"scale": float(np.quantile(error / deviation, NORMAL_SHARE))}
    if isinstance(module.config.network, EvidenceConfig):
        calibrated["knots"] = calibration_knots(error, deviation)
    return metrics, calibrated


def calibration_knots(error: np.ndarray, stated: np.ndarray) -> tuple[list[float], list[float]]:
    """Calibration curve: predicted deviations, by quantiles, and the actual deviations of the errors, ascending.

    An actual deviation is the mean of two estimates: the 68 % quantile of the errors, and half of their 95 % quantile.

    Args:
        error: (N,) absolute errors.
        stated: (N,) predicted deviations.
    """
    order = np.argsort(stated, kind="stable")
    parts = [part for part in np.array_split(order, KNOTS) if part.size]
    actual = [(np.quantile(error[p], NORMAL_SHARE) + np.quantile(error[p], NORMAL_SHARE_OF_TWO) / 2) / 2 for p in parts]
    rising = np.maximum.accumulate(np.maximum(actual, 1e-4))
    return [float(stated[part].mean()) for part in parts], rising.tolist()


def _precision(wanted: str) -> Any:
    """bfloat16 if the device supports it."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16-mixed"
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    return "bf16-mixed" if "amx_bf16" in flags or "avx512_bf16" in flags else "32-true"
