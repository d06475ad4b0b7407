"""The event focal stack: the events of a sweep by where the focus was, whole or rolling."""

from .focal_stack import EventFocalStack, Polarity

__all__ = ["EventFocalStack", "Polarity"]
