"""Disturbances detected in the stream: hot pixels, flickering light, and motion during a sweep."""

from .watch import Watch, warm_up

__all__ = ["Watch", "warm_up"]
