"""Text files with one event per line, in the layouts of common tools and datasets.

A header may give column order and time unit: `t,x,y,p` in any order and with common variants of the names,
`t,x@346,y@260,on` as written by faery and sweepdepth (µs), Prophesee's `%geometry:W,H` (x, y, p, t in µs), or just the
sensor size in the first line (rpg_e2vid: t in seconds, x, y, p). The separator is a comma, semicolon, tab or space.
Anything the header leaves open is inferred from the columns' values and the times of the whole file, or given by
`TableHints`. Polarities may be numbers or words. Numbers are parsed exactly.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np

from ..errors import RecordingError
from ..events import make_events
from ..formats.columns import Places, infer_columns, named_columns, named_unit
from ..sources.chunks import CutShort, Header, Sink, Source, interleave
from .hints import NO_SIZE, UNITS, TableHints
from .numbers import WHITE, finest_power, read_lines, scale
from .times import TimeEvidence, earliest_us, infer_unit

_HEAD_BYTES = 1 << 16
_BLOCK_BYTES = 1 << 21
_LONGEST_LINE = 1 << 16
_WHOLE_BYTES = 128 << 20
"""Most bytes scanned to infer the time unit; for larger files, pieces spread over the whole file."""

_PIECE_BYTES = 1 << 20
_SAMPLE_LINES = 2000
_SAMPLE_TIMES = 1 << 20
_MARKS = ((b"\xef\xbb\xbf", "utf-8"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16"))


@dataclass
class _Layout:
    """Layout of the lines of one file."""

    separator: int = ord(",")
    places: Places = field(default_factory=dict)
    size: tuple[int, int] | None = None
    unit: str | None = None
    start: int = 0  # byte offset of the first event
    why: list[str] = field(default_factory=list)

    @property
    def columns(self) -> np.ndarray:
        return np.array([self.places[name] for name in "txyp"])


@dataclass(frozen=True)
class _Table:
    """Events of a block of lines; times as mantissa and power of ten, in the file's unit."""

    mantissa: np.ndarray
    exponent: np.ndarray
    x: np.ndarray
    y: np.ndarray
    polarity: np.ndarray

    def __len__(self) -> int:
        return len(self.mantissa)

    def times_us(self, unit: str) -> np.ndarray:
        out = np.empty(len(self), np.int64)
        scale(self.mantissa, self.exponent, len(str(UNITS[unit])) - 4, out)
        return out


def decode(path: str, size: tuple[int, int] | None, columns: str | None = None, time_unit: str | None = None) -> Source:
    """Open a text file of events."""
    with open(path, "rb") as file:
        head = file.read(_HEAD_BYTES)
    layout = _layout(head, columns)
    size = layout.size or size
    if size is None:
        raise RecordingError(NO_SIZE)
    notes = tuple(layout.why[1:])
    unit = time_unit or layout.unit
    if unit is None:
        unit, note = infer_unit(_evidence(path, layout))
        notes = (*notes, note)
    else:
        layout.why.append(f"times in {unit}, as {'--time-unit' if time_unit else 'its header'} says")
    with open(path, "rb") as file:
        first = next(_tables(file, layout, min(_HEAD_BYTES, os.path.getsize(path)), cut=True), None)
    early = earliest_us(first.times_us(unit)[:1000]) if first else 0
    header = Header("CSV", *size, notes=notes, why="; ".join(layout.why), earliest_us=early)
    return Source(header, interleave(_events(path, layout, unit), iter(())))


def _layout(head: bytes, columns: str | None) -> _Layout:
    layout = _Layout()
    for mark, name in _MARKS:
        if head.startswith(mark):
            if name != "utf-8":
                raise RecordingError(f"it is {name} text; save it as UTF-8 or plain ASCII")
            layout.start = len(mark)
    names: list[str] | None = None
    whole = head[: head.rfind(b"\n") + 1] or head
    lines = whole[layout.start :].splitlines(keepends=True)
    sample: list[bytes] = []
    for raw in lines:
        line = raw.strip()
        text = line.decode("utf-8", "replace")
        if sample:
            sample += [line] if line and not _is_comment(line) else []
        elif not line:
            layout.start += len(raw)
        elif geometry := re.fullmatch(r"%\s*geometry\s*[:=]?\s*(\d+)\s*[,x]\s*(\d+)", text, re.IGNORECASE):
            layout.size, layout.unit = (int(geometry[1]), int(geometry[2])), "us"
            layout.places = {"x": 0, "y": 1, "p": 2, "t": 3}
            layout.why = [f"text with Prophesee's header {text!r}: columns x,y,p,t"]
            layout.start += len(raw)
        elif _is_comment(line):
            found = _split(text.lstrip("#%/ \t"), _separator(line))
            names = found if names is None and named_columns(found) else names
            layout.start += len(raw)
        elif _is_header(text):
            names = _split(text, _separator(line))
            layout.start += len(raw)
        elif layout.size is None and re.fullmatch(r"\d{1,5}[\s,;]+\d{1,5}", text):
            width, height = (int(number) for number in re.findall(r"\d+", text))
            layout.size = (width, height)
            layout.why = [f"text with the size {width}×{height} in its first line"]
            layout.start += len(raw)
        else:
            sample.append(line)
    if not sample:
        raise RecordingError("it has no events")
    layout.separator = _separator(sample[0])
    _place(layout, names, sample, columns)
    return layout


def _place(layout: _Layout, names: list[str] | None, sample: list[bytes], columns: str | None) -> None:
    """Assign the columns, by name, by hints or by value."""
    named = None if names is None else named_columns(names)
    if names is not None and named is not None:
        layout.places, layout.why = named, [*layout.why, f"text with the header {_shown(names)}"]
        layout.unit = layout.unit or named_unit(names[named["t"]])
        size = [re.fullmatch(r"\W*[xy]@(\d+)\W*", names[named[key]], re.IGNORECASE) for key in "xy"]
        if size[0] and size[1]:  # the header of faery and `encode`
            layout.size, layout.unit = (int(size[0][1]), int(size[1][1])), "us"
    if columns is not None:
        layout.places, layout.why = TableHints.places(columns), [f"text with columns {columns} as --columns says"]
    elif names is not None and named is None:
        raise RecordingError(
            f"which of its columns {_shown(names)} are t, x, y and polarity is unclear; say it with --columns, "
            "such as --columns t,x,y,p (- for a column that is not needed)"
        )
    elif not layout.places:
        layout.places, why = infer_columns(_values(sample[:_SAMPLE_LINES], layout.separator))
        layout.why = [*(layout.why or ["text of numbers"]), why]


def _shown(names: list[str]) -> str:
    return repr(",".join(names))[:100]


def _is_comment(line: bytes) -> bool:
    return line.startswith((b"#", b"%", b"//"))


def _is_header(text: str) -> bool:
    """Whether a line contains a word that is neither a number nor a polarity."""
    words = re.findall(r"[^\W\d_]{2,}", re.sub(r"(?i)true|false|on|off|pos|neg|[-+.\d]e[-+]?\d+|nan|inf", " ", text))
    single = re.findall(r"(?<![\w.])[a-zA-Z](?![\w.])", text)
    return bool(words) or len(single) > 1 or bool(re.search(r"[xy]@\d", text))


def _separator(line: bytes) -> int:
    return next((ord(c) for c in ";\t," if c.encode() in line), WHITE)


def _split(text: str, separator: int) -> list[str]:
    fields = text.split() if separator == WHITE else text.split(chr(separator))
    return [
        name.strip(" \t\"'()[]{}") if not re.search(r"\w\s*[\[(]", name) else name.strip(" \t\"'") for name in fields
    ]


def _values(lines: list[bytes], separator: int) -> np.ndarray:
    """(K, C) float64: the values of all lines with as many columns as the first."""
    words = {"true": 1.0, "on": 1.0, "t": 1.0, "false": 0.0, "off": 0.0, "f": 0.0}
    rows = []
    for line in lines:
        row = []
        for name in _split(line.decode("utf-8", "replace"), separator):
            text = name.replace(",", ".") if separator != ord(",") else name
            try:
                row.append(words[text.lower()] if text.lower() in words else float(text))
            except ValueError:
                row.append(np.nan)
        rows.append(row)
    rows = [row for row in rows if len(row) == len(rows[0])]
    return np.array(rows, np.float64)


def _evidence(path: str, layout: _Layout) -> TimeEvidence:
    """Evidence on the time unit from the whole file or, if it is large, from pieces spread over it."""
    total = os.path.getsize(path)
    kept = max(_SAMPLE_LINES, _SAMPLE_TIMES * _PIECE_BYTES // total)  # consecutive ones from each piece
    n, finest, times = 0, 9, []
    with open(path, "rb") as file:
        whole = total <= _WHOLE_BYTES
        for table in _tables(file, layout, total, cut=True) if whole else _pieces(file, layout, total):
            n += len(table)
            finest = min(finest, finest_power(table.mantissa, table.exponent))
            times.append(table.mantissa[:kept] * 10.0 ** table.exponent[:kept])
    if not n:
        raise RecordingError("it has no events")
    if not whole:
        n = round(n * total / _WHOLE_BYTES)
    return TimeEvidence.of(np.concatenate(times), n, finest if finest >= -9 else None, whole=finest >= 0)


def _pieces(file: BinaryIO, layout: _Layout, total: int) -> Iterator[_Table]:
    """Events of pieces spread over a large file."""
    for at in np.linspace(layout.start, total - _PIECE_BYTES, _WHOLE_BYTES // _PIECE_BYTES).astype(int).tolist():
        file.seek(at)
        piece = file.read(_PIECE_BYTES)
        begin = 0 if at == layout.start else piece.find(b"\n") + 1
        yield _parse(np.frombuffer(piece[begin : piece.rfind(b"\n") + 1], np.uint8), 0, layout)[0]


def _tables(file: BinaryIO, layout: _Layout, size: int, *, cut: bool = False) -> Iterator[_Table]:
    """The events up to byte `size`, in blocks. `cut`: end silently at a line that is not an event."""
    file.seek(layout.start)
    left = size - layout.start
    rest = b""
    while left > 0 or rest:
        fresh = file.read(min(_BLOCK_BYTES, left)) if left > 0 else b""
        left = left - len(fresh) if fresh else 0
        block = rest + fresh
        end = len(block) if left <= 0 else max(block.rfind(b"\n"), block.rfind(b"\r")) + 1
        text, at, bad = np.frombuffer(block, np.uint8, end), 0, False
        while at < end and not bad:
            table, at, bad = _parse(text, at, layout)
            if len(table):
                yield table
        if bad:
            if not cut:
                _complain(file, layout, block, at, file.tell() - len(block) + at, last=left <= 0)
            return
        rest = block[end:] if left > 0 else b""
        if len(rest) > _LONGEST_LINE:
            raise RecordingError(f"it has a line of more than {_LONGEST_LINE:,} bytes; it is damaged")


def _parse(text: np.ndarray, at: int, layout: _Layout) -> tuple[_Table, int, bool]:
    room = max(1, (len(text) - at) // 8 + 1)
    columns = (np.empty(room, dtype) for dtype in (np.int64, np.int32, np.int16, np.int16, np.int8))
    table = _Table(*columns)
    parts = (table.mantissa, table.exponent, table.x, table.y, table.polarity)
    n, at, bad = read_lines(text, at, layout.separator, layout.columns, *parts)
    return _Table(*(part[:n] for part in parts)), at, bad


def _complain(file: BinaryIO, layout: _Layout, block: bytes, at: int, position: int, last: bool) -> None:
    line = re.split(rb"[\r\n]", block[at : at + _LONGEST_LINE], maxsplit=1)
    if len(line) == 1 and last:
        raise CutShort("its last line is cut short")
    file.seek(0)
    number = 1
    while position > 0:
        part = file.read(min(_BLOCK_BYTES, position))
        number += part.count(b"\n")
        position -= len(part)
        if not part:
            break
    shown = line[0].decode("ascii", "replace").strip()[:80]
    if layout.separator == WHITE or line[0].count(layout.separator) >= max(layout.places.values()):
        values = _values([line[0]], layout.separator)[0]
        pixels = [values[place] for name, place in layout.places.items() if name in "xy" and place < len(values)]
        if len(pixels) == 2 and np.all(np.isfinite(pixels)) and np.any(np.array(pixels) % 1):
            raise RecordingError(f"its line {number} has a pixel that is no whole number: {shown!r}; round them first")
    raise RecordingError(f"its line {number} is not an event of four numbers: {shown!r}")


def _events(path: str, layout: _Layout, unit: str) -> Iterator[np.ndarray]:
    with open(path, "rb") as file:
        for table in _tables(file, layout, os.path.getsize(path)):
            yield make_events(table.times_us(unit), table.x, table.y, table.polarity)


def encode(path: str, width: int, height: int, lens_toml: str | None) -> Sink:
    """Write a text file of events, without triggers and calibration."""
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
