"""The calibration of a camera behind a sweeping lens: its file, what is implausible in one, and a first one."""

from .model import (
    Breathing,
    Calibration,
    Camera,
    Lens,
    MeasuredCurve,
    SweepSettings,
    Waveform,
)

__all__ = ["Breathing", "Calibration", "Camera", "Lens", "MeasuredCurve", "SweepSettings", "Waveform"]
