"""AEDAT 3.1 files, written by cAER and early DV: little-endian packets, each of one kind of event.

https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-3.1.html
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ..errors import RecordingError, one_line
from ..events import FALLING, RISING, make_events, make_triggers
from ..sources.chunks import CutShort, Header, Losses, Source, interleave
from .jaer import SIZES, size_note

_HEADER_BYTES = 1 << 20
_PACKET = np.dtype(
    [
        *(("kind", "<i2"), ("source", "<i2"), ("event_bytes", "<i4"), ("time_at", "<i4"), ("overflows", "<i4")),
        *(("capacity", "<i4"), ("number", "<i4"), ("valid", "<i4")),
    ]
)
_RECORD = np.dtype([("data", "<u4"), ("time", "<i4")])
_SPECIAL, _POLARITY = 0, 1
_TIME_BITS = 31
_MOST_EVENT_BYTES = 1 << 26  # of a frame

# libcaer's special events: external inputs 0 to 2, and the camera's own generator; a pulse counts as a rising edge.
_KINDS_OF_EDGES = {(2, 0): RISING, (3, 0): FALLING, (4, 0): RISING, (12, 3): RISING, (13, 3): FALLING}
_KINDS_OF_EDGES |= {(6, 1): RISING, (7, 1): FALLING, (8, 1): RISING, (9, 2): RISING, (10, 2): FALLING, (11, 2): RISING}
_EDGES = {kind: (edge, channel) for (kind, channel), edge in _KINDS_OF_EDGES.items()}


def decode(path: str, size: tuple[int, int] | None) -> Source:
    """Open an AEDAT 3.1 file: polarity events, and external inputs of special events."""
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
    end = re.search(rb"^#!END-HEADER\r?\n", head, re.MULTILINE)
    if end is None:
        raise RecordingError("its header does not end; the file is damaged or truncated")
    text = head[: end.start()].decode("utf-8", "replace")
    layout = re.search(r"^#Format: *(.*?)\s*$", text, re.MULTILINE)
    if layout and layout[1].upper() != "RAW":
        raise RecordingError(
            f"its format is {one_line(layout[1])!r}; convert it to AEDAT4 with DV, or record it as RAW"
        )
    camera = re.search(r"^#Source \d+: *(\S+)", text, re.MULTILINE)
    name = camera[1] if camera else ""
    known = next((SIZES[start] for start in SIZES if name.lower().startswith(start)), None)
    found = size or known
    if found is None:
        raise RecordingError(
            f"its header names the camera {one_line(name)!r}, whose size is unknown; give the camera's lens.toml with "
            "--lens"
        )
    notes = [size_note(one_line(name), known, size)] if known is not None and size not in (None, known) else []
    losses = Losses()
    events, triggers = _events(path, end.end(), losses), _triggers(path, end.end())
    return Source(Header("AEDAT3", *found, notes=tuple(notes)), interleave(events, triggers), losses=losses)


def _packets(path: str, at: int, wanted: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Records and times in µs of all packets of one event kind."""
    size = os.path.getsize(path)
    with Path(path).open("rb", buffering=1 << 18) as file:
        file.seek(at)
        while head := file.read(_PACKET.itemsize):
            if len(head) < _PACKET.itemsize:
                raise CutShort("it is cut short in the header of its last packet")
            packet = np.frombuffer(head, _PACKET)[0]
            kind, event_bytes, number = (int(packet[name]) for name in ("kind", "event_bytes", "number"))
            if not (kind >= 0 and 0 < event_bytes <= _MOST_EVENT_BYTES and 0 <= number <= packet["capacity"]):
                raise RecordingError(f"its packet at byte {at} is damaged; what follows cannot be found")
            room = event_bytes * number
            at += _PACKET.itemsize
            if kind == wanted:
                if event_bytes != _RECORD.itemsize or packet["overflows"] < 0:
                    raise RecordingError(f"its packet at byte {at} has events of {event_bytes} bytes; it is damaged")
                content = file.read(min(room, size - at))
                records = np.frombuffer(content[: len(content) // _RECORD.itemsize * _RECORD.itemsize], _RECORD)
                yield records, records["time"].astype(np.int64) + (int(packet["overflows"]) << _TIME_BITS)
            else:
                file.seek(room, os.SEEK_CUR)
            at += room
            if at > size:
                raise CutShort("it is cut short in its last packet")


def _events(path: str, at: int, losses: Losses) -> Iterator[np.ndarray]:
    invalid = 0
    for records, times in _packets(path, at, _POLARITY):
        data = records["data"]
        valid = data & 1 == 1
        if not valid.all():
            invalid += np.count_nonzero(~valid)
            data, times = data[valid], times[valid]
        yield make_events(times, data >> 17, data >> 2 & 0x7FFF, data >> 1 & 1)
    if invalid:
        losses.notes.append(f"{invalid:,} events were left out, which the file itself marks as invalid")


def _triggers(path: str, at: int) -> Iterator[tuple[int, np.ndarray]]:
    try:
        for records, times in _packets(path, at, _SPECIAL):
            if len(records):
                kinds = records["data"] >> 1 & 0x7F
                external = np.isin(kinds, list(_EDGES)) & (records["data"] & 1 == 1)
                found = [_EDGES[kind] for kind in kinds[external].tolist()]
                edges, channels = np.array(found, np.uint8).reshape(-1, 2).T
                yield int(times.max()), make_triggers(times[external], edges, channels)
    except (CutShort, RecordingError):  # the event stream ends there, too, and reports it
        return
