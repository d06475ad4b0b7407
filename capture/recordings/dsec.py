"""HDF5 in the layout of the DSEC dataset (Gehrig et al., RA-L 2021), extended by triggers, sensor size and calibration.

`events/{x,y,p,t}`, `t` in µs relative to `t_offset`; `ms_to_idx[k]` is the index of the first event at or after k ms.
Extensions: `triggers/t` (µs, also relative), `triggers/type` (1 rising, 2 falling), `triggers/channel`, root attributes
`width`, `height` and `lens_toml`, and 64-bit times, since DSEC's 32 bits overflow after 71 minutes.
"""

from collections.abc import Iterator

import h5py
import numpy as np

from ..errors import RecordingError
from ..events import make_events, make_triggers
from ..sources.chunks import Header, LiveSink, Sink, Source, interleave
from ..sources.ring import SLOT_EVENTS
from .hdf5 import COMPRESSION, Output, refuse_references
from .hints import NO_SIZE
from .times import earliest_us

_CHUNK_CACHE_BYTES = 64 << 20
_LARGEST_BLOCK = 1 << 22
_TRIGGER_BLOCK = 1 << 16
_LIVE_CHUNK_EVENTS = 1 << 14
"""Small, because every flush rewrites the incomplete chunk in another place."""

_INDEX_CHUNK = 1 << 13
_INDEX_BLOCK = 1 << 20
_LONGEST_SPAN_US = 100 * 3_600_000_000


def decode_file(file: h5py.File, notes: tuple[str, ...], size: tuple[int, int] | None) -> Source:
    """Decode a recording, a file of the DSEC dataset, or a scene of a sweepdepth dataset, opened by `open_file`."""
    cut_off = bool(notes)
    columns = {name: _column(file, f"events/{name}") for name in "xypt"}
    lengths = {f"events/{name}": len(column) for name, column in columns.items()}
    # A killed writer may have extended only some of the columns.
    if len(set(lengths.values())) != 1 and not cut_off:
        raise RecordingError(f"its datasets differ in length: {lengths}")
    if "triggers" in file and not _has_our_triggers(file):
        notes += ("its triggers are not in the layout of triggers/t and triggers/type, and were left out",)
    offset = _offset(file)
    n_events = min(lengths.values())
    header = Header(
        "HDF5",
        *_size(file, size),
        first_us=int(columns["t"][0]) + offset if n_events else None,
        last_us=int(columns["t"][n_events - 1]) + offset if n_events else None,
        n_events=n_events,
        lens_toml=_text(file, "lens_toml"),
        notes=notes,
        why="HDF5 in the layout of DSEC: events/x, y, p, t in µs",
        earliest_us=earliest_us(columns["t"][:1000].astype(np.int64) + offset) if n_events else 0,
        takes_hints=False,
    )
    return Source(header, interleave(_events(columns, n_events, offset, cut_off), _triggers(file, offset, cut_off)))


def open_file(path: str) -> tuple[h5py.File, tuple[str, ...]]:
    """Open a file, checking that nothing in it refers to other files; returns it and notes on its state."""
    notes: tuple[str, ...] = ()
    try:
        file = h5py.File(path, "r", rdcc_nbytes=_CHUNK_CACHE_BYTES)
    except OSError as error:
        try:
            file = h5py.File(path, "r", libver="latest", swmr=True, rdcc_nbytes=_CHUNK_CACHE_BYTES)
        except (OSError, RuntimeError):
            raise RecordingError("it is a damaged or cut-short HDF5 file, so that nothing can be read") from error
        notes = ("it was never closed: it is still being recorded, or the recording was cut off",)
    refuse_references(file)
    return file, notes


def _column(file: h5py.File, name: str) -> h5py.Dataset:
    column = file.get(name)
    if not isinstance(column, h5py.Dataset):
        raise RecordingError(f"it has no dataset {name}; recordings have events/x, y, p and t")
    if column.ndim != 1 or column.dtype.kind not in "iub":
        raise RecordingError(f"its dataset {name} is {column.dtype} {column.shape}; expected a list of integers")
    return column


def _offset(file: h5py.File) -> int:
    offset = file.get("t_offset")
    if offset is None:
        return 0
    if not isinstance(offset, h5py.Dataset) or offset.size != 1 or offset.dtype.kind not in "iu":
        raise RecordingError("its t_offset is not one integer; expected µs")
    return int(np.asarray(offset).reshape(()))


def _size(file: h5py.File, fallback: tuple[int, int] | None) -> tuple[int, int]:
    width, height = file.attrs.get("width"), file.attrs.get("height")
    if width is None or height is None:
        if fallback is None:
            raise RecordingError(NO_SIZE)
        return fallback
    try:
        return int(width), int(height)
    except (TypeError, ValueError):
        raise RecordingError("its attributes width and height are not whole numbers; repair them") from None


def _text(file: h5py.File, name: str) -> str | None:
    text = file.attrs.get(name)
    if text is None or isinstance(text, str):
        return text
    raise RecordingError(f"its attribute {name} is not text")


def _events(columns: dict[str, h5py.Dataset], n_events: int, offset: int, cut_off: bool) -> Iterator[np.ndarray]:
    """Blocks of events, whole chunks of `t` at a time if they are not too large.

    A writer that was killed between extending and filling a column leaves zeros; the events end before them.
    """
    newest = 0
    chunk = columns["t"].chunks[0] if columns["t"].chunks else SLOT_EVENTS
    block = min(max(SLOT_EVENTS // chunk, 1) * chunk, _LARGEST_BLOCK)
    for at in range(0, n_events, block):
        if at >= n_events:
            return
        try:
            x, y, p, t = (columns[name][at : min(at + block, n_events)] for name in "xypt")
        except OSError as error:
            raise RecordingError(
                "its next events cannot be decompressed: it is damaged there; copy it again"
            ) from error
        if cut_off and len(t) and (ends := np.flatnonzero(t < np.maximum.accumulate(np.append(newest, t[:-1])))).size:
            n_events = at + int(ends[0])
            x, y, p, t = (column[: ends[0]] for column in (x, y, p, t))
        newest = t[-1] if len(t) else newest
        yield make_events(t.astype(np.int64) + offset, _pixels(x), _pixels(y), p > 0)


def _pixels(column: np.ndarray) -> np.ndarray:
    """Clip to 16 bits, so that values far off the sensor do not wrap onto it; 32768 and more become negative."""
    return column if column.dtype.itemsize <= 2 else np.clip(column.astype(np.int64), -1, 32767)


def _has_our_triggers(file: h5py.File) -> bool:
    """Whether `triggers` is a group as written by `encode`; other programs use the name for other data."""
    group = file.get("triggers")
    return isinstance(group, h5py.Group) and ("t" in group or "type" in group)


def _triggers(file: h5py.File, offset: int, cut_off: bool) -> Iterator[tuple[int, np.ndarray]]:
    if not _has_our_triggers(file):
        return
    columns = {name: _column(file, f"triggers/{name}") for name in ("t", "type")}
    if "triggers/channel" in file:  # missing in older recordings
        columns["channel"] = _column(file, "triggers/channel")
    lengths = {f"triggers/{name}": len(column) for name, column in columns.items()}
    if len(set(lengths.values())) != 1 and not cut_off:
        raise RecordingError(f"its datasets differ in length: {lengths}")
    n = min(lengths.values())
    for at in range(0, n, _TRIGGER_BLOCK):
        end = min(at + _TRIGGER_BLOCK, n)
        t = columns["t"][at:end].astype(np.int64) + offset
        kind, channel = (
            np.clip(columns[name][at:end].astype(np.int64), 0, 255) if name in columns else 0
            for name in ("type", "channel")
        )
        yield int(t.max()), make_triggers(t, np.asarray(kind), channel)


def encode(path: str, width: int, height: int, lens_toml: str | None) -> Sink:
    """Write an HDF5 recording, complete when closed."""
    return _WholeSink(path, width, height, lens_toml)


def encode_live(path: str, width: int, height: int, lens_toml: str | None) -> LiveSink:
    """Write an HDF5 recording that is readable after every `flush`, even if the writer crashes."""
    return _GrowingSink(path, width, height, lens_toml)


class _DsecSink:
    """Fills a new file; the caller opens it, and closes it after `finish`."""

    def __init__(
        self, file: h5py.File, width: int, height: int, lens_toml: str | None, chunk_events: int = SLOT_EVENTS
    ) -> None:
        self._file = file
        self._file.attrs["width"], self._file.attrs["height"] = width, height
        if lens_toml is not None:
            self._file.attrs["lens_toml"] = lens_toml
        self._columns = {
            name: self._file.create_dataset(name, (0,), dtype, maxshape=(None,), chunks=(rows,), **COMPRESSION)
            for name, dtype, rows in (
                ("events/x", "u2", chunk_events),
                ("events/y", "u2", chunk_events),
                ("events/p", "u1", chunk_events),
                ("events/t", "i8", chunk_events),
                ("ms_to_idx", "u8", _INDEX_CHUNK),
                ("triggers/t", "i8", 1024),
                ("triggers/type", "u1", 1024),
                ("triggers/channel", "u1", 1024),
            )
        }
        self._file["t_offset"] = np.int64(0)
        self._offset: int | None = None
        self._last_us = 0  # relative, of the newest event
        self._n_events = 0
        self._n_ms = 0

    def write(self, events: np.ndarray, triggers: np.ndarray) -> None:
        if self._offset is None:
            firsts = [int(array["timestamp"][0]) for array in (triggers, events) if len(array)]
            if not firsts:
                return
            self._offset = min(firsts)
            offset = self._file["t_offset"]
            assert isinstance(offset, h5py.Dataset)
            offset[()] = self._offset
        if len(events):
            t = events["timestamp"] - self._offset
            self._index(t)
            for name, column in (("x", events["x"]), ("y", events["y"]), ("p", events["polarity"]), ("t", t)):
                self._append(f"events/{name}", column)
            self._n_events += len(events)
            self._last_us = int(t[-1])
        if len(triggers):
            self._append("triggers/t", triggers["timestamp"] - self._offset)
            self._append("triggers/type", triggers["edge"])
            self._append("triggers/channel", triggers["channel"])

    def finish(self) -> None:
        self._append("ms_to_idx", np.array([self._n_events]))  # lets readers look up a window's end

    def _index(self, t: np.ndarray) -> None:
        """Extend `ms_to_idx` up to the last millisecond that begins at or before the newest time in `t`."""
        if t[-1] > _LONGEST_SPAN_US:
            raise RecordingError(
                f"it would span {t[-1] / 3.6e9:.0f} hours, too long for the index by milliseconds of the DSEC layout; "
                "write .aedat4, or several files"
            )
        end = int(t[-1]) // 1000 + 1
        for first in range(self._n_ms, end, _INDEX_BLOCK):  # in blocks, since a clock that jumps by a day makes many
            ms = np.arange(first, min(first + _INDEX_BLOCK, end))
            self._append("ms_to_idx", self._n_events + np.searchsorted(t, ms * 1000))
        self._n_ms = max(self._n_ms, end)

    def _append(self, name: str, values: np.ndarray) -> None:
        column = self._columns[name]
        n = len(column)
        column.resize(n + len(values), axis=0)
        column[n:] = values


class _WholeSink(_DsecSink):
    def __init__(self, path: str, width: int, height: int, lens_toml: str | None) -> None:
        self._output = Output(path)
        file = h5py.File(self._output, "w", rdcc_nbytes=_CHUNK_CACHE_BYTES)
        super().__init__(file, width, height, lens_toml)

    def write(self, events: np.ndarray, triggers: np.ndarray) -> None:
        super().write(events, triggers)
        self._output.check()

    def close(self) -> None:
        self.finish()
        self._file.close()
        self._output.check()
        self._output.close()


class _GrowingSink(_DsecSink):
    """Uses HDF5's single-writer, multiple-reader mode, whose order of writes keeps the file valid at any time."""

    def __init__(self, path: str, width: int, height: int, lens_toml: str | None) -> None:
        file = h5py.File(path, "w", libver="latest", rdcc_nbytes=_CHUNK_CACHE_BYTES)
        super().__init__(file, width, height, lens_toml, _LIVE_CHUNK_EVENTS)
        file.swmr_mode = True

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self.finish()
        self._file.close()
