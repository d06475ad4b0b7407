"""The event camera's pixels: the model, its compiled loop and a readable reference, and the sensors that there are."""

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
