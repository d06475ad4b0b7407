"""The text header of Prophesee's files: lines of `% key value`, up to `% end` or the first other line."""

import re
from dataclasses import dataclass

from ...errors import RecordingError, one_line

_HEADER_BYTES = 1 << 16
_LONGEST_LINE = 4096


@dataclass(frozen=True)
class TextHeader:
    """Values by lower-case key, and the offset of the data."""

    values: dict[str, str]
    data_at: int

    def whole_number(self, key: str) -> int | None:
        """A value as a number.

        Raises:
            RecordingError: it is not a whole number.
        """
        value = self.values.get(key)
        if value is None:
            return None
        if not re.fullmatch(r"\d{1,18}", value):
            raise RecordingError(f"its header says {key} {one_line(value)!r}, which is no whole number; it is damaged")
        return int(value)


def read_header(path: str) -> TextHeader:
    """Read the header of a file, which may be empty."""
    with open(path, "rb") as file:
        head = file.read(_HEADER_BYTES)
    values: dict[str, str] = {}
    at = 0
    while head[at : at + 1] == b"%":
        end = head.find(b"\n", at, at + _LONGEST_LINE)
        line = head[at:end].rstrip(b"\r")
        if end < 0 or re.search(rb"[^\x09\x20-\xff]", line):
            break
        at = end + 1
        key, _, value = line.decode("utf-8", "replace")[1:].strip().partition(" ")
        if key == "end":
            break
        values.setdefault(key.lower(), value.strip())
    return TextHeader(values, at)
