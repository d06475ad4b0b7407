"""Model of the event camera's pixels, with noise: `model`, its compiled `kernel`, a `reference`, sensor `presets`."""

from .model import (
    MIN_THRESHOLD,
    PixelArray,
    Sensor,
    advance,
    advance_numpy,
    expose_first,
    expose_sequence,
    finish,
)

__all__ = [
    "MIN_THRESHOLD",
    "PixelArray",
    "Sensor",
    "advance",
    "advance_numpy",
    "expose_first",
    "expose_sequence",
    "finish",
]
