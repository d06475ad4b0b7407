"""The recording formats: how each is recognised, what it can store, and which module reads and writes it."""

import re
from dataclasses import dataclass
from itertools import takewhile
from operator import eq
from pathlib import Path

from ..errors import RecordingError
from ..events import FALLING, RISING

_HEAD_BYTES = 4096
_VALUE = rb"[\"'(\[{]*[-+]?(?:[\d.]+(?:[eE][-+]?\d+)?|[A-Za-z]+)[\"')\]}]*"
_NUMBERS = re.compile(rb"[\s\[({\"']*[-+]?[\d.][^;\t ]*" + rb"(?:[,;\t ]+" + _VALUE + rb"){3,}[,;]?\s*$")


@dataclass(frozen=True)
class Format:
    """One file format. `decoder` and `encoder` are "module:function" in `capture.recordings`, run by the worker
    process. A format without an encoder is read-only.

    `recorder` is the encoder for live recordings, None for formats whose truncated files cannot be read.
    """

    name: str
    suffixes: tuple[str, ...]
    decoder: str
    encoder: str | None  # None: read-only
    holds_triggers: bool = False
    trigger_kinds: frozenset[tuple[int, int]] | None = None  # edges and channels that it can store; None: all
    holds_clock: bool = True
    holds_calibration: bool = False
    recorder: str | None = None
    holds_negative: bool = False  # times below 0
    takes_hints: bool = False  # its decoder has the arguments `columns` and `time_unit`


EXTERNAL, PULSES, GENERATOR = 0, 1, 2
"""Trigger channels of iniVation's cameras: edges on the external input, pulses detected there, and edges of the
camera's own signal generator."""

AEDAT4_TRIGGERS = {
    1: (RISING, EXTERNAL),
    2: (FALLING, EXTERNAL),
    3: (RISING, PULSES),
    4: (RISING, GENERATOR),
    5: (FALLING, GENERATOR),
}
"""Edge and channel of the dv::TriggerType of AEDAT4: EXTERNAL_SIGNAL_RISING_EDGE, _FALLING_EDGE, _PULSE,
EXTERNAL_GENERATOR_RISING_EDGE and _FALLING_EDGE. Others mark frames and clock resets."""

AEDAT4 = Format(
    "AEDAT4",
    (".aedat4",),
    "aedat4:decode",
    "aedat4:encode",
    holds_triggers=True,
    trigger_kinds=frozenset(AEDAT4_TRIGGERS.values()),
    holds_calibration=True,
    recorder="aedat4:encode_live",
)
HDF5 = Format(
    "HDF5",
    (".h5", ".hdf5"),
    "h5_layouts:decode",
    "dsec:encode",
    holds_triggers=True,
    holds_calibration=True,
    recorder="dsec:encode_live",
    holds_negative=True,
    takes_hints=True,
)
EVT = Format("EVT", (".raw",), "prophesee.raw:decode", "prophesee.raw_writer:encode", holds_triggers=True)
DAT = Format("DAT", (".dat",), "prophesee.dat:decode", "prophesee.dat:encode")
ES = Format("ES", (".es",), "es:decode", "es:encode", holds_clock=False)
AEDAT2 = Format("AEDAT2", (".aedat",), "jaer:decode", None)
AEDAT3 = Format("AEDAT3", (".aedat",), "caer:decode", None)
CSV = Format("CSV", (".csv", ".txt"), "text:decode", "text:encode", holds_negative=True, takes_hints=True)
NPZ = Format(
    "NPZ",
    (".npz",),
    "numpy_files:decode_npz",
    "numpy_files:encode",
    holds_triggers=True,
    holds_calibration=True,
    holds_negative=True,
    takes_hints=True,
)
NPY = Format("NPY", (".npy",), "numpy_files:decode_npy", None, takes_hints=True)
MATLAB = Format("MATLAB", (".mat",), "matlab:decode", None, takes_hints=True)
ROS = Format("ROS", (".bag", ".mcap", ".db3"), "ros:decode", None)
FORMATS = (AEDAT4, HDF5, EVT, DAT, ES, AEDAT2, AEDAT3, CSV, NPZ, NPY, MATLAB, ROS)

_MAGIC = (
    (b"#!AER-DAT4.", AEDAT4),
    (b"#!AER-DAT3.", AEDAT3),
    (b"#!AER-DAT", AEDAT2),
    (b"\x89HDF\r\n\x1a\n", HDF5),
    (b"Event Stream", ES),
    (b"\x93NUMPY", NPY),
    (b"PK\x03\x04", NPZ),
    (b"MATLAB 5.0", MATLAB),
    (b"MATLAB 7.3", MATLAB),
    (b"#ROSBAG V2.0", ROS),
    (b"\x89MCAP0", ROS),
    (b"SQLite format 3\0", ROS),
)
_OTHER_FILES = (
    (b"#ROSBAG", "a ROS bag of an older version than 2.0; convert it with `rosbag fix`"),
    (b"\x1f\x8b", "a gzip file; unpack it"),
    (b"BZh", "a bzip2 file; unpack it"),
    (b"\xfd7zXZ", "an xz file; unpack it"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it"),
    (b"\x28\xb5\x2f\xfd", "a Zstandard file; unpack it"),
)
_READS = "AEDAT 2 to 4, HDF5, Prophesee RAW (EVT2, EVT2.1, EVT3) and DAT, ES, text, NumPy, MATLAB and ROS files"


def recognise(path: Path) -> Format:
    """Recognise the format of a recording by content.

    Raises:
        RecordingError: it cannot be read, is empty, or is not a recording.
    """
    try:
        if is_bag(path):
            return ROS
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
    for magic, what in _OTHER_FILES:
        if head.startswith(magic):
            raise RecordingError(f"{path}: is {what}")
    if is_text_of_events(head):
        return CSV
    if head.startswith(b"%"):
        # Both Prophesee formats start with lines of "% key value"; only RAW headers name an encoding.
        names_encoding = re.search(rb"^% *(evt|format|plugin_name|integrator_name) ", head, re.MULTILINE)
        return EVT if names_encoding and not re.search(rb"^% *Data file containing", head, re.MULTILINE) else DAT
    raise RecordingError(
        f"{path}: is not a recording: it starts with {head[:12]!r}, {_closest(path, head)}; sweepdepth reads {_READS}"
    )


def _closest(path: Path, head: bytes) -> str:
    """The format that an unknown file is most like, by name or first bytes."""
    named = next((known for known in FORMATS if path.suffix.lower() in known.suffixes), None)
    begins = [magic for magic, known in _MAGIC if known is named] or ([b"% "] if named in (EVT, DAT) else [])
    if begins:
        return f"where {named.name if named else ''} files, which it is named like, start with {begins[0][:12]!r}"
    text = head.removeprefix(b"\xef\xbb\xbf")
    if all(byte >= 32 or byte in b"\t\r\n" for byte in text[:512]):
        return "closest to text of events, but none of its first lines has four numbers or more"
    alike = {known.name: sum(1 for _ in takewhile(bool, map(eq, magic, head))) for magic, known in _MAGIC}
    best = max(alike, key=alike.__getitem__)
    return f"closest to {best}" if alike[best] > 1 else "like no format that is known here"


def is_bag(path: Path) -> bool:
    """Whether a folder is a ROS 2 bag."""
    return (path / "metadata.yaml").is_file()


def for_writing(path: Path) -> Format:
    """The format to write, by suffix.

    Raises:
        RecordingError: no format has this suffix, or it is read-only.
    """
    for candidate in FORMATS:
        if path.suffix.lower() in candidate.suffixes and candidate.encoder is not None:
            return candidate
    suffixes = ", ".join(suffix for candidate in FORMATS if candidate.encoder for suffix in candidate.suffixes)
    raise RecordingError(f"{path}: {path.suffix or 'no suffix'} is not a recording format; use one of {suffixes}")


def is_text_of_events(head: bytes) -> bool:
    """Whether one of the first three non-comment lines has four values or more, the first of them a number."""
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return True  # UTF-16: the decoder's error says what to do
    text = head.removeprefix(b"\xef\xbb\xbf")
    if b"\0" in text:
        return False
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith((b"#", b"%", b"//"))]
    return any(_NUMBERS.match(line) for line in lines[:3])
