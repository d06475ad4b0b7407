"""Detection and removal of disturbances in the event stream: hot pixels, flickering light, motion during a sweep."""

from .watch import Watch, warm_up

__all__ = ["Watch", "warm_up"]
