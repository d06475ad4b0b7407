"""Recognises the kind of a file by content, so that no command overwrites a file of another kind."""

import tomllib
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

import h5py

from ..errors import RecordingError
from .columns import named_columns
from .recordings import recognise

Kind = Literal[
    "recording",
    "scene of a dataset",
    "depth file",
    "calibration",
    "weights file",
    "picture",
    "film",
    "point cloud",
    "array",
    "archive",
    "key",
]

_HEAD_BYTES = 4096
_MOST_TEXT_BYTES = 1 << 20
_MAGIC: tuple[tuple[int, bytes, Kind], ...] = (
    (0, b"\x89PNG\r\n\x1a\n", "picture"),
    (0, b"\xff\xd8\xff", "picture"),  # JPEG
    (0, b"GIF8", "picture"),
    (0, b"II*\0", "picture"),  # TIFF
    (0, b"MM\0*", "picture"),
    (0, b"v/1\x01", "picture"),  # EXR
    (0, b"%PDF-", "picture"),
    (4, b"ftyp", "film"),  # MP4
    (0, b"ply\n", "point cloud"),
    (0, b"\x93NUMPY", "array"),
)


def kind_of(path: str | Path) -> Kind | None:
    """The kind of a file, by content; None if it is missing, empty, damaged or unknown."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return None
    for offset, magic, kind in _MAGIC:
        if head[offset:].startswith(magic):
            return kind
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return _kind_of_hdf5(path)
    if head.startswith(b"PK\x03\x04"):
        return _kind_of_zip(path)
    if b"<svg" in head:
        return "picture"
    if head[8:10] == b'{"' and int.from_bytes(head[:8], "little") < _MOST_TEXT_BYTES:
        return "weights file"
    if b"public-key" in head:
        return "key"
    if _is_calibration(path):
        return "calibration"
    with suppress(RecordingError):
        recognise(path)
        return "recording"
    return None


def is_depth_file(path: str | Path) -> bool:
    """Whether a file is a depth file (`capture.files.depth_file`), by content."""
    return kind_of(path) == "depth file"


def _kind_of_hdf5(path: Path) -> Kind | None:
    with suppress(OSError), h5py.File(path, "r") as file:
        # Links to other files are not followed.
        has = {name: file.get(name, getlink=True) is not None for name in ("t_start_us", "depth", "events")}
        if has["depth"] and has["t_start_us"]:
            return "depth file"
        return "scene of a dataset" if has["depth"] and has["events"] else "recording"
    return None


def _kind_of_zip(path: Path) -> Kind:
    """NPZ files may be recordings; other archives may be packs or saved stacks."""
    with suppress(OSError, zipfile.BadZipFile), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        return "archive" if named_columns(names) is None else "recording"
    return "archive"


def _is_calibration(path: Path) -> bool:
    try:
        if path.stat().st_size > _MOST_TEXT_BYTES:
            return False
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values.get("camera"), dict) or isinstance(values.get("sweep"), dict)
