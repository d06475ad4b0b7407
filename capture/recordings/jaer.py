"""AEDAT 2 files, written by jAER and v2e: big-endian pairs of a 32-bit address and a 32-bit time.

https://docs.inivation.com/software/software-advanced-usage/file-formats/aedat-2.0.html. The address layout of x, y and
polarity depends on the camera, given by the header or else by the sensor size in the calibration.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from ..errors import RecordingError, one_line
from ..events import EVENT_DTYPE, RISING, make_triggers
from ..sources.chunks import NO_TRIGGERS, Chunk, CutShort, Header, Losses, Source
from .prophesee.clock import CLOCK_32, new_state
from .prophesee.clock32 import extend_times

_HEADER_BYTES = 1 << 20
_BLOCK_RECORDS = 1 << 16
_AHEAD = 64
_RECORD_BYTES = 8

SIZES = {
    "davis346": (346, 260),
    "davis240": (240, 180),
    "davis640": (640, 480),
    "davis208": (208, 192),
    "davis128": (128, 128),
    "dvs640": (640, 480),
    "dvs128": (128, 128),
    "davisrgb": (640, 480),
    "cdavis": (640, 480),
    "dvxplorer": (640, 480),
}
"""Sensor sizes of cameras, by the beginning of their names in lower case."""


@dataclass(frozen=True)
class _Layout:
    """Address layout: shifts and masks of x, y and polarity, and the bits that mark records other than events.

    `turned`: x and y count from the opposite corner. `off`: the polarity bit is set for OFF events.
    """

    x: tuple[int, int]
    y: tuple[int, int]
    polarity: int
    external: int
    other: int = 0
    turned: bool = False
    off: bool = False


_DAVIS = _Layout((12, 0x3FF), (22, 0x1FF), 11, 1 << 10, 1 << 31)
_DVS640 = _Layout((1, 0x3FF), (11, 0x3FF), 0, 1 << 31)
# libcaer, jAER: the axes of the DVS128 point left and up, and a set polarity bit is a decrease.
_DVS128 = _Layout((1, 0x7F), (8, 0x7F), 0, 1 << 15, turned=True, off=True)


def decode(path: str, size: tuple[int, int] | None) -> Source:
    """Open an AEDAT 2 file; external inputs are read as rising edges, since the format does not record the edge."""
    with open(path, "rb") as file:
        lines, data_at = _read_header(file.read(_HEADER_BYTES))
    text = "\n".join(lines)
    version = re.match(r"#!AER-DAT([\d.]+)", text)
    if version is None or not version[1].startswith("2"):
        raise RecordingError(
            f"it is an AEDAT file of version {version[1] if version else 'unknown'}; versions 2, 3.1 and 4 can be read"
        )
    chip = re.search(r"^# *AEChip: *(\S+)", text, re.MULTILINE)
    name = (chip[1].rsplit(".", 1)[-1] if chip else "").lower()
    known = next((SIZES[start] for start in SIZES if name.startswith(start)), None)
    found = size or known
    if found is None:
        camera = f"names the camera {one_line(name)!r}, which is not known here" if name else "names no camera"
        raise RecordingError(
            f"its header {camera}, so that its size is unknown; give the camera's lens.toml with --lens"
        )
    by_v2e = "AEDat2Output in v2e" in text
    if name.startswith("dvs128") or (not name and found == (128, 128)):
        layout = _DVS128
    elif name.startswith("dvs640") or (by_v2e and found == (640, 480)):
        layout = _DVS640
    else:
        layout = _DAVIS
    notes = [size_note(one_line(name), known, size)] if known is not None and size not in (None, known) else []
    reading = _Reading(path, data_at, layout, found, by_v2e, "noise events are labeled" in text)
    return Source(Header("AEDAT2", *found, notes=tuple(notes)), reading.chunks(), losses=reading.losses)


def size_note(camera: str, known: tuple[int, int], given: tuple[int, int] | None) -> str:
    """Note that the calibration's sensor size differs from that of the camera named in a file."""
    assert given is not None
    return f"its camera, {camera}, has {known[0]}×{known[1]} pixels; {given[0]}×{given[1]} of the calibration are taken"


def _read_header(head: bytes) -> tuple[list[str], int]:
    """The header lines, which begin with `#`, and the start of the data."""
    lines, at = [], 0
    while head[at : at + 1] == b"#":
        end = head.find(b"\n", at)
        if end < 0:
            break
        lines.append(head[at:end].decode("utf-8", "replace").strip())
        at = end + 1
        if re.match(r"# *end of ascii header", lines[-1], re.IGNORECASE):
            break
    return lines, at


class _Reading:
    """One pass over a file's records."""

    def __init__(
        self, path: str, data_at: int, layout: _Layout, size: tuple[int, int], by_v2e: bool, labels_noise: bool
    ) -> None:
        self._path = path
        self._data_at = data_at
        self._layout = layout
        self._size = size
        self._turned = layout.turned or by_v2e
        self._external = 0 if labels_noise else layout.external
        self.losses = Losses()

    def chunks(self) -> Iterator[Chunk]:
        """Events and external inputs, block by block.

        Raises:
            CutShort: the file ends in the middle of a record.
        """
        state, limits = new_state(), CLOCK_32.limits()
        n_external = n_dropped = 0
        block = (_BLOCK_RECORDS + _AHEAD) * _RECORD_BYTES
        with open(self._path, "rb") as file:
            file.seek(self._data_at)
            content, ended = b"", False
            while not ended:
                content += file.read(block - len(content))
                table = np.frombuffer(content[: len(content) // _RECORD_BYTES * _RECORD_BYTES], ">u4").reshape(-1, 2)
                n = min(len(table), _BLOCK_RECORDS)
                ended = len(content) < block and n == len(table)
                table = table.astype(np.uint32)
                kept = table[:, 0] & self._layout.other == 0  # frames and motion have other times
                stop = int(np.count_nonzero(kept[:n]))
                addresses, readings = (np.ascontiguousarray(column) for column in table[kept].T)
                times = np.empty(len(readings), np.int64)
                dropped = extend_times(readings, stop, times, state, limits)
                addresses, times = addresses[:stop], times[:stop]
                if dropped:
                    n_dropped += dropped
                    addresses, times = addresses[times >= 0], times[times >= 0]
                external = addresses & self._external != 0
                triggers = NO_TRIGGERS
                if external.any():
                    triggers = make_triggers(times[external], np.full(np.count_nonzero(external), RISING))
                    n_external += len(triggers)
                    addresses, times = addresses[~external], times[~external]
                yield Chunk(self._events(addresses.astype(np.int64), times), triggers)
                content = content[n * _RECORD_BYTES :]
        self.losses.events += n_dropped
        if n_dropped:
            self.losses.notes.append(f"{n_dropped:,} records were dropped: their times are out of line")
        if n_external:
            self.losses.notes.append(
                f"its {n_external:,} external inputs do not say which edge they are; all are taken as rising"
            )
        if content:
            raise CutShort(f"its last {len(content)} bytes are a part of a record: it is cut short")

    def _events(self, addresses: np.ndarray, times: np.ndarray) -> np.ndarray:
        layout = self._layout
        events = np.empty(len(addresses), EVENT_DTYPE)
        events["timestamp"] = times
        x, y = addresses >> layout.x[0] & layout.x[1], addresses >> layout.y[0] & layout.y[1]
        if self._turned:
            x, y = self._size[0] - 1 - x, self._size[1] - 1 - y
        events["x"], events["y"] = x, y
        events["polarity"] = (addresses >> layout.polarity & 1) ^ layout.off
        return events
