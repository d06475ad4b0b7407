"""Recordings named by arguments: files, folders and patterns."""

import glob
from collections.abc import Sequence
from pathlib import Path

from ..errors import RecordingError
from .kinds import kind_of
from .recordings import FORMATS, is_bag

_SUFFIXES = {suffix for known in FORMATS for suffix in known.suffixes}
_OF_ANYTHING = (".csv", ".txt")
"""Suffixes of text, which is often no recording."""


def is_many(words: Sequence[str]) -> bool:
    """Whether arguments stand for several recordings: several words, a folder, or a pattern such as `runs/*.raw`."""
    if len(words) != 1:
        return True
    path = Path(words[0])
    return (path.is_dir() and not is_bag(path)) or (not path.exists() and glob.has_magic(words[0]))


def find_recordings(words: Sequence[str]) -> list[Path]:
    """Expand arguments to recordings: files, all recordings in folders, and those matching patterns.

    In folders and patterns, depth files and other files are ignored, but not damaged or unknown files that are named
    like a recording.

    Raises:
        RecordingError: a folder or pattern has none.
    """
    found: list[Path] = []
    for word in words:
        path = Path(word)
        if path.is_file() or is_bag(path) or not (path.is_dir() or glob.has_magic(word)):
            found.append(path)
            continue
        inside = path.iterdir() if path.is_dir() else map(Path, glob.glob(word, recursive=True))
        fitting = sorted(
            p for p in inside if (p.suffix.lower() in _SUFFIXES or is_bag(p)) and not p.name.startswith(".")
        )
        recordings = [p for p in fitting if is_bag(p) or _may_be_recording(p)]
        if not recordings:
            raise RecordingError(f"{word}: has no recordings ({', '.join(sorted(_SUFFIXES))})")
        found += recordings
    return list(dict.fromkeys(found))


def _may_be_recording(path: Path) -> bool:
    kind = kind_of(path)
    return kind in ("recording", "scene of a dataset") or (kind is None and path.suffix.lower() not in _OF_ANYTHING)
