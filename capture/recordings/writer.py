"""Writing recordings: `RecordingWriter` batch by batch, `write_recording` in one call."""

import math
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numba import njit

from ..atomic import PartialFile
from ..calibration import Calibration
from ..closing import Aborting
from ..errors import RecordingError
from ..events import Batch
from ..formats.recordings import for_writing
from ..sources.chunks import Chunk
from ..sources.process import WorkerFailure, WorkerProcess
from ..sources.ring import Producer

WRITE_STALL_TIMEOUT_S = 60.0
_FULL_DISK_BYTES = 1 << 20
_NO_TIME_US = -(1 << 62)


class RecordingWriter(Aborting):
    """A recording being written by a separate process, in the format of `path`'s suffix.

    The file appears when the writer is closed; an exception in the `with` block discards it. HDF5 and NPZ store
    everything, RAW everything but the calibration, and AEDAT4 everything but triggers on other channels than its own
    (`formats.recordings.AEDAT4_TRIGGERS`). DAT, ES and CSV store no triggers, and ES no absolute time (its clock starts
    with the first event). Writing data that the format cannot store is an error unless `lossy` is set; then `losses`
    lists what was lost. A calibration that the format cannot store is always omitted.

    Raises:
        RecordingError: the suffix is unknown, `path` exists and `force` is not given, it is a file of another kind, or
            it cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        calibration: Calibration | None = None,
        *,
        force: bool = False,
        lossy: bool = False,
        stall_timeout_s: float = WRITE_STALL_TIMEOUT_S,
    ) -> None:
        self.path = Path(path)
        self.width, self.height = width, height
        self.n_events = self.n_triggers = 0
        self._format = for_writing(self.path)
        self._lossy = lossy
        self._lost_triggers = 0
        self._lost_channels: Counter[int] = Counter()  # triggers on channels that the format cannot store
        self._clock_shift_us = 0
        self._end_us = _NO_TIME_US
        self._partial = PartialFile(path, force, "recording")
        self._process: WorkerProcess | None = None
        arguments = {
            "path": str(self._partial.path.absolute()),
            "width": width,
            "height": height,
            "lens_toml": None if calibration is None else calibration.to_toml(),
        }
        try:
            self._process = WorkerProcess("sink", f"{__package__}.{self._format.encoder}", arguments, stall_timeout_s)
        except WorkerFailure as failure:
            raise self._explain(failure) from failure
        except BaseException:
            self.abort()
            raise
        self._producer = Producer(self._process, math.inf)

    @property
    def losses(self) -> tuple[str, ...]:
        """What the format could not store, one sentence each."""
        losses = []
        if self._lost_triggers:
            losses.append(f"{self._format.name} cannot store triggers: {self._lost_triggers:,} are lost")
        losses += [
            f"{self._format.name} cannot store triggers of channel {channel}: {n:,} are lost"
            for channel, n in sorted(self._lost_channels.items())
        ]
        if self._clock_shift_us:
            losses.append(f"{self._format.name} cannot store absolute times: {self._clock_shift_us} µs were subtracted")
        return tuple(losses)

    def write(self, batch: Batch) -> None:
        """Append one batch; the caller may reuse its memory afterwards.

        Raises:
            RecordingError: the batch is out of time order or off the sensor, the format cannot store it, or the file
                cannot be written. The file is discarded then.
        """
        if self._process is None:
            raise RecordingError(f"{self.path}: is closed; nothing more can be written to it")
        try:
            self._check(batch)
            triggers = batch.triggers
            if len(triggers) and not self._format.holds_triggers:
                self._lose(f"cannot store triggers, and this recording has some at {triggers['timestamp'][0]} µs")
                self._lost_triggers += len(triggers)
                triggers = triggers[:0]
            triggers = self._without_unsupported_channels(triggers)
            if len(batch.events) and not self.n_events and not self._format.holds_clock:
                self._clock_shift_us = int(batch.events["timestamp"][0])
                if self._clock_shift_us:
                    self._lose(f"cannot store absolute times, and this recording starts at {self._clock_shift_us} µs")
            self._producer.put(Chunk(batch.events, triggers))
        except WorkerFailure as failure:
            raise self._explain(failure) from failure
        except BaseException:
            self.abort()
            raise
        self.n_events += len(batch.events)
        self.n_triggers += len(triggers)

    def close(self) -> None:
        """Finish the file and move it to its path; does nothing if already closed.

        Raises:
            RecordingError: it cannot be written; it is discarded then.
        """
        if self._process is None:
            return
        try:
            self._producer.flush()
            self._process.send({"end": None})
            while "done" not in self._process.receive():
                pass
        except WorkerFailure as failure:
            raise self._explain(failure) from failure
        except BaseException:
            self.abort()
            raise
        self._process.close()
        self._process = None
        self._partial.commit()

    def abort(self) -> None:
        """Discard the file; does nothing if already closed."""
        if self._process is not None:
            self._process.close()
            self._process = None
        self._partial.discard()

    def _check(self, batch: Batch) -> None:
        bad = first_fault(batch.events, self._end_us, self.width, self.height)
        if bad >= 0:
            raise RecordingError(
                f"{self.path}: event {self.n_events + bad} {batch.events[bad]} is not in time order, or not on the "
                f"{self.width}×{self.height} sensor; pass batches of a Recording, or a sorted array"
            )
        times = batch.triggers["timestamp"]
        if len(times) and (times[0] < self._end_us or np.any(times[1:] < times[:-1])):
            raise RecordingError(f"{self.path}: triggers are not in time order; sort them")
        oldest = [int(array["timestamp"][0]) for array in (batch.events, batch.triggers) if len(array)]
        if oldest and min(oldest) < 0 and not self._format.holds_negative:
            raise RecordingError(
                f"{self.path}: {self._format.name} has no times below 0, and this recording begins at "
                f"{min(oldest)} µs; write .h5, .npz or .csv"
            )
        newest = [int(array["timestamp"][-1]) for array in (batch.events, batch.triggers) if len(array)]
        self._end_us = max([self._end_us, *newest])

    def _without_unsupported_channels(self, triggers: np.ndarray) -> np.ndarray:
        """The triggers on channels that the format can store."""
        kinds = self._format.trigger_kinds
        if kinds is None or not len(triggers):
            return triggers
        pairs = zip(triggers["edge"].tolist(), triggers["channel"].tolist(), strict=True)
        held = np.array([pair in kinds for pair in pairs], bool)
        if not held.all():
            lost = triggers[~held]
            channel = int(lost["channel"][0])
            self._lose(f"cannot store triggers of channel {channel}, as at {lost['timestamp'][0]} µs")
            self._lost_channels.update(lost["channel"].tolist())
        return triggers[held]

    def _lose(self, what: str) -> None:
        if not self._lossy:
            others = " or ".join(s for s in (".h5", ".aedat4") if s not in self._format.suffixes)
            raise RecordingError(
                f"{self.path}: {self._format.name} {what}; write {others}, or give --lossy to omit them"
            )

    def _explain(self, failure: WorkerFailure) -> RecordingError:
        """The error in one line; deletes the partial file."""
        stat = os.statvfs(self.path.absolute().parent)
        full = stat.f_bavail * stat.f_frsize < _FULL_DISK_BYTES
        self.abort()
        if full:
            return RecordingError(f"{self.path}: cannot be written: the disk is full; make room, or choose another")
        what = str(failure) if failure.kind == "error" else f"the encoder {failure}"
        return RecordingError(f"{self.path}: cannot be written: {what}")


def write_recording(
    path: str | Path,
    batches: Iterable[Batch],
    width: int,
    height: int,
    calibration: Calibration | None = None,
    *,
    force: bool = False,
    lossy: bool = False,
) -> tuple[str, ...]:
    """Write batches as a recording in the format of the suffix.

    Args:
        path: .h5, .hdf5, .npz, .aedat4, .raw (EVT2), .dat, .es, .csv or .txt.
        batches: in time order, for example a `Recording`.
        width: of the sensor, in pixels.
        height: of the sensor, in pixels.
        calibration: stored in the file if the format supports it.
        force: replace an existing recording.
        lossy: write even if the format cannot store triggers or absolute times.

    Returns:
        What was lost, one sentence each; usually nothing.

    Raises:
        RecordingError: as for `RecordingWriter`; no file is left.

    Examples:
        >>> from sweepdepth import open_recording
        >>> with open_recording("sweep.aedat4") as recording:
        ...     write_recording("copy.h5", recording, recording.width, recording.height, recording.calibration)
        ()
    """
    with RecordingWriter(path, width, height, calibration, force=force, lossy=lossy) as writer:
        for batch in batches:
            writer.write(batch)
    return writer.losses


@njit(nogil=True, cache=True)
def first_fault(
    events: np.ndarray,  # (N,) EVENT_DTYPE
    not_before_us: int,
    width: int,
    height: int,
) -> int:
    """Index of the first event out of time order or off the sensor, −1 if there is none."""
    last = not_before_us
    for i in range(len(events)):
        e = events[i]
        if e.timestamp < last or e.x < 0 or e.x >= width or e.y < 0 or e.y >= height:
            return i
        last = e.timestamp
    return -1
