"""Engines: what runs a trained network. One small interface; by default the fastest that is installed."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from ..exported_graph import EngineError, WeightsError
from ..weights import WeightsFile

NAMES = ("auto", "openvino", "torch")


class Engine(Protocol):
    """A network compiled for one frame size."""

    name: str

    def __call__(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """The network's output for one frame, from what its representation makes of it; float32, without a batch."""
        ...


def installed() -> bool:
    """Whether a network can be run at all."""
    return find_spec("safetensors") is not None and _any("openvino", "torch")


def require_engine() -> None:
    """Find out whether a network can be run, before anything else is done.

    Raises:
        EngineError: it cannot.
    """
    if not installed():
        raise EngineError("the network needs OpenVINO (or torch) and safetensors: pip install 'sweepdepth[openvino]'")


def make_engine(file: WeightsFile, height: int, width: int, name: str = "auto") -> Engine:
    """Compile a network for frames of a size. "auto": torch on a GPU, else OpenVINO, else torch on the CPU; OpenVINO
    for exported networks.

    Raises:
        EngineError: the engine is unknown or not installed.
        WeightsError: the parameters are damaged, or were exported for frames of another size.
    """
    if name not in NAMES:
        raise EngineError(f"engine {name!r} is unknown; choose one of {', '.join(NAMES)}")
    if file.size is not None:
        return _exported(file, height, width, name)
    require_engine()
    if name != "auto" and find_spec(name) is None:
        extra = "openvino" if name == "openvino" else "train"
        raise EngineError(f"engine {name!r} is not installed: pip install 'sweepdepth[{extra}]'")
    if name == "auto":
        name = "torch" if find_spec("openvino") is None or _gpu() else "openvino"
    if name == "openvino":
        from .openvino import OpenVinoEngine

        return OpenVinoEngine(file, height, width)
    from .torch import TorchEngine

    return TorchEngine(file)


def _exported(file: WeightsFile, height: int, width: int, name: str) -> Engine:
    if name == "torch":
        raise EngineError(f"{file.path}: exported networks are run by OpenVINO, not by torch")
    if file.size != (height, width):
        known_height, known_width = file.size or (0, 0)
        raise WeightsError(
            f"{file.path}: was exported for {known_width}×{known_height} pixels, and the frames have {width}×{height}; "
            f"export with --size {width}x{height}"
        )
    from .openvino import OpenVinoEngine

    return OpenVinoEngine(file, height, width)


def _any(*modules: str) -> bool:
    return any(find_spec(module) is not None for module in modules)


def _gpu() -> bool:
    """Whether torch could use a GPU; asked without importing it, which takes seconds, where there is no driver."""
    from pathlib import Path

    if find_spec("torch") is None or not (Path("/proc/driver/nvidia").exists() or Path("/dev/kfd").exists()):
        return False
    import torch

    return torch.cuda.is_available()
