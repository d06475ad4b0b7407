"""Decoder of ECF, the event compression of Prophesee's HDF5 files (filter 0x8ECF), chunk by chunk.

Format of Prophesee's codec (github.com/prophesee-ai/hdf5_ecf), little-endian: a 32-bit header, with two bits for the
pixel encoding below the number of events; times as runs of one byte each, 4 bits of step and 4 of length; then pixels
in one of three encodings: packed (24 bits per event); y as runs, then x and polarity packed (12 bits); or y as runs,
then x with a mask of the next five columns, then polarity as runs.
"""

from typing import Any

import numpy as np
from numba import njit

from ..errors import RecordingError

FILTER = 0x8ECF
ECF_DTYPE = np.dtype([("x", "<u2"), ("y", "<u2"), ("p", "<i2"), ("t", "<i8")], align=True)
_HEADER_BYTES = 12


@njit(nogil=True, cache=True)
def _u16(data: np.ndarray, at: int) -> Any:
    return np.int64(data[at]) | np.int64(data[at + 1]) << 8


@njit(nogil=True, cache=True)
def _u32(data: np.ndarray, at: int) -> Any:
    return _u16(data, at) | _u16(data, at + 2) << 16


@njit(nogil=True, cache=True)
def decode_chunk(
    data: np.ndarray,  # (B,) uint8
    t: np.ndarray,  # (N,) int64, N the number of events in the header
    x: np.ndarray,  # (N,) uint16
    y: np.ndarray,  # (N,) uint16
    p: np.ndarray,  # (N,) int16
) -> bool:
    """Decode one chunk; False if it ends too early or has more events than its header says."""
    n, end = len(t), len(data)
    whole, packed = data[0] >> 1 & 1, data[0] & 1
    at = 4
    now = 0
    for k in range(8):
        now |= np.int64(data[at + k]) << (8 * k)
    at += 8

    i = 0
    while i < n:
        if at >= end:
            return False
        step, run = data[at] >> 4, np.int64(data[at] & 15)
        at += 1
        if step == 15:  # a longer step, four bits at a time, lowest first
            long, place = run, 4
            while at < end and data[at] >> 4 == 15:
                if place < 60:
                    long |= np.int64(data[at] & 15) << place
                place += 4
                at += 1
            now += long
            continue
        if run == 15:
            if at + 2 > end:
                return False
            run = _u16(data, at)
            at += 2
        now += step
        if i + run > n:
            return False
        for _ in range(run):
            t[i] = now
            i += 1

    if whole:
        for first in range(0, n, 4):
            if at + 12 > end:
                return False
            a, b, c = _u32(data, at), _u32(data, at + 4), _u32(data, at + 8)
            at += 12
            words = (a >> 8, (a & 0xFF) | (b >> 16) << 8, (b & 0xFFFF) | (c >> 24) << 16, c & 0xFFFFFF)
            for k in range(min(4, n - first)):
                y[first + k] = words[k] >> 12 & 0x7FF
                x[first + k] = words[k] >> 1 & 0x7FF
                p[first + k] = words[k] & 1
        return True

    i = 0
    while i < n:
        if at + 2 > end:
            return False
        word = _u16(data, at)
        at += 2
        run = word & 31
        if run == 31:
            if at + 2 > end:
                return False
            run = _u16(data, at)
            at += 2
        if i + run > n:
            return False
        for _ in range(run):
            y[i] = word >> 5
            i += 1

    if packed:
        for first in range(0, n, 4):
            if at + 6 > end:
                return False
            a, b, c = _u16(data, at), _u16(data, at + 2), _u16(data, at + 4)
            at += 6
            words = (a >> 4, (a & 15) | (b >> 8) << 4, (b & 0xFF) | (c >> 12) << 8, c & 0xFFF)
            for k in range(min(4, n - first)):
                x[first + k] = words[k] >> 1
                p[first + k] = words[k] & 1
        return True

    i = 0
    while i < n:
        if at + 2 > end:
            return False
        word = _u16(data, at)
        at += 2
        x[i] = word >> 5
        i += 1
        for k in range(5):
            if word >> (4 - k) & 1 and i < n:
                x[i] = (word >> 5) + k + 1
                i += 1
    i = 0
    while i < n:
        if at >= end:
            return False
        sign, run = data[at] >> 7, np.int64(data[at] & 127)
        at += 1
        if run == 127:
            if at + 2 > end:
                return False
            run = _u16(data, at)
            at += 2
        if i + run > n:
            return False
        for _ in range(run):
            p[i] = sign
            i += 1
    return True


def decode_plainly(data: bytes) -> list[tuple[int, int, int, int]]:
    """The readable reference of `decode_chunk`: (x, y, p, t) of each event of an undamaged chunk."""
    header = int.from_bytes(data[:4], "little")
    n, rest = header >> 2, iter(data[12:])
    now, ts = int.from_bytes(data[4:12], "little"), []

    def word(size: int) -> int:
        return int.from_bytes(bytes(next(rest) for _ in range(size)), "little")

    def runs(size: int, bits: int) -> list[int]:
        values: list[int] = []
        while len(values) < n:
            value, run = divmod(word(size), 1 << bits)
            values += [value] * (word(2) if run == (1 << bits) - 1 else run)
        return values

    def packed(size: int) -> list[int]:
        """Numbers of 6 · size bits, four in three words; each number's low bits are in the shared word."""
        values: list[int] = []
        small, low = 6 * size, 2 * size
        while len(values) < n:
            bits = 0
            for _ in range(3):
                bits = bits << 8 * size | word(size)
            a = bits >> 18 * size
            b = (bits >> 16 * size & ((1 << low) - 1)) | (bits >> 12 * size & ((1 << 2 * low) - 1)) << low
            c = (bits >> 8 * size & ((1 << 2 * low) - 1)) | (bits >> small & ((1 << low) - 1)) << 2 * low
            values += [a, b, c, bits & ((1 << small) - 1)]
        return values[:n]

    step_bits = place = 0
    while len(ts) < n:
        step, run = divmod(word(1), 16)
        if step == 15:
            step_bits |= run << place
            place += 4
            continue
        now += step_bits + step
        step_bits = place = 0
        ts += [now] * (word(2) if run == 15 else run)
    if header & 2:
        words = packed(4)
        return [(w >> 1 & 0x7FF, w >> 12 & 0x7FF, w & 1, t) for w, t in zip(words, ts, strict=True)]
    ys = runs(2, 5)
    if header & 1:
        return [(w >> 1, y, w & 1, t) for w, y, t in zip(packed(2), ys, ts, strict=True)]
    xs: list[int] = []
    while len(xs) < n:
        x, mask = divmod(word(2), 32)
        xs += [x, *(x + k + 1 for k in range(5) if mask >> (4 - k) & 1)]
    return list(zip(xs[:n], ys, runs(1, 7), ts, strict=True))


class EcfTable:
    """A dataset of Prophesee's events, read by rows without their HDF5 filter."""

    dtype = ECF_DTYPE
    ndim = 1

    def __init__(self, dataset: Any) -> None:
        self._dataset = dataset
        self._chunk_rows = dataset.chunks[0]
        self._last: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return len(self._dataset)

    @property
    def shape(self) -> tuple[int]:
        return (len(self),)

    def __getitem__(self, rows: slice) -> np.ndarray:
        out = np.empty(rows.stop - rows.start, ECF_DTYPE)
        at = rows.start
        while at < rows.stop:
            number = at // self._chunk_rows
            chunk = self._chunk(number)
            begin = at - number * self._chunk_rows
            part = chunk[begin : begin + rows.stop - at]
            if not len(part):
                raise RecordingError(f"its events end at {at:,} of {len(self):,}: it is damaged; copy it again")
            out[at - rows.start : at - rows.start + len(part)] = part
            at += len(part)
        return out

    def _chunk(self, number: int) -> np.ndarray:
        if self._last is None or self._last[0] != number:
            mask, content = self._dataset.id.read_direct_chunk((number * self._chunk_rows,))
            if mask:  # this chunk is not compressed
                raw: Any = np.frombuffer(content, self._dataset.dtype)
                events = np.empty(len(raw), ECF_DTYPE)
                for name in "xypt":
                    events[name] = raw[name]
            else:
                events = decode_ecf(content, self._chunk_rows)
            self._last = number, events
        return self._last[1]


def decode_ecf(content: bytes, most: int) -> np.ndarray:
    """(N,) ECF_DTYPE: the events of one chunk, at most `most`.

    Raises:
        RecordingError: it is damaged.
    """
    damaged = RecordingError("its ECF compression is damaged; copy the file again")
    if len(content) < _HEADER_BYTES:
        raise damaged
    n = int.from_bytes(content[:4], "little") >> 2
    if n > most:
        raise damaged
    events = np.empty(n, ECF_DTYPE)
    columns = [np.empty(n, dtype) for dtype in (np.int64, np.uint16, np.uint16, np.int16)]
    if not decode_chunk(np.frombuffer(content, np.uint8), *columns):
        raise damaged
    for name, column in zip("txyp", columns, strict=True):
        events[name] = column
    return events


decode_ecf(bytes(_HEADER_BYTES), 0)  # compile on import, outside the worker's time limit per step
