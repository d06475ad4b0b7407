"""Relative depth from one image: by one of our methods, from files, or by a diffusion model on disk."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ....capture.errors import SweepdepthError
from ....capture.files.photographs import Photographs
from ...cases import Case, photographs_of
from ..methods import Method

SUFFIX = "_relative.npy"


class RelativeDepth(Protocol):
    """Relative depth of a case's image through the small aperture."""

    @property
    def of_depth(self) -> bool:
        """Whether values are linear in depth; otherwise in inverse depth."""
        ...

    def __call__(self, case: Case) -> np.ndarray:
        """(H, W), increasing with nearness; if linear in depth, the negative depth.

        Raises:
            SweepdepthError: there is none for the case.
        """
        ...


@dataclass(frozen=True)
class FromMethod:
    """Relative depth by a method that uses one all-in-focus image, such as a network of the preset `prior`."""

    method: Method
    of_depth: bool = False

    def __call__(self, case: Case) -> np.ndarray:
        image = _small_aperture(case)
        return self.method(replace(case, photographs={**case.photographs, "sharp": image})).diopters


@dataclass(frozen=True)
class FromFiles:
    """A folder of NAME_relative.npy, NAME being that of the recording: (H, W), linear in inverse depth."""

    folder: Path
    of_depth: bool = False

    def __call__(self, case: Case) -> np.ndarray:
        path = self.folder / f"{case.recording}{SUFFIX}"
        try:
            found = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise SweepdepthError(f"{path}: cannot be read as relative depth: {error}") from error
        if found.ndim != 2 or not np.isfinite(found).any() or found.dtype.kind not in "fiu":
            raise SweepdepthError(f"{path}: is no map of numbers, (H, W)")
        return found.astype(np.float64)


@dataclass(frozen=True)
class FromDiffusion:
    """A folder with the weights of a Marigold depth pipeline, as `diffusers` saves it; nothing is downloaded."""

    folder: Path
    of_depth: bool = True  # Ke et al., CVPR 2024: 0 at the nearest and 1 at the farthest depth

    def __call__(self, case: Case) -> np.ndarray:
        image = _small_aperture(case).images[0]
        white = max(float(np.percentile(image, 99)), 1e-9)
        shown = (image / white).clip(0, 1) ** (1 / 2.2)
        found = self._pipeline(np.repeat(shown[..., None], 3, axis=2).astype(np.float32), generator=self._generator())
        return -np.asarray(found.prediction, np.float64)[0, ..., 0]

    @cached_property
    def _pipeline(self) -> Any:
        try:
            from diffusers import MarigoldDepthPipeline  # pyright: ignore[reportMissingImports]
        except ImportError as error:
            raise SweepdepthError("a diffusion model needs: pip install diffusers transformers") from error
        try:
            pipeline = MarigoldDepthPipeline.from_pretrained(self.folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise SweepdepthError(f"{self.folder}: holds no Marigold depth pipeline: {error}") from error
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    def _generator(self) -> Any:
        import torch

        return torch.Generator().manual_seed(0)


def open_relative(path: Path) -> FromFiles | FromDiffusion:
    """Relative depth from a folder: of files, or of a diffusion model's weights.

    Raises:
        SweepdepthError: it is neither.
    """
    if (path / "model_index.json").exists():
        return FromDiffusion(path)
    if any(path.glob(f"*{SUFFIX}")):
        return FromFiles(path)
    raise SweepdepthError(f"{path}: holds neither NAME{SUFFIX} nor the model_index.json of a diffusion model")


def _small_aperture(case: Case) -> Photographs:
    pair = photographs_of(case, "two_apertures")
    return Photographs(pair.images[:1], pair.diopters[:1], pair.aperture_scale[:1])
