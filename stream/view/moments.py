"""The depth frames of a file for the page: of a depth file, or of a recording, which is replayed."""

import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import numpy as np

from ...capture.calibration import Calibration
from ...capture.errors import RecordingError
from ...capture.events import join
from ...capture.files.depth_file import DepthFrames, open_depth_file
from ...capture.formats.kinds import is_depth_file
from ...capture.recordings import open_recording
from ...capture.sensor_window import SensorWindow
from ...capture.stack import EventFocalStack
from ...capture.sweeps import Direction, Sweep
from ..replay import calibration_of, replay
from ..run_options import DEFAULT_OPTIONS, Callbacks, RunOptions
from ..wire.messages import DepthFrame, StackFrame, StreamInfo

STACK_BINS = 10


@dataclass(frozen=True, eq=False)
class Moments:
    """Depth frames in time order, read when requested; `len` is their number.

    `events` are those of the recording, (N,) EVENT_DTYPE in time order, in the window of the depth; None for a depth
    file. `warnings` are those of the replay.
    """

    frames: DepthFrames
    events: np.ndarray | None = None
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stream", uuid4())

    def __len__(self) -> int:
        return len(self.frames)

    def at_s(self, number: int) -> float:
        """Seconds from the start of the first frame to the end of a frame."""
        return (int(self.frames.t_end_us[number]) - int(self.frames.t_start_us[0])) * 1e-6

    def depth(self, number: int) -> DepthFrame:
        """One frame, as published live."""
        f = self.frames
        info = StreamInfo.of(f.calibration, f.estimator)
        start_us, end_us = int(f.t_start_us[number]), int(f.t_end_us[number])
        direction, quality = Direction(int(f.direction[number])), float(f.quality[number])
        return DepthFrame(
            np.asarray(f.depth[number]),
            np.asarray(f.std[number]),
            info,
            start_us,
            end_us,
            direction,
            quality,
            stream=self._stream,  # pyright: ignore[reportAttributeAccessIssue]
            seq=number,
        )

    def stack(self, number: int) -> StackFrame | None:
        """The event focal stack of one frame; None without events."""
        if self.events is None:
            return None
        f = self.frames
        start_us, end_us = int(f.t_start_us[number]), int(f.t_end_us[number])
        direction = Direction(int(f.direction[number]))
        first, last = np.searchsorted(self.events["timestamp"], (start_us, end_us))
        sweep = Sweep(start_us, end_us, direction, f.calibration)
        stack = EventFocalStack.build(self.events[first:last], sweep, STACK_BINS)
        info = StreamInfo.of(f.calibration, f.estimator)
        return StackFrame(stack.signed(), info, start_us, end_us, direction)


@contextmanager
def open_moments(
    path: str | Path,
    calibration: Calibration | None = None,
    options: RunOptions = DEFAULT_OPTIONS,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[float], None] | None = None,
) -> Iterator[Moments]:
    """Open a depth file or a recording, which is replayed first and whose events are kept in memory.

    Args:
        calibration: overrides the one stored in a recording; a depth file has its own.
        options: for replaying a recording; see `replay`.
        stop: ends the replay early, with the frames so far.
        on_progress: called with the sensor time replayed, in seconds.

    Raises:
        RecordingError, CalibrationError, SyncError, WeightsError: it cannot be read, or depth cannot be computed.
    """
    if is_depth_file(path):
        with open_depth_file(path) as frames:
            yield Moments(frames)
        return
    with tempfile.TemporaryDirectory(prefix="sweepdepth-") as folder:
        out = Path(folder, "depth.h5")
        with open_recording(path, calibration) as recording:
            callbacks = Callbacks(on_progress=on_progress)
            summary = replay(recording, options, out=out, stop=stop, callbacks=callbacks)
            if not out.exists():
                raise RecordingError(f"{path}: stopped before there was any depth")
            window = SensorWindow(calibration_of(recording), options.downsample)
            events = join([batch.events for batch in window.through(recording)])
        with open_depth_file(out) as frames:
            yield Moments(frames, events, tuple(summary.warnings))
