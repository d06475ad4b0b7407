"""Datasets: folders of scenes, each an HDF5 recording that also holds its ground truth.

    scene_000042.h5       the recording (`recordings.dsec`), and at its root
        depth             (H, W) float32, metres along Z at pixel centres, in the geometry of the far end
        intensity         (H, W) float32, linear radiance, all in focus; white is 1
        focal_stack       optional, (S, H, W) float32, conventional frames at focus `focal_stack_diopters` (S,)
        aperture_pair     optional, (4, H, W) float32, with attributes `diopters` (4,) and `aperture_scale` (4,): focus
                          ±, then aperture ±, for coupled optical differentiation (arXiv 2409.10725)
        photographs/NAME  optional, (N, H, W) float32 with the same attributes, for each of `photographs.PLANS`
        attributes        `lens_toml`, `seed`, `index`, `variant`, and JSON texts: `scene`, `sensor`, `versions`, …
    scene_000042_v1.h5    optional variants: the same scene and lens with other light and another sensor
    dataset.json          common to all scenes: format, seed, configuration, versions

A variant is a complete recording with its own copy of the ground truth, so every file is self-contained. Variants are
written before their scene: if scene_000042.h5 exists, scene 42 is complete.
"""

import errno
import io
import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..atomic import PartialFile, make_folder, write_whole
from ..calibration import Calibration
from ..errors import RecordingError, SweepdepthError, one_line
from ..events import EVENT_DTYPE, make_triggers
from ..recordings.dsec import encode
from ..recordings.hdf5 import COMPRESSION, refuse_endless_heaps, refuse_references
from .photographs import Photographs

FORMAT = "sweepdepth-dataset/1"
MANIFEST = "dataset.json"
_PHOTOGRAPHS = "photographs"
_SCENE_NAME = re.compile(r"scene_(\d{6,})(?:_v(\d+))?\.h5")
_PARTIAL_SUFFIX = ".partial.h5"
_PARTIAL_NAME = re.compile(r"\.(scene_\d{6,}(?:_v\d+)?\.h5)\..*" + re.escape(_PARTIAL_SUFFIX))
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


class DiskFullError(RecordingError):
    """The disk is full."""


@dataclass(frozen=True)
class SceneTruth:
    """The ground truth of one scene.

    Attributes:
        calibration: of the camera and lens.
        depth: (H, W) float32, metres along Z.
        intensity: (H, W) float32, linear radiance, all in focus; white is 1.
        focal_stack: (S, H, W) float32, linear frames of a conventional camera; None where not rendered.
        focal_stack_diopters: (S,) float64, focus of each of its images in 1/m.
        aperture_pair: images for coupled optical differentiation; None where not rendered.
        photographs: other images, by the names of `photographs.PLANS`.
        attributes: seed, index, variant and others: text and numbers, structured ones as JSON.
    """

    calibration: Calibration
    depth: np.ndarray  # (H, W) float32, metres along Z
    intensity: np.ndarray  # (H, W) float32, linear radiance
    focal_stack: np.ndarray | None = None  # (S, H, W) float32
    focal_stack_diopters: np.ndarray | None = None  # (S,) float64, 1/m
    aperture_pair: Photographs | None = None
    photographs: Mapping[str, Photographs] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)  # text and numbers, structured ones as JSON

    def __repr__(self) -> str:
        height, width = self.depth.shape
        images = 0 if self.focal_stack is None else len(self.focal_stack)
        return f"SceneTruth({width}×{height}, {np.nanmin(self.depth):.3g} to {np.nanmax(self.depth):.3g} m" + (
            f", focal stack of {images} images)" if images else ")"
        )

    def _repr_png_(self) -> bytes:
        """Picture for notebooks: the scene in focus, and its depth."""
        from ..reporting.figures import figure_png, scene_figure

        sweep = self.calibration.sweep
        return figure_png(scene_figure(self.intensity, self.depth, sweep.far_diopters, sweep.near_diopters))


@dataclass(frozen=True)
class SceneRecording:
    """One scene as a dataset file holds it.

    Attributes:
        events: (N,) `EVENT_DTYPE`, in time order.
        triggers: (M,) `TRIGGER_DTYPE`, in time order.
        truth: ground truth: depth, calibration and images.
    """

    events: np.ndarray  # (N,) EVENT_DTYPE, by time
    triggers: np.ndarray  # (M,) TRIGGER_DTYPE, by time
    truth: SceneTruth

    def __repr__(self) -> str:
        return f"SceneRecording({len(self.events):,} events, {len(self.triggers):,} triggers, {self.truth!r})"

    def _repr_png_(self) -> bytes:
        """Picture for notebooks: that of the ground truth."""
        return self.truth._repr_png_()


@dataclass(frozen=True)
class Manifest:
    """Everything that determines a dataset: scene i depends only on the seed, i and the configuration."""

    seed: int
    configuration: Mapping[str, Any]  # JSON values
    versions: Mapping[str, str] = field(default_factory=dict)  # of the software that created it


@dataclass(frozen=True)
class Dataset:
    """A dataset on disk, as of when it was opened.

    Attributes:
        folder: its path.
        manifest: seed, configuration and versions.
        scenes: paths of the complete scenes in order, each followed by its variants.
    """

    folder: Path
    manifest: Manifest
    scenes: tuple[Path, ...]  # complete scenes in order, each followed by its variants

    def __repr__(self) -> str:
        return (
            f"Dataset({str(self.folder)!r}, {len(self.indices)} scenes in {len(self.scenes)} recordings, "
            f"seed {self.manifest.seed})"
        )

    @property
    def indices(self) -> tuple[int, ...]:
        """Numbers of the complete scenes, ascending."""
        return tuple(sorted({_parse_name(path)[0] for path in self.scenes}))

    @property
    def first_variants(self) -> tuple[Path, ...]:
        """One file per complete scene."""
        return tuple(path for path in self.scenes if _parse_name(path)[1] == 0)

    def missing(self, count: int) -> list[int]:
        """Numbers of the missing scenes among 0 … count − 1.

        Args:
            count: total number of scenes.

        Returns:
            Their numbers, ascending.
        """
        present = set(self.indices)
        return [index for index in range(count) if index not in present]


def scene_path(folder: Path, index: int, variant: int = 0) -> Path:
    """Path of a scene, existing or not; variant 0 is the scene itself."""
    return folder / (f"scene_{index:06d}" + (f"_v{variant}" if variant else "") + ".h5")


def open_dataset(folder: str | Path) -> Dataset:
    """Open a dataset.

    Args:
        folder: as written by `synth render` or `generate`.

    Returns:
        The dataset.

    Raises:
        RecordingError: not a dataset, or its `dataset.json` is damaged.

    Examples:
        >>> dataset = open_dataset("dataset")
        >>> dataset
        Dataset('dataset', 1 scenes in 1 recordings, seed 0)
        >>> read_scene(dataset.scenes[0])
        SceneRecording(323 events, 3 triggers, SceneTruth(48×36, 0.533 to 2.51 m, focal stack of 3 images))
    """
    folder = Path(folder)
    manifest = _read_manifest(folder)
    if manifest is None:
        raise RecordingError(
            f"{folder}: is not a dataset: it has no {MANIFEST}; make one with `sweepdepth synth render`"
        )
    named = {_parse_name(path): path for path in folder.iterdir() if _SCENE_NAME.fullmatch(path.name)}
    complete = {index for index, variant in named if variant == 0}
    return Dataset(folder, manifest, tuple(named[key] for key in sorted(named) if key[0] in complete))


def create_dataset(folder: str | Path, manifest: Manifest) -> Dataset:
    """Create a dataset, or open the existing one if it has the same seed and configuration.

    Raises:
        RecordingError: the folder holds another dataset, or cannot be written.
    """
    folder = Path(folder)
    known = _read_manifest(folder) if folder.is_dir() else None
    if known is None:
        make_folder(folder)
        scenes = [path.name for path in folder.iterdir() if _SCENE_NAME.fullmatch(path.name)]
        if scenes:
            raise RecordingError(f"{folder}: has scenes ({scenes[0]}) but no {MANIFEST}; choose another folder")
        text = {"format": FORMAT, "seed": manifest.seed, "configuration": manifest.configuration}
        text["versions"] = manifest.versions
        _write_or_disk_full(folder / MANIFEST, lambda path: path.write_text(json.dumps(text, indent=2) + "\n"))
    else:
        difference = _difference(
            {"seed": known.seed, "configuration": known.configuration},
            {"seed": manifest.seed, "configuration": json.loads(json.dumps(manifest.configuration))},
        )
        if difference:
            raise RecordingError(f"{folder}: holds a dataset with another {difference}; choose another folder")
    return open_dataset(folder)


def remove_partial_scenes(folder: Path) -> None:
    """Delete partial files of killed writers; files still being written stay."""
    for path in folder.glob(f".*{_PARTIAL_SUFFIX}"):
        match = _PARTIAL_NAME.fullmatch(path.name)
        if match:
            with suppress(RecordingError):  # creating a partial file deletes abandoned ones; a full disk is fine
                PartialFile(folder / match[1], force=True).discard()


def write_scene(path: Path, scene: SceneRecording) -> None:
    """Write one scene atomically, replacing an existing file.

    Raises:
        DiskFullError: the disk is full.
        RecordingError: it cannot be written for another reason.
        ValueError: an image is not of the camera's size.
    """
    truth = scene.truth
    camera = truth.calibration.camera
    photographs = {f"{_PHOTOGRAPHS}/{name}": found for name, found in truth.photographs.items()}
    if truth.aperture_pair is not None:
        photographs["aperture_pair"] = truth.aperture_pair
    images: dict[str, np.ndarray | None] = {
        "depth": truth.depth,
        "intensity": truth.intensity,
        "focal_stack": truth.focal_stack,
        **{name: found.images for name, found in photographs.items()},
    }
    for name, image in images.items():
        if image is not None and image.shape[-2:] != (camera.height, camera.width):
            raise ValueError(f"{name} of shape {image.shape} is not of the camera's {camera.width}×{camera.height}")

    def fill(partial: Path) -> None:
        sink = encode(str(partial), camera.width, camera.height, truth.calibration.to_toml())
        sink.write(scene.events, scene.triggers)
        sink.close()
        # Further datasets are added in memory, since HDF5 does not recover from a full disk.
        buffer = io.BytesIO(partial.read_bytes())
        with h5py.File(buffer, "r+") as file:
            for name, image in images.items():
                if image is not None:
                    shape = (1, *image.shape[-2:]) if image.ndim == 3 else image.shape
                    file.create_dataset(name, data=image.astype(np.float32), chunks=shape, **COMPRESSION)
            if truth.focal_stack_diopters is not None:
                file["focal_stack_diopters"] = truth.focal_stack_diopters.astype(np.float64)
            for name, found in photographs.items():
                file[name].attrs["diopters"] = found.diopters
                file[name].attrs["aperture_scale"] = found.aperture_scale
            for name, value in truth.attributes.items():
                file.attrs[name] = value
        partial.write_bytes(buffer.getvalue())

    _write_or_disk_full(path, fill)


def read_scene(path: str | Path) -> SceneRecording:
    """Read one scene.

    Args:
        path: of a file of a dataset.

    Returns:
        Its events, triggers and ground truth.

    Raises:
        RecordingError: not a scene, or damaged.
    """
    with _opened(Path(path)) as file:
        offset = int(file["t_offset"][()])
        events = np.empty(len(file["events/t"]), EVENT_DTYPE)
        for name, column in (("timestamp", "t"), ("x", "x"), ("y", "y"), ("polarity", "p")):
            events[name] = file["events"][column][:]
        channel = file["triggers/channel"][:] if "triggers/channel" in file else 0
        triggers = make_triggers(file["triggers/t"][:], file["triggers/type"][:], channel)
        events["timestamp"] += offset
        triggers["timestamp"] += offset
        return SceneRecording(events, triggers, _truth(path, file))


def read_truth(path: str | Path) -> SceneTruth:
    """Read the ground truth of one scene, without its events.

    Args:
        path: of a file of a dataset.

    Returns:
        Its ground truth.

    Raises:
        RecordingError: not a scene, or damaged.
    """
    with _opened(Path(path)) as file:
        return _truth(path, file)


class _opened:
    """Opens a scene's HDF5 file; any error while it is open becomes a one-line `RecordingError`."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Any:
        try:
            self._file = h5py.File(self._path, "r")
        except OSError as error:
            reason = error.strerror or "it is no HDF5 file, or cut short"
            raise RecordingError(f"{self._path}: cannot be read as a scene: {reason}") from error
        try:
            refuse_references(self._file)
            refuse_endless_heaps(self._file)
        except RecordingError as error:
            self._file.close()
            raise RecordingError(f"{self._path}: {error}") from error
        except Exception as error:
            self.__exit__(type(error), error, None)
        return self._file

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _traceback: Any) -> None:
        self._file.close()
        # h5py and NumPy raise many classes of exceptions on damaged files.
        if isinstance(error, Exception) and not isinstance(error, SweepdepthError):
            raise RecordingError(f"{self._path}: is damaged, or no scene of a dataset: {one_line(error)}") from error


def _truth(path: str | Path, file: Any) -> SceneTruth:
    attributes = {name: value.item() if isinstance(value, np.generic) else value for name, value in file.attrs.items()}
    calibration = Calibration.parse(attributes.pop("lens_toml"), name=f"{path}: stored lens_toml")
    size = calibration.camera.height, calibration.camera.width

    def numbers(name: str, *shape: int) -> np.ndarray:
        """Read a dataset of this shape; -1 is any length."""
        found = file[name]
        if found.dtype.kind not in "fiu" or len(found.shape) != len(shape):
            raise ValueError(f"{name} is {found.dtype} {found.shape}")
        if any(wanted not in (-1, length) for length, wanted in zip(found.shape, shape, strict=True)):
            raise ValueError(f"{name} has the shape {found.shape}, not {shape}")
        return found[:]

    def photographs(name: str, count: int = -1) -> Photographs:
        images, settings = numbers(name, count, *size), file[name].attrs
        found = Photographs(images, settings["diopters"], settings["aperture_scale"])
        if not found.diopters.shape == found.aperture_scale.shape == (len(images),):
            raise ValueError(f"{name} has {len(images)} images and another number of focus distances or apertures")
        return found

    stack = numbers("focal_stack", -1, *size) if "focal_stack" in file else None
    return SceneTruth(
        calibration=calibration,
        depth=numbers("depth", *size),
        intensity=numbers("intensity", *size),
        focal_stack=stack,
        focal_stack_diopters=None if stack is None else numbers("focal_stack_diopters", len(stack)),
        aperture_pair=photographs("aperture_pair", 4) if "aperture_pair" in file else None,
        photographs={name: photographs(f"{_PHOTOGRAPHS}/{name}") for name in file.get(_PHOTOGRAPHS, ())},
        attributes={name: value for name, value in attributes.items() if name not in ("width", "height")},
    )


def _parse_name(path: Path) -> tuple[int, int]:
    match = _SCENE_NAME.fullmatch(path.name)
    assert match is not None
    return int(match[1]), int(match[2] or 0)


def _read_manifest(folder: Path) -> Manifest | None:
    try:
        values = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        if values["format"] != FORMAT:
            raise RecordingError(
                f"{folder}: is a dataset of format {values['format']!r}; this version of sweepdepth reads {FORMAT!r}"
            )
        seed, configuration, versions = (values[name] for name in ("seed", "configuration", "versions"))
        if type(seed) is not int or not isinstance(configuration, dict) or not isinstance(versions, dict):
            raise TypeError("seed, configuration or versions of another kind")
        return Manifest(seed, configuration, versions)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RecordingError(f"{folder}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise RecordingError(f"{folder / MANIFEST}: is damaged; restore it, or choose another folder") from error


def _difference(known: Any, wanted: Any, name: str = "") -> str:
    """Describe the first difference of two JSON values; empty if there is none."""
    if isinstance(known, dict) and isinstance(wanted, dict):
        for key in [*known, *(key for key in wanted if key not in known)]:
            found = _difference(known.get(key), wanted.get(key), f"{name}.{key}" if name else key)
            if found:
                return found
        return ""
    return "" if known == wanted else f"{name} ({json.dumps(known)}, now {json.dumps(wanted)})"


def _write_or_disk_full(path: Path, fill: Callable[[Path], object]) -> None:
    """Write a file atomically; a full disk is a `DiskFullError`."""
    try:
        write_whole(path, fill)
    except RecordingError as error:
        if isinstance(error.__cause__, OSError) and error.__cause__.errno in _FULL:
            raise DiskFullError(f"{path.parent}: the disk is full; make room and run the same line again") from error
        raise


def versions() -> dict[str, str]:
    """Versions of the software that a dataset's content depends on, by name."""
    from importlib.metadata import PackageNotFoundError, version

    found = {}
    for package in ("sweepdepth", "numpy", "numba", "h5py", "bpy"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found | {"machine": os.uname().machine}
