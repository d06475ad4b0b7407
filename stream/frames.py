"""Depth of a recording as an iterator of frames, for programs and notebooks."""

import queue
import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from ..capture.calibration import Calibration
from ..capture.recordings import open_recording
from ..capture.recordings.hints import NO_HINTS, TableHints
from . import replay as runtime
from .run_options import Callbacks, RunOptions
from .wire.messages import DepthFrame

_WAITING = 2
_LOOK_S = 0.1


def replay(
    path: str | Path,
    calibration: Calibration | None = None,
    *,
    triggers: str | Path | None = None,
    hints: TableHints = NO_HINTS,
    **options: Any,
) -> Iterator[DepthFrame]:
    """Iterate over the depth of a recording, frame by frame, as computed by the runtime.

    The recording is read only slightly ahead of the frames taken, and nothing is dropped; leaving the loop ends the
    replay. At the end, the runtime's warnings, such as those about an implausible calibration, are issued as Python
    warnings.

    Args:
        path: any recording that `open_recording` reads.
        calibration: overrides the one stored in the recording.
        triggers, hints: as for `open_recording`.
        options: of `sweepdepth.stream.run_options.RunOptions`, such as `estimator`, `weights` and `rate`.

    Yields:
        A frame for each sweep, or for each bin at `rate="bin"`.

    Raises:
        RecordingError, CalibrationError, SyncError, WeightsError: the recording cannot be read, or depth cannot be
            computed.

    Examples:
        >>> for frame in replay("sweep.aedat4", estimator="polarity"):
        ...     print(frame)
        ...     break
        DepthFrame(240×180, ... µs, far→near, ... % known, median ... m, quality ..., polarity)
    """
    chosen = RunOptions(**options)
    frames: queue.Queue[DepthFrame | None] = queue.Queue(_WAITING)
    stop, failures, notes = threading.Event(), list[BaseException](), list[str]()

    def put(frame: DepthFrame | None) -> None:
        while not stop.is_set():
            with suppress(queue.Full):
                return frames.put(frame, timeout=_LOOK_S)
        return None

    def run() -> None:
        try:
            with open_recording(path, calibration, triggers=triggers, hints=hints) as recording:
                notes.extend(runtime.replay(recording, chosen, stop=stop, callbacks=Callbacks(on_frame=put)).warnings)
        except BaseException as error:
            failures.append(error)
        finally:
            put(None)

    thread = threading.Thread(target=run, name="replay")
    thread.start()
    try:
        while (frame := frames.get()) is not None:
            yield frame
    finally:
        stop.set()
        thread.join()
        for note in notes:
            warnings.warn(f"{path}: {note}", stacklevel=2)
    if failures:
        raise failures[0]
