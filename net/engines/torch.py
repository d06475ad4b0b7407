"""torch engine: half precision on GPUs, single precision on CPUs."""

from collections.abc import Sequence

import numpy as np
import torch

from ..weights import WeightsFile, load_module


class TorchEngine:
    """Engine for any frame size. On GPUs it uses float16, whose 11-bit precision is 0.0005 of the range."""

    def __init__(self, file: WeightsFile, device: str | None = None) -> None:
        self.device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        self._dtype = torch.float16 if self.device.startswith("cuda") else torch.float32
        network = load_module(file).to(self.device, self._dtype)
        self._network = network.to(memory_format=torch.channels_last)
        self.name = f"torch {self.device}"

    @torch.inference_mode()
    def __call__(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        batch = [torch.from_numpy(np.ascontiguousarray(part[None])).to(self.device, self._dtype) for part in inputs]
        return self._network(*batch)[0].float().cpu().numpy()
