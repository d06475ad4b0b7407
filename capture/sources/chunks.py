"""What a decoder promises: a header, then raw chunks; and what an encoder takes.

A decoder is a function `decode(...) -> Source`, of a file's path and size or a camera's address, and an encoder a
function `encode(path, ...) -> Sink`. Both run in a worker process, know nothing of how chunks travel, and check
nothing: the sanitizer does that in the owner's process.
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
    """What is known of a recording before its first event. Times and counts are None where finding out is not cheap.

    `why` says how the file was recognised, in words. No event of a sound file is older than `earliest_us`, which is
    below 0 only where times count from a trigger.
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
    takes_hints: bool = True  # False: its layout fixes columns and unit, though its format does not


@dataclass(frozen=True)
class Chunk:
    """Events and triggers as the source has them: unchecked, in its own order, valid until the next chunk is asked for.

    Promise: all triggers before an event are in its chunk or an earlier one. `complete_us` is for live sources: no
    event or trigger before that sensor time will follow; None promises this for the chunk's last event only.
    """

    events: np.ndarray  # (N,) EVENT_DTYPE
    triggers: np.ndarray  # (M,) TRIGGER_DTYPE
    complete_us: int | None = None


@dataclass
class Losses:
    """What a decoder dropped and noticed so far, which it adds to as it reads.

    `events` and `triggers` have no valid time, so that nothing can be made of them; `notes` say why, a sentence each.
    """

    events: int = 0
    triggers: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Source:
    """An opened recording, camera or network stream. Chunks wait at most `flush_s` to be sent together."""

    header: Header
    chunks: Iterator[Chunk]
    flush_s: float = 0.05
    losses: Losses = field(default_factory=Losses)


class Sink(Protocol):
    """A file being written. `close` finishes it; a sink that is not closed leaves a file to be thrown away."""

    def write(self, events: np.ndarray, triggers: np.ndarray) -> None: ...

    def close(self) -> None: ...


class LiveSink(Sink, Protocol):
    """A file that is being written while it may be cut off: it can be read up to the last `flush`."""

    def flush(self) -> None: ...


class CutShort(Exception):
    """Raised by a decoder when the data ends too early, and what came before is whole; the text says where."""


NO_EVENTS = np.empty(0, EVENT_DTYPE)
NO_TRIGGERS = np.empty(0, TRIGGER_DTYPE)


def interleave(
    events: Iterator[np.ndarray],  # (N,) EVENT_DTYPE each
    triggers: Iterator[tuple[int, np.ndarray]],  # newest time of the block, ignored kinds included; (M,) TRIGGER_DTYPE
) -> Iterator[Chunk]:
    """Merge a file's two separate streams so that a `Chunk`'s promise holds.

    Triggers are read ahead until the last `READ_AHEAD_BLOCKS` blocks all lie beyond the newest event, so that one
    damaged trigger time cannot hide those after it.
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
