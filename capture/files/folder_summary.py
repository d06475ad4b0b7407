"""Summarises the recordings of a folder: one line each, and totals."""

from collections.abc import Callable
from pathlib import Path

from ..errors import RecordingError, SweepdepthError
from ..formats.selection import find_recordings
from .dataset import MANIFEST
from .facts import Facts, Measured, as_numbers


def summarise_folder(
    folder: Path,
    describe: Callable[[Path, Callable[[float], None]], Facts],
    on_progress: Callable[[float], None] | None = None,
) -> Facts:
    """Describe the recordings of a folder.

    Args:
        folder: its path.
        describe: describes one recording; called with its path, and a function to call with the events read so far.
        on_progress: called with the events read so far in all recordings.

    Returns:
        The section `recordings` with totals, and the section `files` with a line per recording; unreadable ones have
        the reason in place of numbers.

    Raises:
        RecordingError: the folder has no recordings.
    """
    try:
        paths = find_recordings([str(folder)])
    except RecordingError as error:
        raise RecordingError(f"{error}, and is no dataset ({MANIFEST} is missing)") from error
    files: dict[str, object] = {}
    events, seconds, size, unreadable = 0, 0.0, 0, 0
    for path in paths:
        before = events

        def advance(done: float, before: int = before) -> None:
            if on_progress:
                on_progress(before + done)

        try:
            facts = describe(path, advance)
        except SweepdepthError as error:
            unreadable += 1
            reason = str(error).removeprefix(f"{path}: ")
            files[path.name] = Measured(f"unreadable: {reason}", **{path.name: {"failure": str(error)}})
            continue
        numbers = as_numbers(facts)["recording"]
        if "sweeps" in facts:
            numbers["sweeps"] = as_numbers(facts)["sweeps"]["found"]
        files[path.name] = Measured(_line(numbers), **{path.name: numbers})
        events += numbers["events"]
        seconds += numbers.get("duration_s", 0.0)
        size += numbers["bytes"]
    totals = {
        "folder": Measured(f"{folder} ({size / 1e6:.2f} MB)", folder=str(folder), bytes=size),
        "recordings": len(paths),
        **({"unreadable": unreadable} if unreadable else {}),
        "events": events,
        "duration": Measured(f"{seconds:.6g} s", duration_s=seconds),
    }
    return {"recordings": totals, "files": files}


def _line(numbers: dict[str, object]) -> str:
    """A recording in one line."""
    parts = [
        str(numbers["format"]),
        f"{numbers['width']}×{numbers['height']} pixels",
        f"{numbers['events']:,} events" + (f" in {numbers['duration_s']:.4g} s" if "duration_s" in numbers else ""),
        f"{numbers['triggers']:,} triggers",
        f"{numbers['sweeps']} sweeps" if "sweeps" in numbers else "no calibration",
    ]
    return ", ".join(parts)
