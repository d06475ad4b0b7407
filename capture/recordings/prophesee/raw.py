"""Reader of Prophesee RAW files: interprets the header and decodes the words block by block."""

import io
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ...errors import RecordingError, one_line
from ...events import EVENT_DTYPE, TRIGGER_DTYPE
from ...sources.chunks import Chunk, CutShort, Header, Losses, Source
from ..hints import NO_SIZE
from . import evt2, evt3, evt21
from .clock import EVT2_CLOCK, EVT3_CLOCK, LOOKAHEAD_WORDS, Clock, accept_fall, new_state
from .header import TextHeader, read_header

_BLOCK_WORDS = 1 << 16
_BLOCK_EVENTS = 1 << 16
_MOST_DISORDER_US = 100_000
_JUST_STARTED_US = 100_000
_ORDER_BYTES = 1 << 20
_VERSIONS = {"2.0": "EVT2", "2.1": "EVT2.1", "3.0": "EVT3", "EVT2": "EVT2", "EVT21": "EVT2.1", "EVT3": "EVT3"}


@dataclass(frozen=True)
class _Encoding:
    """How a file's words are decoded; a word consists of `halves` items of `dtype`."""

    name: str
    dtype: str
    halves: int
    clock: Clock
    decode: Callable[..., tuple[int, int, int]]


_PLAIN_ENCODINGS = {
    "EVT2": _Encoding("EVT2", "<u4", 1, EVT2_CLOCK, evt2.decode_words),
    "EVT3": _Encoding("EVT3", "<u2", 1, EVT3_CLOCK, evt3.decode_words),
}
"""Encodings with a fixed byte order."""


def decode(path: str, size: tuple[int, int] | None) -> Source:
    """Open a Prophesee RAW file; triggers of all channels are read."""
    header = read_header(path)
    encoding = _encoding(path, header)
    found = _size(header) or size
    if found is None:
        raise RecordingError(NO_SIZE)
    losses = Losses()
    start_us = header.whole_number("t0") or 0  # start time, stored by writers of absolute times
    n_bytes = max(os.path.getsize(path) - header.data_at, 0)
    reading = _Reading(partial(_open_words, path, header.data_at), n_bytes, header.data_at, encoding, start_us, losses)
    return Source(Header(encoding.name, *found), reading.chunks(), losses=losses)


def decode_packets(name: str, packets: Iterator[bytes], n_bytes: int, losses: Losses) -> Iterator[Chunk]:
    """Decode a camera's words from packets, as in ROS bags; times are the sensor's.

    Args:
        name: "EVT2" or "EVT3".
        packets: bytes in order; a packet may end in the middle of a word.
        n_bytes: approximate total number of bytes.
        losses: counts dropped events.

    Raises:
        RecordingError, CutShort: as for files, during iteration.
    """
    return _Reading(lambda: _Packets(packets), n_bytes, 0, _PLAIN_ENCODINGS[name], 0, losses).chunks()


def _open_words(path: str, data_at: int) -> io.RawIOBase:
    file = open(path, "rb", buffering=0)  # noqa: SIM115
    file.seek(data_at)
    return file


class _Packets(io.RawIOBase):
    """Packets, concatenated, as a file."""

    def __init__(self, packets: Iterator[bytes]) -> None:
        super().__init__()
        self._packets = packets
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not len(self._rest):
            packet = next(self._packets, None)
            if packet is None:
                return 0
            self._rest = memoryview(packet)
        n = min(len(buffer), len(self._rest))
        buffer[:n] = self._rest[:n]
        self._rest = self._rest[n:]
        return n


def _encoding(path: str, header: TextHeader) -> _Encoding:
    """The encoding named in the header by `format`, else `evt`, else the camera's plugin."""
    stated, _, options = header.values.get("format", "").partition(";")
    stated = stated or header.values.get("evt", "")
    if not stated and "gen3" in header.values.get("plugin_name", ""):
        stated = "2.0"
    name = _VERSIONS.get(stated.strip())
    if name in _PLAIN_ENCODINGS:
        return _PLAIN_ENCODINGS[name]
    if name == "EVT2.1":
        claimed = re.search(r"endianness=(\w+)", options)
        with open(path, "rb") as file:
            file.seek(header.data_at)
            content = file.read(_ORDER_BYTES)
        order = evt21.find_order(content, claimed[1] if claimed else header.values.get("endianness"))
        dtype = ">u4" if order == "big" else "<u4"
        return _Encoding(name, dtype, 2, EVT2_CLOCK, partial(evt21.decode_words, upper=int(order == "little")))
    if stated:
        raise RecordingError(
            f"it is encoded as {one_line(stated)!r}; EVT2, EVT2.1 and EVT3 can be read, so convert it to one of them"
        )
    raise RecordingError(
        "its header does not say how its events are encoded; add a line '% evt 2.0', '% evt 2.1' or '% evt 3.0' to it"
    )


def _size(header: TextHeader) -> tuple[int, int] | None:
    """The sensor size in the header: `geometry`, else the options of `format`."""
    geometry = header.values.get("geometry")
    if geometry is not None:
        found = re.fullmatch(r"(\d{1,6})\s*x\s*(\d{1,6})", geometry)
        if found is None:
            raise RecordingError(f"its header says geometry {one_line(geometry)!r}, not WIDTHxHEIGHT; it is damaged")
        return int(found[1]), int(found[2])
    sides = (re.search(rf";\s*{side}=(\d{{1,6}})\b", header.values.get("format", "")) for side in ("width", "height"))
    width, height = sides
    return (int(width[1]), int(height[1])) if width and height else None


class _Reading:
    """One pass over a file's words, with the state of its clock and counts of dropped events.

    `open_words` opens the words, `n_bytes` is their length in bytes, and `data_at` their offset in the file.
    """

    def __init__(
        self,
        open_words: Callable[[], io.RawIOBase],
        n_bytes: int,
        data_at: int,
        encoding: _Encoding,
        start_us: int,
        losses: Losses,
    ) -> None:
        self._open_words = open_words
        self._n_bytes = n_bytes
        self._data_at = data_at
        self._encoding = encoding
        self._start_us = start_us
        self._losses = losses
        self._state = new_state()
        self._leftover = 0
        self._word_bytes = np.dtype(encoding.dtype).itemsize * encoding.halves

    def chunks(self) -> Iterator[Chunk]:
        """Decoded blocks.

        Raises:
            RecordingError: the clock falls back permanently, or the data does not match the header.
            CutShort: the file ends in the middle of a word.
        """
        encoding, state = self._encoding, self._state
        out = np.empty(_BLOCK_EVENTS, EVENT_DTYPE)
        out_words, edges = out.view(np.int64), np.empty(_BLOCK_WORDS, TRIGGER_DTYPE)
        limits = encoding.clock.limits(self._start_us)
        n_words = self._n_bytes // self._word_bytes
        done, delivered, rest = 0, False, 0
        for words, stop, rest in self._blocks():  # noqa: B007
            at = 0
            while at < stop:
                at, n, m = encoding.decode(words, at, stop, out_words, edges, state, limits)
                falls = int(state["fall_to"][0]) >= 0
                if falls and not delivered and self._restarts() and (done + at) * 10 < n_words:
                    self._leftover += n
                    self._losses.triggers += m
                    n = m = 0
                    accept_fall(state)
                    falls = False
                if n or m:
                    delivered = True
                    yield Chunk(out[:n], edges[:m])
                if falls:
                    self._check_fall(done + at)
                    accept_fall(state)
            done += stop
            self._check_kinds(done, final=False)
        self._check_kinds(done, final=True)
        self._sum_up()
        if rest:
            raise CutShort(
                f"its last {rest} {'byte is' if rest == 1 else 'bytes are'} a part of a word: it is cut short"
            )

    def _blocks(self) -> Iterator[tuple[np.ndarray, int, int]]:
        """Blocks of words (the memory is reused), the number to decode, and the bytes left over at the end."""
        ahead = LOOKAHEAD_WORDS * self._word_bytes
        memory = np.empty(_BLOCK_WORDS * self._word_bytes + ahead, np.uint8)
        view = memory.data
        filled, ended = 0, False
        with self._open_words() as file:
            while not ended:
                while filled < len(memory) and not ended:
                    n = file.readinto(view[filled:]) or 0
                    filled, ended = filled + n, n == 0
                whole = filled // self._word_bytes
                stop = whole if ended else whole - LOOKAHEAD_WORDS
                words = memory[: whole * self._word_bytes].view(self._encoding.dtype)
                if self._encoding.dtype[0] == ">":
                    words = words.astype(self._encoding.dtype.replace(">", "<"))
                yield words, stop, filled - whole * self._word_bytes if ended else 0
                kept = filled - stop * self._word_bytes
                memory[:kept] = memory[filled - kept : filled]
                filled = kept

    def _restarts(self) -> bool:
        """Whether a falling clock was restarted, rather than being slightly out of order."""
        high, fall_to = (int(self._state[name][0]) * self._encoding.clock.step_us for name in ("high", "fall_to"))
        return high - fall_to > _MOST_DISORDER_US or fall_to < _JUST_STARTED_US

    def _check_fall(self, at: int) -> None:
        """Raise an error if the clock falls by more than tolerable disorder, which is dropped later."""
        clock = self._encoding.clock
        before = int(self._state["wraps"][0]) * clock.period * clock.step_us + self._start_us
        high, fall_to = (int(self._state[name][0]) * clock.step_us for name in ("high", "fall_to"))
        if high - fall_to > _MOST_DISORDER_US:
            pause_us = clock.period * clock.step_us - (high - fall_to)
            raise RecordingError(
                f"its clock falls back from {before + high} to {before + fall_to} µs at byte "
                f"{self._data_at + at * self._word_bytes}: either it was restarted, or nothing was recorded for "
                f"{pause_us / 1e6:.1f} s, longer than its {clock.bits} bits; split the recording at that byte"
            )

    def _check_kinds(self, done: int, final: bool) -> None:
        """Raise an error if most words are of a kind unknown to the encoding."""
        unknown = int(self._state["unknown"][0])
        if unknown * 2 > done and (final or done >= _BLOCK_WORDS):
            raise RecordingError(
                f"{unknown:,} of {done:,} words are of kinds that {self._encoding.name} does not have; it is damaged, "
                "or its header names another encoding than it has"
            )

    def _sum_up(self) -> None:
        """Report what was dropped.

        Raises:
            RecordingError: no event has a time.
        """
        early, stale, triggers, unknown, paused, longest_us, high = (
            int(self._state[name][0])
            for name in ("early", "stale", "triggers", "unknown", "paused", "longest_us", "high")
        )
        if early and high < 0:
            raise RecordingError(f"its {early:,} events have no time: it has no time words; it is damaged")
        losses = self._losses
        losses.events += early + stale + self._leftover
        losses.triggers += triggers
        for count, what in (
            (self._leftover, "at the beginning came from an earlier run of the camera, whose clock was ahead"),
            (early, "came before the first time or row word"),
            (stale, "came after time words that are outliers"),
        ):
            if count:
                losses.notes.append(f"{count:,} {'event' if count == 1 else 'events'} {what}")
        if unknown:
            losses.notes.append(f"{unknown:,} {'word was' if unknown == 1 else 'words were'} skipped, of unknown kind")
        if paused:
            pauses = "a pause of" if paused == 1 else f"{paused:,} pauses of up to"
            losses.notes.append(
                f"its clock of {self._encoding.clock.bits} bits overflowed during {pauses} {longest_us / 1e6:.1f} s; "
                "if it was restarted instead, later times are too late"
            )
