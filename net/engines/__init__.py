"""Inference engines for trained networks, with a common interface; by default the fastest installed one is used."""

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Protocol

import numpy as np

from ..exported_graph import EngineError, WeightsError
from ..weights import WeightsFile

NAMES = ("auto", "openvino", "torch")


class Engine(Protocol):
    """A network prepared for one frame size."""

    name: str

    def __call__(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """Compute the network's output, float32 without a batch axis, from the representation of one frame."""
        ...


def installed() -> bool:
    """Whether an engine is installed."""
    return find_spec("safetensors") is not None and _any("openvino", "torch")


def require_engine() -> None:
    """Check that an engine is installed.

    Raises:
        EngineError: none is installed.
    """
    if not installed():
        raise EngineError("the network needs OpenVINO (or torch) and safetensors: pip install 'sweepdepth[openvino]'")


def make_engine(file: WeightsFile, height: int, width: int, name: str = "auto") -> Engine:
    """Prepare a network for a frame size. "auto": torch on a GPU, else OpenVINO, else torch on the CPU; OpenVINO for
    exported networks.

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
    """Whether torch can use a GPU; without a driver, this is decided without importing torch, which takes seconds."""
    from pathlib import Path

    if find_spec("torch") is None or not (Path("/proc/driver/nvidia").exists() or Path("/dev/kfd").exists()):
        return False
    import torch

    return torch.cuda.is_available()
