"""Training: labelled sweeps → weights. Lightning drives; a run that was killed is resumed where it was last saved."""

import json
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from lightning.pytorch.callbacks import Callback, EMAWeightAveraging, ModelCheckpoint
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset

from ..capture.errors import SweepdepthError
from ..capture.recordings.atomic import PartialFile
from .architecture import NetworkConfig
from .augmentation import NONE, Augmentation
from .cases import Case
from .checkpoints import WholeCheckpoints
from .likelihood import training_loss
from .model import DepthNet
from .run_logs import make_loggers, told_once
from .samples import EpochOrder, SweepSamples, make_sample
from .weights import BEGAN, load_network, open_weights, save_weights

Batch = tuple[Tensor, Tensor, Tensor]
"""Channels (N, C, H, W), true position in the range (N, H, W), and weight (N, H, W); float32."""

NORMAL_SHARE = 0.6827  # of a normal distribution, within one standard deviation
LAST, SETTINGS, WEIGHTS = "last.ckpt", "settings.json", "weights.safetensors"


class TrainingError(SweepdepthError):
    """A training run that cannot be started or resumed."""


class TrainingConfig(BaseModel):
    """How a network is trained; kept in the run's folder, and in the weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkConfig = NetworkConfig()
    init: str | None = None
    """Weights to start from (fine-tuning); their network replaces `network`."""
    keep: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of `init` in the result, an average of both: keeps what fine-tuning forgets (Wortsman et al., "Robust
    fine-tuning of zero-shot models", CVPR 2022)."""
    seed: int = 0
    steps: Annotated[int, Field(ge=1)] = 10_000
    steps_per_epoch: Annotated[int, Field(ge=1)] = 250
    """After so many the run is validated and saved: a killed run loses no more."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Samples a step, over all devices."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Share of the steps over which the learning rate rises; it then falls with a cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.998
    """Decay of the exponential moving average of the weights, which is what is kept."""
    crop_px: Annotated[int, Field(ge=32)] = 192
    """Longest side of a training sample; larger frames are cropped, elsewhere each time."""
    augmented: bool = True
    validated: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Share of the scenes that are kept from training, to watch it."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    minutes: Annotated[float, Field(gt=0)] | None = None
    """If given, training ends after so long, if not after `steps`; the learning rate follows the clock."""
    endless: dict[str, Any] | None = None
    """How samples were made, where they are not those of recordings."""


@dataclass(frozen=True)
class Endless:
    """Batches that are made as they are needed, and a few to watch the training with."""

    training: Iterator[Batch]
    validation: Sequence[Batch]


class Regression(pl.LightningModule):
    """What is done in a step."""

    def __init__(self, config: TrainingConfig) -> None:
        super().__init__()
        self.config = config
        self.network = DepthNet(config.network).to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self._begun: float | None = None

    def forward(self, channels: Tensor) -> Tensor:
        return self.network(channels.to(memory_format=torch.channels_last))

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor], _index: int) -> Tensor:
        channels, position, weight = batch
        loss = training_loss(self(channels).float(), position, weight)
        self.log("loss", loss, prog_bar=True)
        if self._begun is None:
            self._begun = time.monotonic()
        if self._clock() >= 1:
            self.trainer.should_stop = True
        return loss

    def _clock(self) -> float:
        """How much of the time there is has passed."""
        if self.config.minutes is None or self._begun is None:
            return 0.0
        return (time.monotonic() - self._begun) / 60 / self.config.minutes

    def validation_step(self, batch: tuple[Tensor, Tensor, Tensor], _index: int) -> None:
        channels, position, weight = batch
        prediction = self(channels).float()
        inside = weight * ((position >= 0) & (position <= 1))
        if inside.sum() == 0:
            return
        error = (prediction[:, 0].clamp(0, 1) - position)[inside > 0]
        self.log("val_loss", training_loss(prediction, position, weight), batch_size=len(position))
        self.log("val_rmse", error.square().mean().sqrt(), batch_size=len(position))
        self.log("val_mae", error.abs().mean(), batch_size=len(position))

    def configure_optimizers(self) -> Any:
        config = self.config
        optimizer = torch.optim.AdamW(
            self.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, betas=(0.9, 0.99)
        )

        def rate(step: int) -> float:
            done = max(step / config.steps, self._clock())
            if done < config.warm_up:
                return max(done, 1 / config.steps) / config.warm_up
            return 0.5 * (1 + math.cos(math.pi * min(1.0, (done - config.warm_up) / (1 - config.warm_up)))) + 1e-3

        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class EndlessBatches(pl.LightningDataModule):
    """The loaders of a run on batches that come ready, from the device that trains."""

    def __init__(self, endless: Endless) -> None:
        super().__init__()
        self._endless = endless

    def train_dataloader(self) -> DataLoader:
        return DataLoader(_Stream(self._endless.training), batch_size=None)

    def val_dataloader(self) -> DataLoader | list:
        return DataLoader(list(self._endless.validation), batch_size=None) if self._endless.validation else []  # pyright: ignore[reportArgumentType]


class _Stream(IterableDataset):
    def __init__(self, batches: Iterator[Batch]) -> None:
        self._batches = batches

    def __iter__(self) -> Iterator[Batch]:
        return self._batches


class Samples(pl.LightningDataModule):
    """The loaders of a run on recordings."""

    def __init__(self, train: list[Case], validation: list[Case], config: TrainingConfig, workers: int) -> None:
        super().__init__()
        self._train, self._validation, self._config, self._workers = train, validation, config, workers

    def train_dataloader(self) -> DataLoader:
        config, trainer = self._config, self.trainer
        assert trainer is not None
        heights, widths = zip(*(case.truth.shape for case in self._train), strict=True)
        crop = min(*heights, config.crop_px), min(*widths, config.crop_px)
        samples = SweepSamples(
            self._train, config.network.representation, Augmentation() if config.augmented else NONE, crop, config.seed
        )
        world = trainer.world_size
        if config.batch % world:
            raise TrainingError(f"a batch of {config.batch} cannot be shared by {world} devices; choose a multiple")
        length = config.steps_per_epoch * config.batch
        order = EpochOrder(
            len(samples),
            length,
            config.seed,
            lambda: trainer.global_step // config.steps_per_epoch,
            trainer.global_rank,
            world,
        )
        return DataLoader(
            samples,
            config.batch // world,
            sampler=order,
            num_workers=self._workers,
            persistent_workers=self._workers > 0,
            prefetch_factor=4 if self._workers else None,
            pin_memory=torch.cuda.is_available(),
        )

    def val_dataloader(self) -> DataLoader | list:
        if not self._validation:
            return []
        samples = SweepSamples(self._validation, self._config.network.representation, NONE, None, self._config.seed)
        return DataLoader(samples, 1, sampler=EpochOrder(len(samples), len(samples), self._config.seed, lambda: 0))


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
        seen = "".join(f", {n.removeprefix('val_')} {row[n]:.4f}" for n in ("val_rmse", "val_mae") if n in row)
        self._say(
            f"step {row['step']} of {config.steps}: loss {row['loss']:.4f}{seen}; "
            f"{row['samples_per_s']:.0f} samples/s, {100 * row['loader_share']:.0f} % of the time waiting for them; "
            f"{left / 60:.0f} min left"
        )


def train(
    cases: list[Case],
    config: TrainingConfig,
    out: Path,
    *,
    endless: Endless | None = None,
    resume: bool = False,
    force: bool = False,
    devices: int = 1,
    accelerator: str = "auto",
    workers: int = 1,
    threads: int | None = None,
    facts: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> Path:
    """Train a network on labelled sweeps, or on endless batches; returns the path of its weights,
    `out`/weights.safetensors.

    `out` also gets `last.ckpt`, from which `resume` goes on, `settings.json`, and logs for CSV and TensorBoard readers.
    The same seed, cases and machine give the same run: what is random about a sample depends on seed, epoch and number.

    Raises:
        TrainingError: `out` holds another run, or none to resume; too few scenes.
        WeightsError: `config.init` cannot be read.
        CheckpointError, LogError: the run's folder cannot be written.
    """
    if threads:
        torch.set_num_threads(threads)
    start = None
    if config.init is not None:
        start = load_network(open_weights(config.init))
        config = config.model_copy(update={"network": start.config})
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = _prepare(out, config, resume, force)
    training, validation = ([], []) if endless is not None else split_scenes(cases, config.validated)

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)
    pl.seed_everything(config.seed, workers=True, verbose=False)
    module = Regression(config)
    if start is not None:
        module.network.load_state_dict(start.state_dict())
    progress = Progress(say)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning")
        warnings.filterwarnings("ignore", message=".*isinstance.treespec.*")
        trainer = pl.Trainer(
            accelerator=accelerator,
            devices=devices,
            strategy="ddp" if devices > 1 else "auto",
            precision=_precision(config.precision),
            max_steps=config.steps,
            limit_train_batches=None if endless is None else config.steps_per_epoch,
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
                EMAWeightAveraging(decay=config.averaging),
                progress,
            ],
            plugins=[WholeCheckpoints()],
            enable_model_summary=False,
            enable_progress_bar=False,
        )
        data = Samples(training, validation, config, workers) if endless is None else EndlessBatches(endless)
        with told_once(out):
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        if not progress.ended and checkpoint is not None:  # then nothing has put the average in the network's place
            module.load_state_dict(torch.load(checkpoint, weights_only=True)["state_dict"])
        if start is not None and config.keep:
            _average(module.network, start, config.keep)
    weights = out / WEIGHTS
    if trainer.is_global_zero:
        watched = endless.validation if endless is not None else _batches(validation or training[:50], config)
        metrics, deviation = _judge(module, watched)
        about = {
            "training": config.model_dump(mode="json"),
            "steps": trainer.global_step,
            **({} if endless is not None else _about(training)),
            "augmentation": asdict(Augmentation()) if config.augmented and endless is None else None,
            "validation": metrics if validation or endless is not None else {},
            "deviation": deviation,
            **({} if config.init is None else {BEGAN: dict(open_weights(config.init).facts)}),
            **(facts or {}),
        }
        save_weights(weights, module.network, about, force=True)
    return weights


def _average(network: DepthNet, start: DepthNet, keep: float) -> None:
    """Put `keep` of another network's parameters and batch statistics into a network."""
    other = start.state_dict()
    mixed = {
        name: keep * other[name].to(value) + (1 - keep) * value if value.is_floating_point() else value
        for name, value in network.state_dict().items()
    }
    network.load_state_dict(mixed)


def _about(cases: list[Case]) -> dict[str, int]:
    return {"scenes": len({_scene(case) for case in cases}), "sweeps": len(cases)}


def _batches(cases: list[Case], config: TrainingConfig) -> Iterator[Batch]:
    """Each case as it is, as a batch of its own."""
    for case in cases:
        sample = make_sample(case, config.network.representation, NONE, np.random.default_rng(config.seed))
        channels, position, weight = (torch.from_numpy(array[None]) for array in sample)
        yield channels, position, weight


@torch.inference_mode()
def _judge(module: Regression, batches: Iterable[Batch]) -> tuple[dict[str, float], dict[str, float]]:
    """Errors in parts of the range, over all pixels inside it; and what makes the stated deviations true of most of
    them: 68 % are less than one."""
    module.eval().cpu()
    errors, stated = [], []
    for batch in batches:
        channels, position, weight = (tensor.cpu() for tensor in batch)
        out = module(channels).float()
        inside = (weight > 0) & (position >= 0) & (position <= 1)
        errors.append((out[:, 0].clamp(0, 1) - position).abs()[inside].numpy())
        stated.append((out[:, 1] * 0.5).exp()[inside].numpy() if out.shape[1] > 1 else np.ones(int(inside.sum())))
    error = np.concatenate(errors) if errors else np.empty(0)
    if not error.size:
        return {}, {}
    rmse = float(np.sqrt(np.mean(error**2)))
    metrics = {"val_rmse": rmse, "val_mae": float(error.mean())}
    if not module.config.network.probabilistic:
        return metrics, {"constant": rmse}
    return metrics, {"scale": float(np.quantile(error / np.concatenate(stated), NORMAL_SHARE))}


def split_scenes(cases: list[Case], share: float) -> tuple[list[Case], list[Case]]:
    """Training and validation: whole scenes, with all their variants and sweeps, on one side or the other.

    Raises:
        TrainingError: there is no scene left to train on.
    """
    scenes = sorted({_scene(case) for case in cases})
    count = min(round(share * len(scenes)) if len(scenes) > 1 else 0, len(scenes) - 1)
    kept = set(scenes[len(scenes) - count :])
    training = [case for case in cases if _scene(case) not in kept]
    if not training:
        raise TrainingError("there are no sweeps to train on")
    return training, [case for case in cases if _scene(case) in kept]


def _scene(case: Case) -> str:
    """The name of a case's scene, whatever its variant."""
    name, _, variant = case.recording.rpartition("_v")
    return name if variant.isdigit() else case.recording


def _prepare(out: Path, config: TrainingConfig, resume: bool, force: bool) -> Path | None:
    """The checkpoint to go on from, if any; the run's settings are written, or compared with those that are there."""
    settings, checkpoint = out / SETTINGS, out / LAST
    text = config.model_dump_json(indent=2)
    if int(os.environ.get("LOCAL_RANK", 0)) > 0:  # the first process of several has seen to it
        return checkpoint if resume and checkpoint.exists() else None
    if resume:
        if not settings.exists():
            raise TrainingError(f"{out}: holds no training run to resume; leave --resume out to start one")
        known = _read_settings(settings)
        for key, value in json.loads(text).items():
            if known.get(key) != value:
                raise TrainingError(
                    f"{out}: was started with another {key} ({json.dumps(known.get(key))}, now {json.dumps(value)}); "
                    "give the same options, or another --out"
                )
        return checkpoint if checkpoint.exists() else None
    if settings.exists() and not force:
        raise TrainingError(f"{out}: holds a training run; go on with --resume, or start anew with --force")
    for stale in (checkpoint, out / WEIGHTS):
        stale.unlink(missing_ok=True)
    partial = PartialFile(settings, force=True)
    try:
        partial.path.write_text(text + "\n")
        partial.commit()
    finally:
        partial.discard()
    return None


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise TrainingError(f"{path}: is damaged; start anew with --force, or in another --out") from error
    if not isinstance(known, dict):
        raise TrainingError(f"{path}: is damaged; start anew with --force, or in another --out")
    return known


def _precision(wanted: str) -> Any:
    """bfloat16 where the device computes in it."""
    if wanted != "auto":
        return wanted
    if torch.cuda.is_available():
        return "bf16-mixed"
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        flags = ""
    return "bf16-mixed" if "amx_bf16" in flags or "avx512_bf16" in flags else "32-true"
