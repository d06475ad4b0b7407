"""Training: labelled sweeps in, weights out."""

from .config import TrainingConfig, TrainingError
from .data import SweepSource, load_cases, recorded
from .loop import train

__all__ = ["SweepSource", "TrainingConfig", "TrainingError", "load_cases", "recorded", "train"]
