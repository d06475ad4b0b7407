"""Configuration of a training run."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ...capture.errors import SweepdepthError
from ..architecture import PRESETS, NetworkConfig

LAST, SETTINGS, WEIGHTS = "last.ckpt", "settings.json", "weights.safetensors"
"""Files in the folder of a run."""


class TrainingError(SweepdepthError):
    """A training run that cannot be started or resumed."""


class TrainingConfig(BaseModel):
    """How a network is trained; kept in the run's folder, and in the weights."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    network: NetworkConfig = PRESETS["default"]
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
    patience: Annotated[int, Field(ge=1)] | None = None
    """If given, training ends after so many epochs without a lower RMSE of validation."""
