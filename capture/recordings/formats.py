"""The recording formats: how each is recognised, what it can hold, and which module reads and writes it."""

import re
from dataclasses import dataclass
from pathlib import Path

from ..errors import RecordingError
from .aedat4 import TRIGGER_KINDS

_HEAD_BYTES = 4096
_NUMBERS = re.compile(rb"\s*[-+.\deE]+([,;\t ]+[-+.\deE]+){3,}\s*$")


@dataclass(frozen=True)
class Format:
    """One file format. `decoder` and `encoder` are "module:function" for the worker; what it cannot hold is lost. One
    without suffixes is only read.

    `recorder` is the encoder of a live recording, None where a file that is cut off could not be read.
    """

    name: str
    suffixes: tuple[str, ...]
    decoder: str
    encoder: str
    holds_triggers: bool = False
    trigger_kinds: frozenset[tuple[int, int]] | None = None  # edges and channels that it holds; None: all
    holds_clock: bool = True
    holds_calibration: bool = False
    recorder: str | None = None


AEDAT4 = Format(
    "AEDAT4",
    (".aedat4",),
    "aedat4:decode",
    "aedat4:encode",
    holds_triggers=True,
    trigger_kinds=TRIGGER_KINDS,
    holds_calibration=True,
    recorder="aedat4:encode_live",
)
HDF5 = Format(
    "HDF5",
    (".h5", ".hdf5"),
    "dsec:decode",
    "dsec:encode",
    holds_triggers=True,
    holds_calibration=True,
    recorder="dsec:encode_live",
)
EVT = Format("EVT", (".raw",), "prophesee.raw:decode", "prophesee.raw_writer:encode", holds_triggers=True)
DAT = Format("DAT", (".dat",), "prophesee.dat:decode", "prophesee.dat:encode")
ES = Format("ES", (".es",), "es:decode", "es:encode", holds_clock=False)
AEDAT2 = Format("AEDAT2", (), "jaer:decode", "")
AEDAT3 = Format("AEDAT3", (), "caer:decode", "")
CSV = Format("CSV", (".csv", ".txt"), "text:decode", "text:encode")
FORMATS = (AEDAT4, HDF5, EVT, DAT, ES, AEDAT2, AEDAT3, CSV)

_MAGIC = (
    (b"#!AER-DAT4.", AEDAT4),
    (b"#!AER-DAT3.", AEDAT3),
    (b"#!AER-DAT", AEDAT2),
    (b"\x89HDF\r\n\x1a\n", HDF5),
    (b"Event Stream", ES),
)
_KNOWN_STRANGERS = ((b"#ROSBAG", "a ROS bag; convert its events to HDF5 or AEDAT4 first"),)
_READS = "AEDAT 2 to 4, HDF5 in the DSEC layout, Prophesee RAW (EVT2, EVT2.1, EVT3) and DAT, ES, and CSV"


def recognise(path: Path) -> Format:
    """Which format a file is in, by its content.

    Raises:
        RecordingError: it cannot be read, is empty, or is no recording.
    """
    try:
        if path.is_dir():
            raise RecordingError(f"{path}: is a folder, not a recording; give one of its files")
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    if not head:
        raise RecordingError(f"{path}: is empty; it was probably never written, or not copied")
    for magic, known in _MAGIC:
        if head.startswith(magic):
            return known
    for magic, what in _KNOWN_STRANGERS:
        if head.startswith(magic):
            raise RecordingError(f"{path}: is {what}")
    if head.startswith(b"%"):
        # Both Prophesee formats start with lines of "% key value"; only RAW files name their encoding.
        names_encoding = re.search(rb"^% *(evt|format|plugin_name|integrator_name) ", head, re.MULTILINE)
        return EVT if names_encoding and not re.search(rb"^% *Data file containing", head, re.MULTILINE) else DAT
    if _is_table(head):
        return CSV
    raise RecordingError(f"{path}: is not a recording (it starts with {head[:8]!r}); sweepdepth reads {_READS}")


def for_writing(path: Path) -> Format:
    """Which format a path asks for, by its suffix.

    Raises:
        RecordingError: no format has it.
    """
    for candidate in FORMATS:
        if path.suffix.lower() in candidate.suffixes:
            return candidate
    suffixes = ", ".join(suffix for candidate in FORMATS for suffix in candidate.suffixes)
    raise RecordingError(f"{path}: {path.suffix or 'no suffix'} is no recording format; use one of {suffixes}")


def _is_table(head: bytes) -> bool:
    """Whether the first or second line that is not a comment holds four numbers or more."""
    lines = [line for line in head.splitlines() if line.strip() and not line.startswith(b"#")]
    return any(_NUMBERS.match(line) for line in lines[:2])
