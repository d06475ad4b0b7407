"""Training of networks: from labelled sweeps to weights."""

from .config import TrainingConfig, TrainingError
from .data import SweepSource, images_wanted, load_cases, recorded
from .loop import train
from .stopping import TrainingStopped

__all__ = [
    "SweepSource",
    "TrainingConfig",
    "TrainingError",
    "TrainingStopped",
    "images_wanted",
    "load_cases",
    "recorded",
    "train",
]
