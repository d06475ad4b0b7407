"""The event focal stack: the events of a sweep binned by focus; whole stacks and rolling ones."""

from .focal_stack import EventFocalStack, Polarity

__all__ = ["EventFocalStack", "Polarity"]
