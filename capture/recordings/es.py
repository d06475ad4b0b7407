"""Event Stream files, version 2: https://github.com/neuromorphic-paris/event_stream

An event is one byte with the time since the previous event, and two bytes each for x and y (the y axis points up).
Times that do not fit are preceded by bytes with larger time steps. The clock starts at 0.
"""

from collections.abc import Iterator

import numpy as np
from numba import from_dtype, njit, types

from ..errors import RecordingError
from ..events import EVENT_DTYPE
from ..sources.chunks import NO_TRIGGERS, Chunk, CutShort, Header, Sink, Source

_MAGIC = b"Event Stream"
_HEADER_BYTES = 20
_KINDS = {0: "generic", 1: "DVS", 2: "ATIS", 3: "asynchronous and modified ATIS", 4: "color"}
_BLOCK_BYTES = 1 << 18
_EVENT_BYTES = 5
_DVS, _ATIS = 1, 2
_LONGEST_PAUSE_US = 4 * 3_600_000_000

_BYTES = types.Array(types.uint8, 1, "C", readonly=True)
_EVENTS = types.Array(from_dtype(EVENT_DTYPE), 1, "C")


@njit(types.UniTuple(types.int64, 3)(_BYTES, types.int64, types.int64, types.int64, _EVENTS), nogil=True, cache=True)
def decode_bytes(
    content: np.ndarray,  # (N,) uint8, from the first byte of an event on
    kind: int,  # 1 DVS, 2 ATIS
    height: int,
    t: int | np.int64,  # µs, of the previous event
    out: np.ndarray,  # (≥ N / 5,) EVENT_DTYPE
) -> tuple[int, int, int | np.int64]:
    """Decode complete events. Returns the number of bytes used, the number of events, and the time of the last.

    ATIS exposure events are skipped, but advance the time.
    """
    at = n = 0
    while at < len(content):
        first = np.int64(content[at])
        if kind == 1 and first >= 0xFE:
            t += 127 * (first & 1)
            at += 1
            continue
        if kind == 2 and first >= 0xFC:
            t += 63 * (first & 3)
            at += 1
            continue
        if at + 5 > len(content):
            break
        t += first >> kind
        if kind == 1 or first & 1 == 0:
            out[n].timestamp = t
            out[n].x = np.int64(content[at + 1]) | np.int64(content[at + 2] & 0x7F) << 8
            out[n].y = height - 1 - (np.int64(content[at + 3]) | np.int64(content[at + 4] & 0x7F) << 8)
            out[n].polarity = first >> (kind - 1) & 1
            n += 1
        at += 5
    return at, n, t


def decode_plainly(content: bytes, kind: int, height: int, t: int) -> tuple[int, list[tuple[int, int, int, int]], int]:
    """The readable reference of `decode_bytes`."""
    dvs, events, at = kind == _DVS, [], 0
    while at < len(content):
        first = content[at]
        if first >= (0xFE if dvs else 0xFC):
            t += 127 * (first & 0b1) if dvs else 63 * (first & 0b11)
            at += 1
        elif at + _EVENT_BYTES > len(content):
            break
        else:
            t += first >> 1 if dvs else first >> 2
            x, y = (int.from_bytes(content[at + k : at + k + 2], "little") & 0x7FFF for k in (1, 3))
            if dvs:
                events.append((t, x, height - 1 - y, first & 1))
            elif not first & 1:
                events.append((t, x, height - 1 - y, first >> 1 & 1))
            at += _EVENT_BYTES
    return at, events, t


def decode(path: str, size: tuple[int, int] | None) -> Source:
    """Open an Event Stream file of DVS or ATIS events."""
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
    if len(head) < _HEADER_BYTES:
        raise RecordingError("its header is cut short; copy it again")
    version, kind = tuple(head[12:15]), head[15]
    if version[0] != 2:
        raise RecordingError(f"it is of version {'.'.join(map(str, version))} of Event Stream; version 2 can be read")
    if kind not in (_DVS, _ATIS):
        raise RecordingError(f"it holds {_KINDS.get(kind, f'type {kind}')} data, not DVS or ATIS events")
    width, height = np.frombuffer(head[16:], "<u2").tolist()
    return Source(Header("ES", width, height), _chunks(path, kind, height))


def _chunks(path: str, kind: int, height: int) -> Iterator[Chunk]:
    out = np.empty(_BLOCK_BYTES // _EVENT_BYTES + 1, EVENT_DTYPE)
    t, content = np.int64(0), b""
    with open(path, "rb") as file:
        file.seek(_HEADER_BYTES)
        while more := file.read(_BLOCK_BYTES - len(content)):
            content += more
            used, n, t = decode_bytes(np.frombuffer(content, np.uint8), kind, height, t, out)
            yield Chunk(out[:n], NO_TRIGGERS)
            content = content[used:]
    if content:
        raise CutShort(f"its last {len(content)} bytes are a part of an event: it is cut short")


def encode(path: str, width: int, height: int, lens_toml: str | None) -> Sink:
    """Write an Event Stream file; its clock starts at 0 with the first event."""
    return _EsSink(path, width, height)


class _EsSink:
    def __init__(self, path: str, width: int, height: int) -> None:
        self._file = open(path, "wb")  # noqa: SIM115
        self._file.write(_MAGIC + bytes([2, 0, 0, _DVS]) + np.array([width, height], "<u2").tobytes())
        self._height = height
        self._last_us: int | None = None

    def write(self, events: np.ndarray, triggers: np.ndarray) -> None:
        if not len(events):
            return
        times = events["timestamp"]
        steps = np.diff(times, prepend=times[0] if self._last_us is None else self._last_us)
        self._last_us = int(times[-1])
        if steps.max() > _LONGEST_PAUSE_US:
            raise RecordingError(
                f"a pause of {steps.max() / 3.6e9:.0f} hours between events would fill it; write .h5 or .aedat4"
            )
        large, small = np.divmod(steps, 127)
        ends = np.cumsum(large + _EVENT_BYTES)
        content = np.full(int(ends[-1]), 0xFF, np.uint8)
        y = self._height - 1 - events["y"]
        columns = (small << 1 | events["polarity"], events["x"], events["x"] >> 8, y, y >> 8)
        for k, column in enumerate(columns):
            content[ends - _EVENT_BYTES + k] = column & 0xFF
        self._file.write(content.data)

    def close(self) -> None:
        self._file.close()
