"""Replays several recordings to a folder of depth files."""

import glob
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..capture.atomic import make_folder, refuse_inputs
from ..capture.calibration import Calibration
from ..capture.errors import RecordingError, SweepdepthError
from ..capture.formats.kinds import kind_of
from ..capture.formats.recordings import FORMATS, is_bag
from ..capture.recordings import open_recording
from ..capture.recordings.hints import NO_HINTS, TableHints
from .replay import replay
from .run_options import DEFAULT_OPTIONS, RunOptions
from .telemetry import Summary

_SUFFIXES = {suffix for known in FORMATS for suffix in known.suffixes}


@dataclass(frozen=True)
class Outcome:
    """Result of one recording. `failure` is why it has no depth file, None on success."""

    recording: Path
    out: Path
    summary: Summary | None
    failure: str | None = None


def is_many(words: Sequence[str]) -> bool:
    """Whether arguments stand for several recordings: several words, a folder, or a pattern such as `runs/*.raw`."""
    if len(words) != 1:
        return True
    path = Path(words[0])
    return (path.is_dir() and not is_bag(path)) or (not path.exists() and glob.has_magic(words[0]))


def find_recordings(words: Sequence[str]) -> list[Path]:
    """Expand arguments to recordings: files, all recordings in folders, and those matching patterns.

    In folders and patterns, depth files and other files are ignored.

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
        recordings = [p for p in fitting if is_bag(p) or kind_of(p) in ("recording", "scene of a dataset")]
        if not recordings:
            raise RecordingError(f"{word}: has no recordings ({', '.join(sorted(_SUFFIXES))})")
        found += recordings
    return list(dict.fromkeys(found))


def replay_all(
    recordings: Sequence[Path],
    folder: str | Path,
    calibration: Calibration | None = None,
    options: RunOptions = DEFAULT_OPTIONS,
    *,
    speed: float | None = None,
    hints: TableHints = NO_HINTS,
    force: bool = False,
    stop: threading.Event | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> list[Outcome]:
    """Replay each recording to `folder`/NAME.h5; failures are recorded, and the others continue.

    Args:
        calibration: for all recordings; None: NAME.toml beside each recording, or the one stored in it.
        options, speed, force: as for `replay`.
        hints: as for `open_recording`.
        stop: ends the run early.
        on_progress: called with the number of recordings done.

    Raises:
        RecordingError: the folder cannot be created, or a depth file would replace one of the recordings.
    """
    stop = stop or threading.Event()
    folder = make_folder(folder)
    stems = Counter(path.stem for path in recordings)
    outs = [folder / (f"{path.stem if stems[path.stem] == 1 else path.name}.h5") for path in recordings]
    for out in outs:
        refuse_inputs(out, *recordings)
    outcomes: list[Outcome] = []
    for number, (path, out) in enumerate(zip(recordings, outs, strict=True), 1):
        if stop.is_set():
            break
        beside = path.with_suffix(".toml")
        try:
            own = Calibration.load(beside) if calibration is None and beside.exists() else calibration
            with open_recording(path, own, hints=hints) as recording:
                summary = replay(recording, options, out=out, speed=speed, force=force, stop=stop)
            outcomes.append(Outcome(path, out, summary))
        except SweepdepthError as error:
            outcomes.append(Outcome(path, out, None, str(error)))
        if on_progress:
            on_progress(number)
    return outcomes
