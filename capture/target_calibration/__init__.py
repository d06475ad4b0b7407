"""Calibrating a sweeping lens: focus curve, delay, breathing and hot pixels from recordings of a textured target."""

from .procedure import Calibrated, calibrate
from .report import save_calibration
from .rest import Rest, measure_rest
from .sighting import Sighting
from .targets import Target, parse_target

__all__ = [
    "Calibrated",
    "Rest",
    "Sighting",
    "Target",
    "calibrate",
    "measure_rest",
    "parse_target",
    "save_calibration",
]
