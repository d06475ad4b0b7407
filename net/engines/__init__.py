"""Engines: what runs a trained network. One small interface; by default the fastest that is installed."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from ...capture.errors import SweepdepthError
from ..weights import WeightsFile

NAMES = ("auto", "openvino", "torch")


class EngineError(SweepdepthError):
    """An engine that is not installed."""


class Engine(Protocol):
    """A network compiled for one frame size."""

    name: str

    def __call__(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """The network's output for one frame, from what its representation makes of it; float32, without a batch."""
        ...


def installed() -> bool:
    """Whether a network can be run at all."""
    return find_spec("torch") is not None and find_spec("safetensors") is not None


def make_engine(file: WeightsFile, height: int, width: int, name: str = "auto") -> Engine:
    """Compile a network for frames of a size. "auto": torch on a GPU, else OpenVINO, else torch on the CPU.

    Raises:
        EngineError: the engine is unknown or not installed.
        WeightsError: the parameters are damaged.
    """
    if name not in NAMES:
        raise EngineError(f"engine {name!r} is unknown; choose one of {', '.join(NAMES)}")
    if not installed():
        raise EngineError("the network needs torch and safetensors: pip install 'sweepdepth[train]'")
    if name == "openvino" and find_spec("openvino") is None:
        raise EngineError("engine 'openvino' is not installed: pip install 'sweepdepth[openvino]'")
    if name == "auto":
        name = "torch" if find_spec("openvino") is None or _gpu() else "openvino"
    if name == "openvino":
        from .openvino import OpenVinoEngine

        return OpenVinoEngine(file, height, width)
    from .torch import TorchEngine

    return TorchEngine(file)


def _gpu() -> bool:
    """Whether torch could use a GPU; asked without importing it, which takes seconds, where there is no driver."""
    from pathlib import Path

    if not (Path("/proc/driver/nvidia").exists() or Path("/dev/kfd").exists()):
        return False
    import torch

    return torch.cuda.is_available()
