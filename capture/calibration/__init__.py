"""The calibration of a camera behind a sweeping lens: the file `lens.toml`, plausibility checks, and a template."""

from .model import (
    Breathing,
    Calibration,
    CameraModel,
    LensModel,
    MeasuredCurve,
    SweepSettings,
    Waveform,
)

__all__ = ["Breathing", "Calibration", "CameraModel", "LensModel", "MeasuredCurve", "SweepSettings", "Waveform"]
