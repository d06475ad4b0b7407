"""Configuration of a training run."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ...capture.errors import SweepdepthError
from ..architecture import PRESETS, NetworkConfig, UNetConfig

LAST, SETTINGS, WEIGHTS = "last.ckpt", "settings.json", "weights.safetensors"
"""Files in the folder of a run."""


class TrainingError(SweepdepthError):
    """A training run cannot be started or resumed."""


class TrainingConfig(BaseModel):
    """Configuration of a training run; stored in the run's folder and in the weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkConfig = PRESETS["default"]
    init: str | None = None
    """Weights to start from (fine-tuning); their network replaces `network`."""
    keep: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Weight of `init` in the result, an average of both, which reduces forgetting in fine-tuning (Wortsman et al.,
    "Robust fine-tuning of zero-shot models", CVPR 2022)."""
    seed: int = 0
    steps: Annotated[int, Field(ge=1)] = 10_000
    steps_per_epoch: Annotated[int, Field(ge=1)] = 250
    """Steps between validations and checkpoints, the most that a killed run loses."""
    batch: Annotated[int, Field(ge=1)] = 16
    """Samples per step, over all devices."""
    learning_rate: Annotated[float, Field(gt=0)] = 2e-3
    warm_up: Annotated[float, Field(ge=0, lt=1)] = 0.03
    """Fraction of the steps with a rising learning rate; it then falls with a cosine."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.02
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.998
    """Decay of the exponential moving average of the weights, which is the result; in runs of fewer than 5,000 steps,
    the average is over a tenth of the steps."""
    crop_px: Annotated[int, Field(ge=32)] = 192
    """Longest side of a training sample; larger frames are cropped at random."""
    adversarial: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the adversarial loss (`adversary`); for U-Nets."""
    augmented: bool = True
    validated: Annotated[float, Field(ge=0, lt=1)] = 0.05
    """Fraction of the scenes used for validation instead of training."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    minutes: Annotated[float, Field(gt=0)] | None = None
    """If given, a time limit in addition to `steps`; the learning rate then follows the elapsed time."""
    patience: Annotated[int, Field(ge=1)] | None = None
    """If given, training ends after this many epochs without a lower validation RMSE."""

    @model_validator(mode="after")
    def _judged(self) -> Self:
        if self.adversarial and not isinstance(self.network, UNetConfig):
            raise ValueError("adversarial: this loss is for U-Nets; choose such a preset")
        return self
