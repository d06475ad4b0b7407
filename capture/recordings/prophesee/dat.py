"""Prophesee DAT files: 8-byte events, each a 32-bit time and a word with x, y and polarity.

https://docs.prophesee.ai/stable/data/file_formats/dat.html; files before version 2 pack the pixel into 17 bits.
"""

from collections.abc import Iterator

import numpy as np
from numba import njit, types

from ...errors import RecordingError
from ...events import EVENT_DTYPE, make_events
from ...sources.chunks import NO_TRIGGERS, Chunk, CutShort, Header, Losses, Sink, Source
from ..hints import NO_SIZE
from .clock import CLOCK_32, new_state
from .clock32 import extend_times
from .header import TextHeader, read_header

_BLOCK_EVENTS = 1 << 16
_AHEAD = 16
_EVENTS = {0: "Event2d", 12: "EventCd"}
_TRIGGERS = 14
_LONGEST_PAUSE_US = CLOCK_32.period // 2
_EVENT_BYTES = 8


def decode(path: str, size: tuple[int, int] | None) -> Source:
    """Open a Prophesee DAT file of events."""
    header = read_header(path)
    with open(path, "rb") as file:
        file.seek(header.data_at)
        kind = file.read(2)
    if len(kind) < 2:
        raise RecordingError("it has no events: it ends with its header")
    if kind[0] == _TRIGGERS:
        raise RecordingError("it holds external triggers alone; give the file with the events")
    if kind[0] not in _EVENTS or kind[1] != _EVENT_BYTES:
        raise RecordingError(
            f"its events are of type {kind[0]} with {kind[1]} bytes; types 0 and 12 with 8 bytes can be read"
        )
    sides = header.whole_number("width"), header.whole_number("height")
    found = size if None in sides else sides
    if found is None:
        raise RecordingError(NO_SIZE)
    losses = Losses()
    return Source(Header("DAT", *found), _chunks(path, header, losses), losses=losses)  # pyright: ignore[reportArgumentType]


def _chunks(path: str, header: TextHeader, losses: Losses) -> Iterator[Chunk]:
    version = header.whole_number("version") or 0
    state, limits = new_state(), CLOCK_32.limits(header.whole_number("t0") or 0)
    out, times = np.empty(_BLOCK_EVENTS, EVENT_DTYPE), np.empty(_BLOCK_EVENTS, np.int64)
    with open(path, "rb") as file:
        file.seek(header.data_at + 2)
        content = b""
        ended = False
        while not ended:
            more = file.read((_BLOCK_EVENTS + _AHEAD) * _EVENT_BYTES - len(content))
            content += more
            ended = not more or len(content) < (_BLOCK_EVENTS + _AHEAD) * _EVENT_BYTES
            table = np.frombuffer(content[: len(content) // _EVENT_BYTES * _EVENT_BYTES], "<u4").reshape(-1, 2)
            n = min(len(table), _BLOCK_EVENTS)
            ended = ended and n == len(table)
            dropped = extend_times(table[:, 0], n, times, state, limits)
            events = out[:n]
            unpack_events(table[:n, 1], times[:n], events.view(np.int64), version)
            yield Chunk(events[events["timestamp"] >= 0] if dropped else events, NO_TRIGGERS)
            content = content[n * _EVENT_BYTES :]
    stale = int(state["stale"][0])
    losses.events += stale
    if stale:
        losses.notes.append(
            f"{stale:,} {'event was' if stale == 1 else 'events were'} dropped: their times are out of line"
        )
    if content:
        raise CutShort(f"its last {len(content)} bytes are a part of an event: it is cut short")


@njit(
    types.void(
        types.Array(types.uint32, 1, "A", readonly=True),
        types.Array(types.int64, 1, "C"),
        types.Array(types.int64, 1, "C"),
        types.int64,
    ),
    nogil=True,
    cache=True,
)
def unpack_events(
    words: np.ndarray,  # (N,) uint32
    times: np.ndarray,  # (N,) int64, µs
    out: np.ndarray,  # (2 · N,) int64: memory of N events
    version: int,
) -> None:
    """Unpack words with 14 bits each of x and y and 4 of polarity or, before version 2, with 9, 8 and 1."""
    for i in range(len(words)):
        word = np.int64(words[i])
        out[2 * i] = times[i]
        if version < 2:
            out[2 * i + 1] = word & 0x1FF | (word & 0x1FE00) << 7 | (word & 0x20000) << 15
        else:
            out[2 * i + 1] = word & 0x3FFF | (word & 0xFFFC000) << 2 | (word & 0x10000000) << 4


def unpack_plainly(words: np.ndarray, times: np.ndarray, version: int) -> np.ndarray:
    """The readable reference of `unpack_events`."""
    x_bits, y_bits, at = (9, 8, 17) if version < 2 else (14, 14, 28)
    x = words & (1 << x_bits) - 1
    y = words >> x_bits & (1 << y_bits) - 1
    return make_events(times, x.astype(np.int16), y.astype(np.int16), words >> at & 1)


def encode(path: str, width: int, height: int, lens_toml: str | None) -> Sink:
    """Write a Prophesee DAT file, version 2; the first timestamp goes into its header, as `T0`."""
    return _DatSink(path, width, height)


class _DatSink:
    def __init__(self, path: str, width: int, height: int) -> None:
        self._file = open(path, "wb")  # noqa: SIM115
        self._size = width, height
        self._start_us: int | None = None
        self._last_us = 0

    def write(self, events: np.ndarray, triggers: np.ndarray) -> None:
        if not len(events):
            return
        times = events["timestamp"]
        if self._start_us is None:
            self._start_us = self._last_us = int(times[0])
            self._write_header(self._start_us)
        pause = int(np.diff(times, prepend=self._last_us).max())
        if pause >= _LONGEST_PAUSE_US:
            raise RecordingError(
                f"its clock cannot count a pause of {pause / 6e7:.0f} minutes between events; write .h5 or .aedat4"
            )
        self._last_us = int(times[-1])
        table = np.empty((len(events), 2), "<u4")
        table[:, 0] = (times - self._start_us) & 0xFFFFFFFF
        x, y, p = (events[name].astype(np.uint32) for name in ("x", "y", "polarity"))
        table[:, 1] = x | y << 14 | p << 28
        self._file.write(table.data)

    def close(self) -> None:
        if self._start_us is None:
            self._write_header(0)
        self._file.close()

    def _write_header(self, start_us: int) -> None:
        width, height = self._size
        text = f"% Data file containing CD events.\n% Version 2\n% Width {width}\n% Height {height}\n% T0 {start_us}\n"
        self._file.write(text.encode() + bytes([12, _EVENT_BYTES]))
