"""Replays several recordings to a folder of depth files."""

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..capture.atomic import make_folder, refuse_inputs
from ..capture.calibration import Calibration
from ..capture.errors import SweepdepthError
from ..capture.recordings import open_recording
from ..capture.recordings.hints import NO_HINTS, TableHints
from .replay import replay
from .run_options import DEFAULT_OPTIONS, RunOptions
from .telemetry import Summary


@dataclass(frozen=True)
class Outcome:
    """Result of one recording. `failure` is why it has no depth file, None on success."""

    recording: Path
    out: Path
    summary: Summary | None
    failure: str | None = None


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
