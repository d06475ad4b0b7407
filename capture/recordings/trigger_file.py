"""Trigger files: tables of times and edges, as written by loggers and microcontrollers.

One edge per line, with columns separated by commas, semicolons, tabs or spaces. A header may name the columns, in any
order: the time with its unit (`t_us`, `time [ms]`, `timestamp_ns`), the edge, and the channel; without a header, this
is their order. If neither header nor option gives the unit, it is inferred from the lens's frequency.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np

from ..calibration import SweepSettings
from ..errors import RecordingError, one_line
from ..events import FALLING, RISING, TRIGGER_DTYPE, make_triggers
from ..sources.chunks import NO_EVENTS, Chunk

UNITS_US = {"s": 1_000_000, "ms": 1_000, "us": 1, "ns": Decimal("0.001")}
"""Microseconds in each unit of time."""

MOST_TRIGGERS = 4_000_000
MOST_CHARACTERS = 1_000
PERIODS = 0.4, 2.2
"""Plausible spacing of edges of one kind, in periods: once a period, or twice with a pulse at each turning point."""

_NAMES = {
    "time": ("t", "ts", "time", "times", "timestamp", "timestamps"),
    "edge": ("edge", "edges", "p", "pol", "polarity", "type", "kind", "level", "state", "value", "signal", "rising"),
    "channel": ("channel", "ch", "source", "input", "id"),
}
_UNIT_NAMES = {"s": "s", "sec": "s", "seconds": "s", "ms": "ms", "us": "us", "µs": "us", "μs": "us", "ns": "ns"}
_RISING = {"rising", "rise", "up", "r", "high", "on", "true", "+", "+1", "positive"}
_FALLING = {"falling", "fall", "down", "f", "low", "off", "false", "-", "-1", "negative"}
_LARGEST_US = 1 << 62


@dataclass(frozen=True)
class TriggerFile:
    """The triggers of a file, sorted by time, and notes on how they were read."""

    path: Path
    triggers: np.ndarray  # (M,) TRIGGER_DTYPE
    notes: tuple[str, ...]

    def merge(self, chunks: Iterator[Chunk]) -> Iterator[Chunk]:
        """Replace the triggers of chunks by these, each before the events that follow it.

        Raises:
            RecordingError: no trigger lies between the first and the last event.
        """
        times = self.triggers["timestamp"]
        at, first_us, last_us = 0, None, None
        for chunk in chunks:
            if not len(chunk.events):
                continue
            newest_us = int(chunk.events["timestamp"].max())
            if first_us is None or last_us is None:
                first_us, last_us = int(chunk.events["timestamp"][0]), newest_us
            last_us = max(last_us, newest_us)
            end = max(at, int(np.searchsorted(times, newest_us, "right")))
            yield Chunk(chunk.events, self.triggers[at:end], chunk.complete_us)
            at = end
        if first_us is not None and last_us is not None and not np.any((times >= first_us) & (times <= last_us)):
            raise RecordingError(
                f"{self.path}: none of its {len(times):,} triggers, from {times[0]} to {times[-1]} µs, lies between "
                f"the first and the last event, at {first_us} and {last_us} µs; both need the same clock and unit"
            )
        yield Chunk(NO_EVENTS, self.triggers[at:])


def read_trigger_file(path: str | Path, sweep: SweepSettings | None, unit: str | None = None) -> TriggerFile:
    """Read all triggers of a file.

    Args:
        path: the file.
        sweep: of the calibration; its frequency determines the time unit if nothing else does.
        unit: "s", "ms", "us" or "ns", for a file without a unit; one in the header has priority.

    Raises:
        RecordingError: it cannot be read, is not a table of triggers, or its time unit is unknown.
    """
    path = Path(path)
    times: list[Decimal] = []
    words: list[str] = []
    channels: list[int] = []
    layout: _Layout | None = None
    for number, line in _lines(path):
        if layout is None:
            layout, is_header = _layout(path, line)
            if is_header:
                continue
        fields = layout.split(line)
        try:
            times.append(_number(fields[layout.columns["time"]]))
            words.append(fields[layout.columns["edge"]].lower() if "edge" in layout.columns else "rising")
            channels.append(int(fields[layout.columns["channel"]]) if "channel" in layout.columns else 0)
        except (ValueError, IndexError, InvalidOperation):
            raise RecordingError(
                f"{path}: line {number} is no trigger: {one_line(line)[:80]!r}; expected a time"
                f"{' and an edge' if 'edge' in layout.columns else ''}"
            ) from None
        if not 0 <= channels[-1] <= 255:
            raise RecordingError(f"{path}: line {number} has channel {channels[-1]}; channels are 0 to 255")
        if len(times) > MOST_TRIGGERS:
            raise RecordingError(f"{path}: has more than {MOST_TRIGGERS:,} lines; is it a file of triggers?")
    if layout is None or not times:
        raise RecordingError(f"{path}: has no trigger")
    edges = _edges(path, words)
    unit, notes = _unit(path, times, edges, layout.unit or unit, sweep)
    factor = UNITS_US[unit]
    if max(map(abs, times)) * factor > _LARGEST_US:
        raise RecordingError(f"{path}: has times beyond any clock's, {max(times, key=abs)} {unit}")
    us = np.array([int((time * factor).to_integral_value()) for time in times], np.int64)
    backwards = int(np.count_nonzero(us[1:] < us[:-1]))
    if backwards:
        notes += (f"{path.name}: {backwards:,} triggers were older than those before them; they were sorted",)
    if "edge" not in layout.columns:
        notes += (f"{path.name}: has no column for the edge; all are taken as rising",)
    triggers = make_triggers(us, edges, np.array(channels, np.uint8))
    return TriggerFile(path, triggers[np.argsort(us, kind="stable")].astype(TRIGGER_DTYPE), notes)


@dataclass(frozen=True)
class _Layout:
    separator: str | None  # None: any white space
    columns: dict[str, int]
    unit: str | None

    def split(self, line: str) -> list[str]:
        return [field.strip().strip("\"'").strip() for field in line.split(self.separator)]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Numbered lines, without empty lines and comments."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            number = 0
            while line := file.readline(MOST_CHARACTERS):
                number += 1
                if len(line) == MOST_CHARACTERS:
                    raise RecordingError(f"{path}: line {number} is too long; is it a table of triggers?")
                if line.strip() and not line.lstrip().startswith(("#", "%")):
                    yield number, line.strip()
    except UnicodeDecodeError:
        raise RecordingError(f"{path}: is not text; --triggers takes a table of times and edges") from None
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error


def _layout(path: Path, line: str) -> tuple[_Layout, bool]:
    """The layout of the lines, inferred from the first one, and whether that is a header."""
    separator = next((c for c in ",;\t" if c in line), None)
    fields = _Layout(separator, {}, None).split(line)
    if _is_number(fields[0]):
        return _Layout(separator, dict(zip(("time", "edge", "channel"), range(len(fields)), strict=False)), None), False
    if separator is None:  # a unit may be separated from its name
        fields = re.sub(r"\s+([\[(])", r"\1", line).split()
    columns: dict[str, int] = {}
    unit = None
    for i, field in enumerate(fields):
        name, its_unit = _name_and_unit(field)
        what = next((key for key, names in _NAMES.items() if name in names), None)
        if what is not None and what not in columns:
            columns[what] = i
            unit = its_unit if what == "time" else unit
    if "time" not in columns:
        raise RecordingError(
            f"{path}: its header {one_line(line)[:80]!r} names no time; expected columns such as t_us, edge and channel"
        )
    return _Layout(separator, columns, unit), True


def _name_and_unit(field: str) -> tuple[str, str | None]:
    """`timestamp_us`, `time [us]` or `t(us)` as name and unit."""
    match = re.fullmatch(r"(.+?)[\s_.]*[\[(]?([a-zµμ]+)[\])]?", field.lower())
    if match and match[2] in _UNIT_NAMES and match[1].rstrip("_ ") in _NAMES["time"]:
        return match[1].rstrip("_ "), _UNIT_NAMES[match[2]]
    return field.lower(), None


def _is_number(text: str) -> bool:
    try:
        _number(text)
    except (ValueError, InvalidOperation):
        return False
    return True


def _number(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite() or abs(number.adjusted()) > 40:
        raise ValueError(text)
    return number


def _edges(path: Path, words: list[str]) -> np.ndarray:
    """(M,) RISING or FALLING."""
    found = set(words)
    meaning = dict.fromkeys(found & _RISING, RISING) | dict.fromkeys(found & _FALLING, FALLING)
    numbers = {word: _number(word) for word in found - set(meaning) if _is_number(word)}
    values = set(numbers.values())
    # Codes of this project's recordings, or levels after the edge.
    known = {1: RISING, 2: FALLING} if 2 in values else {1: RISING, 0: FALLING, -1: FALLING}
    if not (2 in values and values & {0, -1}):
        meaning |= {word: known[int(value)] for word, value in numbers.items() if value in known}
    if found - set(meaning):
        unknown = ", ".join(repr(one_line(word)[:20]) for word in sorted(found - set(meaning))[:3])
        raise RecordingError(
            f"{path}: has edges {unknown}; expected rising and falling, 1 and 0, 1 and -1, or 1 and 2 (2 is falling)"
        )
    return np.array([meaning[word] for word in words], np.uint8)


def _unit(
    path: Path, times: list[Decimal], edges: np.ndarray, said: str | None, sweep: SweepSettings | None
) -> tuple[str, tuple[str, ...]]:
    """The time unit, and a note if it was inferred."""
    if said is not None:
        if said not in UNITS_US:
            raise RecordingError(f"{path}: {said!r} is no unit of time; use one of {', '.join(UNITS_US)}")
        return said, ()
    if sweep is not None and sweep.sync == "trigger":
        kind = RISING if np.count_nonzero(edges == RISING) >= len(edges) / 2 else FALLING
        mine = np.sort(np.array([float(t) for t, edge in zip(times, edges, strict=True) if edge == kind]))
        if len(mine) > 1:
            spacing = float(np.median(np.diff(mine)))
            for unit, factor in UNITS_US.items():
                periods = spacing * float(factor) * 1e-6 * sweep.frequency_hz
                if PERIODS[0] <= periods <= PERIODS[1]:
                    note = f"{path.name}: its times are taken as {unit}, from the lens's {sweep.frequency_hz:g} Hz"
                    return unit, (note,)
    raise RecordingError(
        f"{path}: does not say in what unit its times are; name the column t_s, t_ms, t_us or t_ns in a header, or "
        "give --time-unit"
    )
