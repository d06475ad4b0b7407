"""NumPy files: `.npy` with a table or structured array of events, `.npz` with one of those or with named arrays.

Nothing is unpickled. Arrays in `.npz` files are read in blocks, compressed or not. `encode` writes `t` (µs), `x`, `y`,
`p`, `width`, `height`, `trigger_t`, `trigger_edge`, `trigger_channel` and `lens_toml`, uncompressed so that writing is
as fast as the disk.
"""

import os
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from typing import IO, Any

import numpy as np

from ..errors import RecordingError
from ..events import make_triggers
from ..formats.columns import named_columns
from ..sources.chunks import Sink, Source
from .arrays import Events, events_by_name, events_of_table, open_events

_PICKLED = "it holds pickled Python objects, which could run any code and are not read; save plain numbers"
_LENS_TOML = "lens_toml"


def decode_npy(
    path: str, size: tuple[int, int] | None, columns: str | None = None, time_unit: str | None = None
) -> Source:
    """Open a `.npy` file with one array of events."""
    try:
        table = np.load(path, mmap_mode="r", allow_pickle=False)
    except ValueError as error:
        raise RecordingError(
            _PICKLED
            if "allow_pickle" in str(error) or "Python objects" in str(error)
            else f"it is damaged or cut short ({str(error)[:80]})"
        ) from error
    if not isinstance(table, np.ndarray):
        raise RecordingError("it is no array of events")
    return open_events("NPY", events_of_table(table, f"array of {_described(table)}", columns), size, time_unit)


def _described(table: Any) -> str:
    return f"{table.dtype.names or table.dtype} {table.shape}"


class Member:
    """One array of a `.npz` file, read by rows from front to back; reading may restart from the front."""

    def __init__(self, archive: zipfile.ZipFile, name: str) -> None:
        self._archive, self._name = archive, name
        self._file: IO[bytes] | None = None
        self._at = 0
        self._whole: np.ndarray | None = None
        with archive.open(name) as file:
            try:
                version = np.lib.format.read_magic(file)
                read = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                self.shape, self._fortran, self.dtype = read[version](file)
            except (ValueError, KeyError) as error:
                raise RecordingError(f"its array {name} is damaged or of a kind that cannot be read") from error
            self._start = file.tell()
        if self.dtype.hasobject:
            raise RecordingError(_PICKLED)
        self.ndim = len(self.shape)

    def __len__(self) -> int:
        return self.shape[0] if self.shape else 1

    def __getitem__(self, rows: slice) -> np.ndarray:
        if self._fortran and self.ndim > 1:
            return self.whole()[rows]
        row = self.dtype.itemsize * int(np.prod(self.shape[1:], dtype=np.int64))
        begin, length = self._start + rows.start * row, (rows.stop - rows.start) * row
        if self._file is None or begin < self._at:
            self._file, self._at = self._archive.open(self._name), 0
        while self._at < begin and (skipped := self._file.read(min(begin - self._at, 1 << 20))):
            self._at += len(skipped)
        content = self._file.read(length)
        self._at += len(content)
        if len(content) < length:
            raise RecordingError(f"its array {self._name} is cut short; copy it again")
        return np.frombuffer(content, self.dtype).reshape(-1, *self.shape[1:])

    def whole(self) -> np.ndarray:
        whole = self._whole
        if whole is None:
            with self._archive.open(self._name) as file:
                whole = self._whole = np.asarray(np.lib.format.read_array(file, allow_pickle=False))
        return whole


def decode_npz(
    path: str, size: tuple[int, int] | None, columns: str | None = None, time_unit: str | None = None
) -> Source:
    """Open a `.npz` file of events."""
    try:
        return _decode_npz(path, size, columns, time_unit)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError, NotImplementedError, RuntimeError) as error:
        raise RecordingError(f"it is a damaged or cut-short .npz file ({str(error)[:80]})") from error


def _decode_npz(path: str, size: tuple[int, int] | None, columns: str | None, time_unit: str | None) -> Source:
    archive = zipfile.ZipFile(path)
    names = [name for name in archive.namelist() if name.endswith(".npy")]
    if not names:
        raise RecordingError(f"it is a zip archive of {', '.join(archive.namelist())[:100]}; unpack it")
    arrays = {name.removesuffix(".npy"): Member(archive, name) for name in names}
    sizes = [arrays[name].whole() for name in ("width", "height") if name in arrays and not arrays[name].shape]
    if len(sizes) == 2:
        size = int(sizes[0]), int(sizes[1])
    text = arrays[_LENS_TOML].whole() if _LENS_TOML in arrays else None
    lens_toml = str(text) if text is not None and text.dtype.kind == "U" and not text.shape else None
    unit = "us" if lens_toml is not None or "trigger_t" in arrays else None
    return open_events("NPZ", _events(arrays, columns, unit), size, time_unit, _triggers(arrays), lens_toml)


def _events(arrays: dict[str, Member], columns: str | None, unit: str | None) -> Events:
    flat = {name: array for name, array in arrays.items() if array.ndim == 1 and array.dtype.names is None}
    longest = max((len(array) for array in flat.values()), default=0)
    alike = {name: array for name, array in flat.items() if len(array) == longest or name in "txyp"}
    if columns is None and named_columns(list(alike)) is not None:
        return events_by_name(alike, "arrays", unit)
    tables = [n for n, a in arrays.items() if a.dtype.names is not None or (a.ndim == 2 and a.shape[1] >= 4)]
    best = max(tables, key=lambda name: (name == "events", len(arrays[name])), default=None)
    if best is None:
        held = ", ".join(f"{name} {array.dtype} {array.shape}" for name, array in arrays.items())
        raise RecordingError(f"it holds {held[:200]}; events are arrays t, x, y and p, or one of N×4")
    return events_of_table(arrays[best], f"array {best} of {_described(arrays[best])}", columns, unit)


def _triggers(arrays: dict[str, Member]) -> Iterator[tuple[int, np.ndarray]]:
    if "trigger_t" not in arrays or "trigger_edge" not in arrays:
        return
    t, edge = arrays["trigger_t"].whole(), arrays["trigger_edge"].whole()
    channel = arrays["trigger_channel"].whole() if "trigger_channel" in arrays else np.zeros(len(t), np.uint8)
    if not t.shape == edge.shape == channel.shape or any(a.dtype.kind not in "iu" or a.ndim != 1 for a in (t, edge)):
        raise RecordingError(
            "its trigger_t, trigger_edge and trigger_channel are not lists of whole numbers, equally long"
        )
    if len(t):
        yield int(t.max()), make_triggers(t.astype(np.int64), np.clip(edge, 0, 255), np.clip(channel, 0, 255))


def encode(path: str, width: int, height: int, lens_toml: str | None) -> Sink:
    """Write a `.npz` file of events, triggers and calibration."""
    return _NpzSink(path, width, height, lens_toml)


class _NpzSink:
    """Collects columns in anonymous files beside the target until their lengths are known."""

    def __init__(self, path: str, width: int, height: int, lens_toml: str | None) -> None:
        self._path = path
        self._whole = {"width": np.int64(width), "height": np.int64(height)}
        if lens_toml is not None:
            self._whole[_LENS_TOML] = np.array(lens_toml)  # pyright: ignore[reportArgumentType]
        self._types = {
            name: np.dtype(kind)
            for name, kind in (
                ("t", "<i8"),
                ("x", "<i2"),
                ("y", "<i2"),
                ("p", "|u1"),
                ("trigger_t", "<i8"),
                ("trigger_edge", "|u1"),
                ("trigger_channel", "|u1"),
            )
        }
        folder = os.path.dirname(os.path.abspath(path))
        self._files = {name: tempfile.TemporaryFile(dir=folder) for name in self._types}  # noqa: SIM115

    def write(self, events: np.ndarray, triggers: np.ndarray) -> None:
        columns = {
            "t": events["timestamp"],
            "x": events["x"],
            "y": events["y"],
            "p": events["polarity"],
            "trigger_t": triggers["timestamp"],
            "trigger_edge": triggers["edge"],
            "trigger_channel": triggers["channel"],
        }
        for name, column in columns.items():
            self._files[name].write(column.astype(self._types[name]).tobytes())

    def close(self) -> None:
        with zipfile.ZipFile(self._path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            for name, value in self._whole.items():
                with archive.open(f"{name}.npy", "w") as member:
                    np.lib.format.write_array(member, np.asarray(value), allow_pickle=False)
            for name, kind in self._types.items():
                source = self._files[name]
                header = {"descr": kind.str, "fortran_order": False, "shape": (source.tell() // kind.itemsize,)}
                source.seek(0)
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array_header_1_0(member, header)
                    shutil.copyfileobj(source, member, 1 << 20)
                source.close()
