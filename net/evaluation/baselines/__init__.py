"""Baselines: what depth costs without events, without a network, or without looking at all."""

from .constant import Constant, fit_constant
from .coupled import CoupledDifferentiation
from .focus import DepthFromFocus

__all__ = ["Constant", "CoupledDifferentiation", "DepthFromFocus", "fit_constant"]
