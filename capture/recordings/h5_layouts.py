"""HDF5 event files in the layouts of common tools and datasets; DSEC's, also used by sweepdepth, is in `dsec`.

| layout | where | times |
|---|---|---|
| Prophesee | `CD/events` (x, y, p, t), ECF-compressed or not, triggers in `EXT_TRIGGER/events` | µs |
| event_utils | `events/xs`, `ys`, `ts`, `ps` | inferred |
| v2e, and tables | `events` (N, 4), or structured | inferred |
| MVSEC | `davis/left/events` (N, 4): x, y, t, p | inferred |
| M3ED | `prophesee/left/x`, `y`, `p`, `t` | µs |
| MATLAB 7.3 | as in `matlab` | inferred, µs in `aedat` |

Any other group with t, x, y and p by name is accepted, too. Of two cameras, the left one is read.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import h5py
import numpy as np

from ..errors import RecordingError
from ..events import FALLING, RISING, make_triggers
from ..formats.columns import named_columns
from ..sources.chunks import Source
from . import dsec
from .arrays import Events, events_by_name, events_of_table, open_events
from .ecf import FILTER, EcfTable

_MOST_OBJECTS = 2000
_CD, _EXT_TRIGGER = "CD/events", "EXT_TRIGGER/events"


def decode(path: str, size: tuple[int, int] | None, columns: str | None = None, time_unit: str | None = None) -> Source:
    """Open an HDF5 or MATLAB 7.3 recording in any known layout."""
    file, notes = dsec.open_file(path)
    if _is_dsec(file):
        return dsec.decode_file(file, notes, size)
    if isinstance(file.get(_CD), h5py.Dataset):
        return _prophesee(file, size)
    found = _find(file, columns)
    if found is None:
        if "depth" in file and "t_start_us" in file:
            raise RecordingError("is a depth file, not a recording; `info`, `convert` and `view` take it")
        raise RecordingError(
            f"it is an HDF5 file without the group events, or any other with x, y, t and p; it has {_listed(file)}"
        )
    name = "MATLAB" if _is_matlab(path) else "HDF5"
    return open_events(name, found, _size(file) or size, time_unit)


def _is_dsec(file: h5py.File) -> bool:
    group = file.get("events")
    if not isinstance(group, h5py.Group):
        return False
    times = group.get("t")
    seconds = isinstance(times, h5py.Dataset) and times.dtype == np.float64
    return not seconds and any(name in group for name in "xypt")


def _is_matlab(path: str) -> bool:
    with open(path, "rb") as file:
        return file.read(6) == b"MATLAB"


def _listed(file: h5py.File) -> str:
    return ", ".join(sorted(str(name) for name in file))[:200] or "nothing"


class _Flat:
    """A vector dataset as MATLAB writes them, (N,), (N, 1) or (1, N), read by rows."""

    def __init__(self, dataset: h5py.Dataset) -> None:
        self._dataset = dataset

    def __len__(self) -> int:
        return self._dataset.size or 0

    def __getitem__(self, rows: slice) -> np.ndarray:
        if self._dataset.ndim == 2:
            part = self._dataset[0, rows] if self._dataset.shape[0] == 1 else self._dataset[rows, 0]
            return np.asarray(part)
        return np.asarray(self._dataset[rows])


def _is_list(item: Any) -> bool:
    if not isinstance(item, h5py.Dataset) or item.dtype.kind not in "iufb" or item.shape is None:
        return False
    return item.ndim == 1 or (item.ndim == 2 and 1 in item.shape)


def _find(file: h5py.File, columns: str | None) -> Events | None:
    """Find the first group or dataset with events; of two cameras', the left one's."""
    groups: list[tuple[str, h5py.Group]] = [("", file)]
    tables: list[tuple[str, h5py.Dataset]] = []

    def see(name: str, item: Any) -> bool | None:
        if isinstance(item, h5py.Group):
            groups.append((name, item))
        elif isinstance(item, h5py.Dataset) and name.split("/")[-1] in ("events", "data", "TD"):
            tables.append((name, item))
        return True if len(groups) + len(tables) > _MOST_OBJECTS else None

    file.visititems(see)
    others = [name for name, group in groups if _columns_of(group)]
    for name, group in sorted(groups, key=lambda item: ("left" not in item[0], item[0].count("/"))):
        lists = _columns_of(group)
        if lists:
            unit = "us" if name.startswith(("prophesee/", "aedat/")) else None
            found = events_by_name({key: _Flat(lists[key]) for key in lists}, f"HDF5 group {name or '/'}", unit)
            return _noting(found, name, others)
    for name, table in sorted(tables, key=lambda item: ("left" not in item[0], item[0].count("/"))):
        if table.dtype.names is not None or (table.ndim == 2 and table.shape[1] >= 4):
            others = [other for other, _ in tables]
            return _noting(events_of_table(table, f"HDF5 dataset {name} {table.shape}", columns), name, others)
    return None


def _columns_of(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """Vectors in a group that make up events; empty if one is missing."""
    lists = {str(name): item for name, item in group.items() if _is_list(item)}
    places = named_columns(list(lists))
    if places is None or len({lists[list(lists)[at]].size for at in places.values()}) != 1:
        return {}
    names = list(lists)
    return {names[at]: lists[names[at]] for at in places.values()}


def _noting(found: Events, taken: str, all_of_them: list[str]) -> Events:
    rest = ", ".join(name for name in all_of_them if name != taken)
    note = (f"events of {taken} are read, not those of {rest[:100]}",) if rest else ()
    return Events(found.columns, found.why, found.unit, (*found.notes, *note))


def _size(file: h5py.File) -> tuple[int, int] | None:
    width, height = file.attrs.get("width"), file.attrs.get("height")
    resolution = file.attrs.get("sensor_resolution")
    try:
        if width is not None and height is not None:
            return int(width), int(height)
        if resolution is not None:  # event_utils: rows, columns
            return int(resolution[1]), int(resolution[0])
        for place in ("prophesee/left/calib/resolution",):  # M3ED: width, height
            found = file.get(place)
            if isinstance(found, h5py.Dataset) and found.shape == (2,):
                return int(found[0]), int(found[1])
    except (TypeError, ValueError, IndexError):
        raise RecordingError("its sensor size is not two integers; correct it") from None
    return None


def _prophesee(file: h5py.File, size: tuple[int, int] | None) -> Source:
    dataset: Any = file[_CD]
    if dataset.dtype.names is None or not set("xypt") <= set(dataset.dtype.names):
        raise RecordingError(f"its dataset {_CD} is {dataset.dtype}; expected x, y, p and t")
    geometry = str(file.attrs.get("geometry", "")).split("x")
    if len(geometry) == 2 and all(part.isdigit() for part in geometry):
        size = int(geometry[0]), int(geometry[1])
    filters = dataset.id.get_create_plist()
    codes = [filters.get_filter(k)[0] for k in range(filters.get_nfilters())]
    packed = FILTER in codes
    if packed and (codes != [FILTER] or not dataset.chunks):
        raise RecordingError("its events are compressed by ECF and other filters; write them by ECF alone")
    what = f"HDF5 of Prophesee: {_CD}{', ECF-compressed' if packed else ''}"
    events = events_of_table(EcfTable(dataset) if packed else dataset, what, None, "us")
    source = open_events("HDF5", events, size, None, _external(file))
    return replace(source, header=replace(source.header, takes_hints=False))


def _external(file: h5py.File) -> Iterator[tuple[int, np.ndarray]]:
    table: Any = file.get(_EXT_TRIGGER)
    if not isinstance(table, h5py.Dataset) or not {"p", "t"} <= set(table.dtype.names or ()) or not len(table):
        return
    try:
        rows = table[:]
    except (OSError, RuntimeError) as error:
        raise RecordingError(f"its {_EXT_TRIGGER} cannot be decompressed; it is damaged, copy it again") from error
    channel = np.clip(rows["id"], 0, 255) if "id" in rows.dtype.names else 0
    times = rows["t"].astype(np.int64)
    yield int(times.max()), make_triggers(times, np.where(rows["p"] > 0, RISING, FALLING), channel)
