"""Events from arrays of any file format: four sliceable columns, and inference of time unit and column order."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import RecordingError
from ..events import make_events
from ..formats.columns import infer_columns, named_columns, named_unit
from ..sources.chunks import Header, Source, interleave
from ..sources.ring import SLOT_EVENTS
from .hints import NO_SIZE, TableHints
from .times import TimeEvidence, earliest_us, infer_unit, to_us

_SAMPLE_ROWS = 2000
_MOST_COLUMNS = 16
_PIECES, _PIECE_ROWS = 64, 1 << 14
_COARSE_FLOAT_US = 10.0


class Column(Protocol):
    """One column of a file, read when it is sliced."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: slice) -> np.ndarray: ...  # (K,) of any numeric type


@dataclass(frozen=True)
class Events:
    """The four columns t, x, y and p of a file, with its metadata about them."""

    columns: Mapping[str, Column]
    why: str
    unit: str | None = None  # of the times, if the file states it
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return min(len(column) for column in self.columns.values())


class TableColumn:
    """One column of a table of rows; a table's columns share the block of rows read last."""

    def __init__(self, rows: "Rows", key: Any) -> None:
        self._rows, self._key = rows, key

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, rows: slice) -> np.ndarray:
        block = self._rows.block(rows.start, rows.stop)
        return block[:, self._key] if isinstance(self._key, int) else block[self._key]


class Rows:
    """A table read in blocks of rows: (N, C), or (N,) structured."""

    def __init__(self, table: Any) -> None:
        self._table = table
        self._last: tuple[tuple[int, int], np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._table)

    def block(self, start: int, stop: int) -> np.ndarray:
        if self._last is None or self._last[0] != (start, stop):
            self._last = (start, stop), np.asarray(self._table[start:stop])
        return self._last[1]


def events_of_table(table: Any, what: str, columns: str | None, unit: str | None = None) -> Events:
    """The events of an array with 4 or more columns, or (N,) structured, that can be sliced by rows.

    Raises:
        RecordingError: it has another shape, or its columns cannot be identified.
    """
    rows = Rows(table)
    names = table.dtype.names
    if names is not None and table.ndim == 1:
        return events_by_name({name: TableColumn(rows, name) for name in names}, what, unit)
    if table.ndim != 2 or not 4 <= table.shape[1] <= _MOST_COLUMNS or table.dtype.kind not in "iufb":
        turned = table.ndim == 2 and table.shape[0] in (4, 5)
        raise RecordingError(
            f"{what} is {table.dtype} {table.shape}; expected (N, 4) numbers" + (", so transpose it" if turned else "")
        )
    if columns is not None:
        places, why = TableHints.places(columns), f"columns {columns} as --columns says"
        notes = ()
    else:
        places, why = infer_columns(rows.block(0, min(len(rows), _SAMPLE_ROWS)).astype(np.float64))
        notes = (why,)
    if max(places.values()) >= table.shape[1]:
        raise RecordingError(f"{what} has {table.shape[1]} columns, fewer than --columns {columns} names")
    return Events({name: TableColumn(rows, at) for name, at in places.items()}, f"{what}: {why}", unit, notes)


def events_by_name(arrays: Mapping[str, Any], what: str, unit: str | None = None) -> Events:
    """The events of separate arrays with names such as x, ys, timestamps or polarity.

    Raises:
        RecordingError: t, x, y or p is missing, or they differ in length.
    """
    names = list(arrays)
    places = named_columns(names)
    if places is None:
        raise RecordingError(f"{what} has {', '.join(names)[:200] or 'nothing'}; events have t, x, y and p")
    columns = {key: arrays[names[at]] for key, at in places.items()}
    lengths = {names[at]: len(columns[key]) for key, at in places.items()}
    if len(set(lengths.values())) != 1:
        raise RecordingError(f"its arrays differ in length: {lengths}")
    taken = ", ".join(names[places[key]] for key in "txyp")
    return Events(columns, f"{what}: {taken} by name", unit or named_unit(names[places["t"]]))


def open_events(
    name: str,
    events: Events,
    size: tuple[int, int] | None,
    time_unit: str | None,
    triggers: Iterable[tuple[int, np.ndarray]] = (),
    lens_toml: str | None = None,
) -> Source:
    """Make a recording of the format `name` from its columns.

    Raises:
        RecordingError: the sensor size is unknown, the columns are not numeric, or the time unit is ambiguous.
    """
    if size is None:
        raise RecordingError(NO_SIZE)
    n, notes, why = len(events), list(events.notes), events.why
    if not n:
        return Source(
            Header(name, *size, n_events=0, lens_toml=lens_toml, why=why), interleave(iter(()), iter(triggers))
        )
    for key, column in events.columns.items():
        kind = column[0:1].dtype.kind
        if kind not in "iufb":
            raise RecordingError(f"its {key} are {column[0:1].dtype}, not numbers")
    unit = time_unit or events.unit
    if unit is None:
        unit, note = infer_unit(TimeEvidence.of(_sample(events.columns["t"], n), n))
        notes.append(note)
    else:
        why += f"; times in {unit}, as {'--time-unit' if time_unit else 'the file'} says"
    first = events.columns["t"][0 : min(n, 1000)]
    notes += _coarse_floats(first, unit)
    levels = _polarity_level(events.columns["p"][0 : min(n, _SAMPLE_ROWS)])
    header = Header(
        name,
        *size,
        n_events=n,
        lens_toml=lens_toml,
        notes=tuple(notes),
        why=why,
        earliest_us=earliest_us(to_us(first, unit)),
    )
    return Source(header, interleave(_blocks(events, n, unit, levels), iter(triggers)))


def _sample(times: Column, n: int) -> np.ndarray:
    """All times of the file or, if there are many, pieces spread over it."""
    if n <= _PIECES * _PIECE_ROWS:
        return times[0:n]
    starts = np.linspace(0, n - _PIECE_ROWS, _PIECES).astype(int).tolist()
    return np.concatenate([times[at : at + _PIECE_ROWS] for at in starts])


def _coarse_floats(times: np.ndarray, unit: str) -> list[str]:
    if times.dtype.kind != "f" or not np.any(np.isfinite(times)):
        return []
    largest = np.abs(times[np.isfinite(times)]).max()
    step_us = float(np.spacing(largest.astype(times.dtype))) * float(to_us(np.array([10**6]), unit)[0]) / 1e6
    if step_us < _COARSE_FLOAT_US:
        return []
    return [f"its times are {times.dtype} numbers, which hold them to {step_us / 1e3:.2g} ms only; keep 64 bits"]


def _polarity_level(polarity: np.ndarray) -> int:
    """Threshold above which a polarity is ON: 0, or 1 where OFF is 1 and ON is 2, as in MATLAB files."""
    return 1 if len(polarity) and polarity.min() == 1 and polarity.max() == 2 else 0


def _blocks(events: Events, n: int, unit: str, level: int) -> Iterator[np.ndarray]:
    columns = events.columns
    for at in range(0, n, SLOT_EVENTS):
        end = min(at + SLOT_EVENTS, n)
        try:
            t, x, y, p = (np.asarray(columns[key][at:end]) for key in "txyp")
        except (OSError, RuntimeError) as error:
            raise RecordingError("its next events cannot be read: it is damaged there; copy it again") from error
        yield make_events(to_us(t, unit), pixels(x), pixels(y), p > level)


def pixels(column: np.ndarray) -> np.ndarray:
    """Clip coordinates to 16 bits, so that values far off the sensor do not wrap onto it.

    Raises:
        RecordingError: some are not whole numbers.
    """
    if column.dtype.kind == "f":
        whole = np.nan_to_num(np.floor(column), nan=-1, posinf=-1, neginf=-1)
        if np.any(whole != np.nan_to_num(column, nan=-1, posinf=-1, neginf=-1)):
            raise RecordingError("its pixels are no whole numbers; round them first")
        return np.clip(whole, -1, 32_767).astype(np.int16)
    if column.dtype.kind == "u":
        return np.minimum(column, 32_767).astype(np.int16)
    return np.clip(column.astype(np.int64), -1, 32_767).astype(np.int16)
