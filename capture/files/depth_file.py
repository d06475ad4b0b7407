"""Depth files: the metric depth of every sweep of a recording, in HDF5.

| dataset | shape, type | |
|---|---|---|
| `depth` | (N, H, W) f4 | metres along Z, NaN where unknown |
| `std` | (N, H, W) f4 | one standard deviation in 1/m, NaN where unknown |
| `t_start_us`, `t_end_us` | (N) i8 | sensor time of the events used, µs |
| `direction` | (N) i1 | +1 far→near, −1 near→far |
| `quality` | (N) f4 | 0 to 1, NaN where the estimator gives none |

Root attributes: `format_version` (1), `estimator`, and `lens_toml`, the calibration. Each frame is one chunk, so single
frames can be read efficiently.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import h5py
import numpy as np

from ..atomic import PartialFile
from ..calibration import Calibration
from ..closing import Aborting
from ..errors import RecordingError, SweepdepthError, one_line
from ..recordings.hdf5 import IMAGE_COMPRESSION, Output, refuse_endless_heaps, refuse_references

FORMAT_VERSION = 1
SUFFIXES = (".h5", ".hdf5")
_MAPS = {"depth": "f4", "std": "f4"}
_COLUMNS = {"t_start_us": "i8", "t_end_us": "i8", "direction": "i1", "quality": "f4"}
_COLUMN_CHUNK = 256


class DepthMap(Protocol):
    """One frame of depth as `DepthFile.append` takes it."""

    @property
    def depth(self) -> np.ndarray: ...  # (H, W) metres along Z, NaN where unknown
    @property
    def std(self) -> np.ndarray: ...  # (H, W) 1/m
    @property
    def t_start_us(self) -> int: ...
    @property
    def t_end_us(self) -> int: ...
    @property
    def direction(self) -> int: ...
    @property
    def quality(self) -> float: ...


class DepthFile(Aborting):
    """A depth file being written, frame by frame.

    The file appears under its name when the `with` block ends. After an exception, or without a frame, no file is left;
    `n_frames` counts the frames written.

    Args:
        path: .h5 or .hdf5.
        calibration: of the camera and lens; its camera's size is that of the frames.
        estimator: name of the estimator that made the depth.
        force: replace an existing depth file.

    Raises:
        RecordingError: the suffix of `path` is neither .h5 nor .hdf5, the file exists and `force` is not given, it is a
            file of another kind, or it cannot be written.
    """

    def __init__(self, path: str | Path, calibration: Calibration, estimator: str, *, force: bool = False) -> None:
        self.path = Path(path)
        check_suffix(path)
        self.n_frames = 0
        self._shape = (calibration.camera.height, calibration.camera.width)
        self._file: h5py.File | None = None
        self._partial = PartialFile(path, force, "depth file")
        try:
            self._output = Output(self._partial.path)
            self._file = h5py.File(self._output, "w")
            self._file.attrs["format_version"] = FORMAT_VERSION
            self._file.attrs["estimator"] = estimator
            self._file.attrs["lens_toml"] = calibration.to_toml()
            for name, dtype in _MAPS.items():
                self._create(name, dtype, self._shape, 1)
            for name, dtype in _COLUMNS.items():
                self._create(name, dtype, (), _COLUMN_CHUNK)
            self._output.check()
        except OSError as error:
            self.abort()
            raise self._explain(error) from error
        except BaseException:
            self.abort()
            raise

    def append(self, frame: DepthMap) -> None:
        """Add one frame.

        Args:
            frame: `depth` (H, W) in metres and `std` (H, W) in 1/m, NaN where unknown, `t_start_us`, `t_end_us`,
                `direction` and `quality`, as `DepthFrame` has them.

        Raises:
            RecordingError: the file is closed, the frame's size differs from the calibration's camera, or the disk is
                full.
        """
        if self._file is None:
            raise RecordingError(f"{self.path}: is closed; no more depth can be written to it")
        for name in _MAPS:
            shape = getattr(frame, name).shape
            if shape != self._shape:
                raise RecordingError(f"{self.path}: {name} has the shape {shape}; the camera's is {self._shape}")
        try:
            for name in (*_MAPS, *_COLUMNS):
                column = self._file[name]
                assert isinstance(column, h5py.Dataset)
                column.resize(self.n_frames + 1, axis=0)
                column[self.n_frames] = getattr(frame, name)
            self._file.flush()
            self._output.check()
        except OSError as error:
            self.abort()
            raise self._explain(error) from error
        self.n_frames += 1

    def close(self) -> None:
        """Finish the file and move it to its path if it has a frame; does nothing if already closed.

        Raises:
            RecordingError: it cannot be written; it is deleted then.
        """
        if self._file is None:
            return
        if self.n_frames == 0:
            self.abort()
            return
        try:
            self._file.close()
            self._output.check()
        except OSError as error:
            self.abort()
            raise self._explain(error) from error
        self._file = None
        self._output.close()
        self._partial.commit()

    def abort(self) -> None:
        """Delete the unfinished file; does nothing if already closed."""
        if self._file is not None:
            self._file.close()
            self._file = None
            self._output.close()
        self._partial.discard()

    def _create(self, name: str, dtype: str, shape: tuple[int, ...], chunk: int) -> None:
        assert self._file is not None
        self._file.create_dataset(
            name, (0, *shape), dtype, maxshape=(None, *shape), chunks=(chunk, *shape), **IMAGE_COMPRESSION
        )

    def _explain(self, error: OSError) -> RecordingError:
        return RecordingError(f"{self.path}: cannot be written: {error.strerror or error}")


def check_suffix(path: str | Path) -> None:
    """Check that a path has a depth file's suffix.

    Raises:
        RecordingError: it does not.
    """
    suffix = Path(path).suffix
    if suffix.lower() not in SUFFIXES:
        raise RecordingError(
            f"{path}: depth is written as {' or '.join(SUFFIXES)}, not as {suffix or 'a file without a suffix'}; "
            "`sweepdepth convert` makes pictures, arrays, points and films of it"
        )


@dataclass(frozen=True, eq=False)
class DepthFrames:
    """The content of a depth file; `len` is the number of frames, which are in time order.

    Attributes:
        depth: (N, H, W) float32, metres along Z, NaN where unknown.
        std: (N, H, W) float32, one standard deviation in 1/m, NaN where unknown.
        t_start_us: (N,) int64, sensor time in µs at which the sweep began.
        t_end_us: (N,) int64, sensor time in µs at which it ended.
        direction: (N,) int8, +1 far→near, −1 near→far.
        quality: (N,) float32, 0 to 1.
        calibration: of the camera and lens.
        estimator: name of the estimator that computed the depth.
    """

    depth: np.ndarray  # (N, H, W) float32, metres along Z, NaN where unknown
    std: np.ndarray  # (N, H, W) float32, 1/m, NaN where unknown
    t_start_us: np.ndarray  # (N,) int64
    t_end_us: np.ndarray  # (N,) int64
    direction: np.ndarray  # (N,) int8, +1 far→near, −1 near→far
    quality: np.ndarray  # (N,) float32
    calibration: Calibration
    estimator: str

    def __len__(self) -> int:
        return len(self.depth)

    def __repr__(self) -> str:
        count, height, width = self.depth.shape
        return f'DepthFrames({count} of {width}×{height}, estimator "{self.estimator}")'


@contextmanager
def open_depth_file(path: str | Path) -> Iterator[DepthFrames]:
    """Open a depth file for a `with` block; `depth` and `std` are read lazily, when they are indexed.

    Args:
        path: of the file.

    Yields:
        Its frames; `depth` and `std` are HDF5 datasets.

    Raises:
        RecordingError: it is missing, damaged, or no depth file.
        CalibrationError: the calibration in it is wrong.

    Examples:
        >>> with open_depth_file("depth.h5") as frames:
        ...     first = frames.depth[0]
        >>> first.shape
        (36, 48)
    """
    try:
        file = h5py.File(path, "r")
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "it is damaged, or no HDF5 file"
        raise RecordingError(f"{path}: cannot be read: {reason}") from error
    with file:
        try:
            _refuse_references(path, file)
            frames = _frames(path, file)
        except SweepdepthError:
            raise
        except Exception as error:  # h5py raises many classes of exceptions on damaged files
            raise RecordingError(f"{path}: is damaged: {one_line(error)}; copy it again") from error
        yield frames


def read_depth_file(path: str | Path) -> DepthFrames:
    """Read a complete depth file into memory.

    Args:
        path: of the file.

    Returns:
        Its frames.

    Raises:
        RecordingError: it is missing, damaged, or no depth file.
        CalibrationError: the calibration in it is wrong.

    Examples:
        >>> read_depth_file("depth.h5")
        DepthFrames(2 of 48×36, estimator "polarity")
    """
    with open_depth_file(path) as frames:
        try:
            return replace(frames, depth=frames.depth[:], std=frames.std[:])
        except (OSError, RuntimeError, MemoryError) as error:
            raise RecordingError(f"{path}: is damaged: its frames cannot be decompressed; copy it again") from error


def _refuse_references(path: str | Path, file: h5py.File) -> None:
    try:
        refuse_references(file)
        refuse_endless_heaps(file)
    except RecordingError as error:
        raise RecordingError(f"{path}: {error}") from error


def _frames(path: str | Path, file: h5py.File) -> DepthFrames:
    columns: dict[str, h5py.Dataset] = {}
    for name, dtype in (_MAPS | _COLUMNS).items():
        column = file.get(name)
        dimensions = 3 if name in _MAPS else 1
        if not isinstance(column, h5py.Dataset) or column.dtype != dtype or column.ndim != dimensions:
            raise RecordingError(f"{path}: is no depth file: it has no dataset {name} of type {dtype}")
        columns[name] = column
    if columns["std"].shape != columns["depth"].shape or any(
        len(columns[name]) != len(columns["depth"]) for name in _COLUMNS
    ):
        raise RecordingError(f"{path}: is damaged: its datasets differ in length; write it again")
    version, lens_toml, estimator = (file.attrs.get(name) for name in ("format_version", "lens_toml", "estimator"))
    if version != FORMAT_VERSION:
        raise RecordingError(f"{path}: has format_version {one_line(version)}; this sweepdepth reads {FORMAT_VERSION}")
    if not isinstance(lens_toml, str) or not isinstance(estimator, str):
        raise RecordingError(f"{path}: is damaged: it has no text lens_toml or estimator; write it again")
    try:
        read = {name: columns[name][:] for name in _COLUMNS}
    except OSError as error:
        raise RecordingError(f"{path}: is damaged: its times cannot be decompressed; copy it again") from error
    calibration = Calibration.parse(lens_toml, name=f"{path}: stored lens_toml")
    camera, size = calibration.camera, columns["depth"].shape[1:]
    if size != (camera.height, camera.width):
        raise RecordingError(f"{path}: is damaged: its depth is {size}, its camera {camera.height}×{camera.width}")
    maps: dict[str, Any] = {name: columns[name] for name in _MAPS}
    return DepthFrames(**maps, **read, calibration=calibration, estimator=estimator)
