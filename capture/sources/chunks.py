"""The interface of decoders and encoders: header and raw chunks out, arrays in.

A decoder is a function `decode(...) -> Source` of a file's path and sensor size, or of a camera's address; an encoder
is a function `encode(path, ...) -> Sink`. Both run in a worker process, independent of how chunks are transferred, and
do no checks: the sanitizer does that in the owner's process.
"""

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from ..events import EVENT_DTYPE, TRIGGER_DTYPE, join

READ_AHEAD_BLOCKS = 16


@dataclass(frozen=True)
class Header:
    """Metadata available before the first event. Times and counts are None if they are not cheap to find.

    `why` explains how the file was recognised. `earliest_us` is a lower bound on times in an undamaged file, negative
    only if times count from a trigger.
    """

    format: str
    width: int
    height: int
    first_us: int | None = None
    last_us: int | None = None
    n_events: int | None = None
    lens_toml: str | None = None
    notes: tuple[str, ...] = ()
    why: str = ""
    earliest_us: int = 0
    takes_hints: bool = True  # False: this file's layout defines columns and unit, though its format does not


@dataclass(frozen=True)
class Chunk:
    """Events and triggers as in the source: unchecked, in its order, valid until the next chunk is requested.

    Invariant: all triggers before an event are in its chunk or an earlier one. For live sources, no event or trigger
        before the sensor time `complete_us` will follow; None: none before the chunk's last event.
    """

    events: np.ndarray  # (N,) EVENT_DTYPE
    triggers: np.ndarray  # (M,) TRIGGER_DTYPE
    complete_us: int | None = None


@dataclass
class Losses:
    """Counts of what a decoder dropped, and its notes, updated as it reads.

    `events` and `triggers` were dropped because they have no valid time; `notes` say why, one sentence each.
    """

    events: int = 0
    triggers: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """An open recording, camera or network stream. Chunks wait at most `flush_s` to be sent together."""

    header: Header
    chunks: Iterator[Chunk]
    flush_s: float = 0.05
    losses: Losses = field(default_factory=Losses)


class Sink(Protocol):
    """A file being written. `close` finishes it; without `close` the file is invalid."""

    def write(self, events: np.ndarray, triggers: np.ndarray) -> None: ...

    def close(self) -> None: ...


class LiveSink(Sink, Protocol):
    """A file being written that stays readable up to the last `flush` if the writer crashes."""

    def flush(self) -> None: ...


class CutShort(Exception):
    """Raised by a decoder when the data ends too early but everything before is intact; the text says where."""


NO_EVENTS = np.empty(0, EVENT_DTYPE)
NO_TRIGGERS = np.empty(0, TRIGGER_DTYPE)


def interleave(
    events: Iterator[np.ndarray],  # (N,) EVENT_DTYPE each
    triggers: Iterator[tuple[int, np.ndarray]],  # newest time of the block, ignored kinds too; (M,) TRIGGER_DTYPE
) -> Iterator[Chunk]:
    """Merge a file's separate event and trigger streams so that a `Chunk`'s invariant holds.

    Triggers are read ahead until the last `READ_AHEAD_BLOCKS` blocks are all newer than the newest event, so that one
    damaged trigger time does not delay those after it.
    """
    recent: deque[int] = deque(maxlen=READ_AHEAD_BLOCKS)
    exhausted = False
    for block in events:
        newest = block["timestamp"].max() if len(block) else -1
        due = []
        while not exhausted and (len(recent) < READ_AHEAD_BLOCKS or min(recent) <= newest):
            time_us, found = next(triggers, (None, NO_TRIGGERS))
            if time_us is None:
                exhausted = True
            else:
                recent.append(time_us)
                due.append(found)
        yield Chunk(block, join(due, TRIGGER_DTYPE))
    for _, found in triggers:
        yield Chunk(NO_EVENTS, found)
