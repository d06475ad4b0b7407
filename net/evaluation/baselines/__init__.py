"""Baselines: depth from frames, from photographs of other focus and aperture, by other papers, and a constant."""

from .constant import Constant, fit_constant
from .coupled import CoupledDifferentiation
from .focus import DepthFromFocus
from .registry import BASELINES, READY, Baseline

__all__ = [
    "BASELINES",
    "READY",
    "Baseline",
    "Constant",
    "CoupledDifferentiation",
    "DepthFromFocus",
    "fit_constant",
]
