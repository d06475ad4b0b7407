"""Packs: the ideal focal stacks of a dataset in one small file, for training on another machine.

A pack is a ZIP archive with one NumPy archive per scene. It holds `means` and `waves`, the cosine transform over the
sweep of each pixel's log radiance, quantised to an error of about 0.01, a tenth of a low contrast threshold;
`diopters`, inverse depth in 1/500 of the sweep range; `focus`; and `lens`, the calibration's text. The archive's
comment is "patches" for patch scenes, else empty.
"""

import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.fft import dct, idct

from ..atomic import PartialFile
from ..calibration import Calibration
from ..errors import RecordingError, SweepdepthError, one_line
from ..optics import to_diopters, to_metres
from .dataset import Dataset, SceneTruth, read_truth

STEP = 0.04
_DARKEST = 1e-4
_PER_RANGE = 500
_FARTHEST, _UNKNOWN = 8 * _PER_RANGE, 9 * _PER_RANGE
_PATCHES = b"patches"
_MOST_VALUES = 1 << 28  # of one scene; larger ones are damaged
_KEYS = {"means", "waves", "diopters", "focus", "lens"}
SUFFIX = ".pack"


@dataclass(frozen=True)
class PackedStack:
    """One scene of a pack."""

    stack: np.ndarray  # (F, H, W) float32, linear radiance, far to near
    focus_diopters: np.ndarray  # (F,) float64, 1/m
    depth: np.ndarray  # (H, W) float32, metres along Z
    calibration: Calibration


class StackPack:
    """The scenes of a pack, read when indexed; can be pickled.

    Args:
        path: the pack.

    Raises:
        RecordingError: it is missing, or not a pack.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            with zipfile.ZipFile(self.path) as archive:
                self._names = sorted(archive.namelist())
                self.patches = archive.comment == _PATCHES
                """Whether its scenes are patch scenes, not rendered ones."""
        except (OSError, ValueError, zipfile.BadZipFile) as error:
            raise RecordingError(f"{self.path}: is no pack of focal stacks, or damaged: {one_line(error)}") from error
        if not self._names or not all(name.endswith(".npz") for name in self._names):
            raise RecordingError(f"{self.path}: is no pack of focal stacks; `sweepdepth synth pack` makes one")

    @property
    def names(self) -> list[str]:
        """The scenes' names in the dataset."""
        return [name.removesuffix(".npz") for name in self._names]

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, number: int) -> PackedStack:
        """Scene `number` of the pack.

        Raises:
            IndexError: there is no such scene.
            RecordingError: it is damaged.
        """
        name = self._names[number]
        try:
            with zipfile.ZipFile(self.path) as archive:
                if archive.getinfo(name).file_size > 4 * _MOST_VALUES:
                    raise ValueError("it is too large")
                content = archive.read(name)
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                if set(arrays.files) != _KEYS:
                    raise ValueError(f"it holds {', '.join(arrays.files)}")
                return _unpacked({key: arrays[key] for key in _KEYS})
        except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile, SweepdepthError) as error:
            raise RecordingError(f"{self.path}: {name} is damaged: {one_line(error)}") from error

    def __iter__(self) -> Iterator[PackedStack]:
        return (self[number] for number in range(len(self)))


def write_pack(
    path: str | Path,
    dataset: Dataset,
    *,
    force: bool = False,
    on_scene: Callable[[int], None] = lambda done: None,
) -> int:
    """Pack all scenes of a dataset that have an ideal focal stack of the full sweep; variants share their scene's.

    Args:
        path: the pack, written atomically.
        dataset: rendered with `[intensity] frames = F` and `noise = false`.
        force: replace an existing file.
        on_scene: called after each scene with the number done.

    Returns:
        Number of scenes in the pack.

    Raises:
        RecordingError: there are no stacks to pack, a scene is damaged, or the file exists and `force` is not given.
    """
    packed = 0
    with PartialFile(path, force, "archive") as partial:
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_DEFLATED) as archive:
            if dataset.manifest.configuration.get("render") == "patches":
                archive.comment = _PATCHES
            for done, file in enumerate(dataset.first_variants, 1):
                arrays = _packed(read_truth(file))
                if arrays is not None:
                    content = io.BytesIO()
                    np.savez(content, **arrays)
                    # Without a time stamp, so that the same scenes give the same bytes.
                    archive.writestr(zipfile.ZipInfo(f"{file.stem}.npz"), content.getvalue(), zipfile.ZIP_DEFLATED)
                    packed += 1
                on_scene(done)
        if not packed:
            raise RecordingError(
                f"{dataset.folder}: has no ideal focal stacks; render with [intensity] frames = 40 and noise = false"
            )
    return packed


def _packed(truth: SceneTruth) -> dict[str, np.ndarray] | None:
    """Encode one scene; None if it has no ideal focal stack over the full sweep."""
    stack, focus, sweep = truth.focal_stack, truth.focal_stack_diopters, truth.calibration.sweep
    if stack is None or focus is None or len(stack) < 2:
        return None
    if not np.allclose([focus[0], focus[-1]], [sweep.far_diopters, sweep.near_diopters], rtol=1e-4):
        return None
    spectrum = np.asarray(dct(np.log(np.maximum(stack, _DARKEST)), axis=0, norm="ortho"))
    levels = np.rint(spectrum / _steps(len(stack))).clip(-32767, 32767)
    position = (to_diopters(truth.depth) - sweep.far_diopters) / sweep.range_diopters * _PER_RANGE
    known = np.where(np.isnan(position), _UNKNOWN, np.rint(position.clip(-_FARTHEST, _FARTHEST)))
    return {
        "means": _differences(levels[0]),
        "waves": levels[1:].astype(np.int16),
        "diopters": _differences(known),
        "focus": np.asarray(focus, np.float64),
        "lens": np.frombuffer(truth.calibration.to_toml().encode(), np.uint8),
    }


def _unpacked(arrays: dict[str, np.ndarray]) -> PackedStack:
    means, waves, focus = arrays["means"], arrays["waves"], arrays["focus"]
    calibration = Calibration.parse(arrays["lens"].tobytes().decode(), name="its lens")
    sweep, frame = calibration.sweep, (calibration.camera.height, calibration.camera.width)
    whole = [(means, np.int16, frame), (arrays["diopters"], np.int16, frame), (waves, np.int16, (len(waves), *frame))]
    if any(array.dtype != kind or array.shape != shape for array, kind, shape in whole):
        raise ValueError("its arrays do not fit together")
    if focus.shape != (len(waves) + 1,) or not np.isfinite(focus).all():
        raise ValueError("its focus does not fit its images")
    levels = np.concatenate([np.cumsum(means, axis=-1, dtype=np.int32)[None], waves]).astype(np.float32)
    logarithm = np.asarray(idct(levels * _steps(len(focus)), axis=0, norm="ortho"))
    position = np.cumsum(arrays["diopters"], axis=-1, dtype=np.int32).astype(np.float64)
    diopters = sweep.far_diopters + sweep.range_diopters * position / _PER_RANGE
    diopters[position == _UNKNOWN] = np.nan
    return PackedStack(np.exp(logarithm), focus, to_metres(diopters).astype(np.float32), calibration)


def _steps(count: int) -> np.ndarray:
    """(F, 1, 1) float32: quantisation steps of the transform, coarser for higher frequencies."""
    return (STEP * (1 + 0.1 * np.arange(count, dtype=np.float32)))[:, None, None]


def _differences(image: np.ndarray) -> np.ndarray:
    """(H, W) int16: differences to the left neighbour, which compress well."""
    return np.diff(image, axis=-1, prepend=0).astype(np.int16)
