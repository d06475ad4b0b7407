"""Events as text: one a line, `t,x,y,polarity`, as the field's tools and older datasets have them.

The separator (comma, semicolon, tab, space), the order of columns (from a header line, else t, x, y, polarity) and
the unit of time are taken from the first lines: whole numbers are µs, decimals are seconds. A header such as
`t,x@346,y@260,on`, which faery writes and we do, gives the sensor's size.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import BinaryIO

import numpy as np

from ..errors import RecordingError
from ..events import make_events
from .source import CutShort, Header, Sink, Source, interleave

_LINES = 1 << 16
_NAMES = {
    "t": ("t", "ts", "time", "timestamp", "timestamps"),
    "x": ("x", "col"),
    "y": ("y", "row"),
    "p": ("p", "pol", "polarity", "on"),
}


@dataclass(frozen=True)
class _Layout:
    """How the lines of one file are to be read."""

    separator: str | None  # None: any white space
    columns: dict[str, int]
    size: tuple[int, int] | None
    skip_lines: int
    seconds: bool


def decode(path: str, size: tuple[int, int] | None) -> Source:
    """Open a text file of events."""
    with open(path, "rb") as file:
        layout = _layout([line.decode("ascii", "replace").strip() for line in islice(file, 50)])
    size = layout.size or size
    if size is None:
        raise RecordingError("it does not say how large its sensor is; give the camera's lens.toml with --lens")
    return Source(Header("CSV", *size), interleave(_events(path, layout), iter(())))


def _layout(lines: list[str]) -> _Layout:
    first = next((i for i, line in enumerate(lines) if line and not line.startswith("#")), None)
    if first is None:
        raise RecordingError("it has no events")
    separator = next((c for c in ",;\t" if c in lines[first]), None)
    columns = {"t": 0, "x": 1, "y": 2, "p": 3}
    size, skip = None, first
    if re.search("[a-z]", lines[first], re.IGNORECASE) and not re.fullmatch(r"[-+.\deE,;\s]+", lines[first]):
        names = [name.strip().lower() for name in lines[first].split(separator)]
        plain = [name.split("@")[0] for name in names]
        for key, known in _NAMES.items():
            if not any(name in known for name in plain):
                raise RecordingError(f"its header {lines[first]!r} has no column for {key}; expected t, x, y, p")
            columns[key] = next(i for i, name in enumerate(plain) if name in known)
        width, height = (re.fullmatch(r".@(\d+)", names[columns[key]]) for key in "xy")
        if width and height:
            size = (int(width[1]), int(height[1]))
        skip = first + 1
    data = next((line for line in lines[skip:] if line and not line.startswith("#")), "")
    fields = data.split(separator)
    seconds = len(fields) > columns["t"] and "." in fields[columns["t"]]
    return _Layout(separator, columns, size, skip, seconds)


def _events(path: str, layout: _Layout) -> Iterator[np.ndarray]:
    # 64-bit floating point holds seconds from 1970 to 0.2 µs, so that rounding to µs is exact.
    names = ("t", "x", "y", "p")
    dtype = np.dtype([(name, np.float64 if name == "t" and layout.seconds else np.int64) for name in names])
    with open(path, "rb") as file:
        at = sum(1 for _ in islice(file, layout.skip_lines))
        while lines := list(islice(file, _LINES)):
            for table in _tables(lines, layout, dtype, at):
                t = np.round(table["t"] * 1e6).astype(np.int64) if layout.seconds else table["t"]
                x, y = (np.clip(table[name], -1, 32767) for name in "xy")
                yield make_events(t, x, y, table["p"] > 0)
            at += len(lines)


def _tables(lines: list[bytes], layout: _Layout, dtype: np.dtype, at: int) -> Iterator[np.ndarray]:
    """The lines as a table, or in halves down to the line that is none."""
    if not any(map(bytes.strip, lines)):
        return
    columns = [layout.columns[name] for name in dtype.names or ()]
    try:
        yield np.loadtxt(lines, dtype, delimiter=layout.separator, usecols=columns, ndmin=1, encoding="ascii")
    except (ValueError, IndexError) as error:
        if len(lines) > 1:
            half = len(lines) // 2
            yield from _tables(lines[:half], layout, dtype, at)
            yield from _tables(lines[half:], layout, dtype, at + half)
        elif lines[0].endswith(b"\n"):
            line = lines[0].decode("ascii", "replace").strip()[:80]
            raise RecordingError(f"its line {at + 1} is not an event of four numbers: {line!r}") from error
        else:
            raise CutShort("its last line is cut short") from error


def encode(path: str, width: int, height: int, lens_toml: str | None) -> Sink:
    """Write a text file of events; triggers and calibration have no place in it."""
    return _TextSink(open(path, "wb"), width, height)


class _TextSink:
    def __init__(self, file: BinaryIO, width: int, height: int) -> None:
        self._file = file
        self._file.write(f"t,x@{width},y@{height},on\n".encode())

    def write(self, events: np.ndarray, triggers: np.ndarray) -> None:
        columns = (events[name].tolist() for name in ("timestamp", "x", "y", "polarity"))
        self._file.write("".join(f"{t},{x},{y},{p}\n" for t, x, y, p in zip(*columns, strict=True)).encode())

    def close(self) -> None:
        self._file.close()
