"""Baselines: depth from conventional frames, from aperture pairs, and a constant."""

from .constant import Constant, fit_constant
from .coupled import CoupledDifferentiation
from .focus import DepthFromFocus

__all__ = ["Constant", "CoupledDifferentiation", "DepthFromFocus", "fit_constant"]
