"""MATLAB files with events: version 5 through scipy; version 7.3 is HDF5 and read by `h5_layouts`.

Events are four arrays in any structure, such as `aedat.data.polarity` of the AEDAT tools and public autofocus datasets
(x, y, polarity, timeStamp in µs) or Prophesee's `TD` (x, y, p, ts), or an N×4 table. External edges in
`aedat.data.special` are triggers.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from ..errors import RecordingError
from ..events import FALLING, RISING, make_triggers
from ..formats.columns import named_columns
from ..sources.chunks import Source
from .arrays import Events, events_by_name, events_of_table, open_events

_MOST_DEPTH = 8
_SPECIAL_EDGES = {2: RISING, 3: FALLING}  # of libcaer's special events: external inputs
_AEDAT = "aedat"


def decode(path: str, size: tuple[int, int] | None, columns: str | None = None, time_unit: str | None = None) -> Source:
    """Open a MATLAB file of version 5, or pass one of 7.3 to `h5_layouts`."""
    with open(path, "rb") as file:
        head = file.read(16)
    if head.startswith(b"MATLAB 7.3"):
        from .h5_layouts import decode as decode_hdf5

        return decode_hdf5(path, size, columns, time_unit)
    from scipy.io import loadmat

    try:
        content = loadmat(path, struct_as_record=False, squeeze_me=True)
    except MemoryError:
        raise
    except Exception as error:  # scipy raises many classes of exceptions on damaged files
        raise RecordingError(f"it is a damaged or cut-short MATLAB file ({str(error)[:80]})") from error
    variables = {name: value for name, value in content.items() if not name.startswith("__")}
    found = _events(variables, "", columns)
    if found is None:
        raise RecordingError(
            f"it has no events: of its variables {', '.join(variables)[:200]} none has x, y, polarity and times, or N×4"
        )
    address_space = _at(variables, f"{_AEDAT}.info.deviceAddressSpace")
    if isinstance(address_space, np.ndarray) and address_space.shape == (2,):
        size = int(address_space[0]), int(address_space[1])
    return open_events("MATLAB", found, size, time_unit, _special(variables))


def _children(value: Any) -> Mapping[str, Any]:
    if isinstance(value, dict):
        return value
    return {name: getattr(value, name) for name in getattr(value, "_fieldnames", ())}


def _events(value: Any, path: str, columns: str | None, depth: int = 0) -> Events | None:
    """Find the first structure or table with events, breadth first within a structure."""
    children = _children(value)
    arrays = {
        n: np.atleast_1d(a) for n, a in children.items() if isinstance(a, np.ndarray | np.generic) and np.ndim(a) < 2
    }
    if named_columns(list(arrays)) is not None:
        unit = "us" if path.split(".")[0] in (_AEDAT, "TD") else None
        return events_by_name(arrays, f"MATLAB structure {path or 'of the file'}", unit)
    for name, child in children.items():
        if isinstance(child, np.ndarray) and child.ndim == 2 and child.shape[1] in (4, 5) and child.dtype.kind in "iuf":
            return events_of_table(child, f"MATLAB array {path + '.' if path else ''}{name}", columns)
    if depth < _MOST_DEPTH:
        for name, child in children.items():
            found = _events(child, f"{path}.{name}" if path else name, columns, depth + 1)
            if found is not None:
                return found
    return None


def _at(value: Any, path: str) -> Any:
    for name in path.split("."):
        value = _children(value).get(name)
    return value


def _special(variables: Any) -> Iterator[tuple[int, np.ndarray]]:
    special = _children(_at(variables, f"{_AEDAT}.data.special"))
    times, kinds = (np.atleast_1d(special.get(name, [])) for name in ("timeStamp", "address"))
    if len(times) != len(kinds) or not len(times):
        return
    times, kinds = times.astype(np.int64), kinds.astype(np.int64)
    external = np.isin(kinds, list(_SPECIAL_EDGES))
    edges = np.array([_SPECIAL_EDGES[kind] for kind in kinds[external].tolist()], np.uint8)
    yield int(times.max()), make_triggers(times[external], edges)
