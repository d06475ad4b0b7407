"""`LiveRecorder`: records live streams without blocking, to a file that stays readable after a crash."""

import errno
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..atomic import make_folder, refuse_replacing
from ..calibration import Calibration
from ..closing import Closing
from ..errors import RecordingError
from ..events import Batch
from ..formats.recordings import FORMATS, for_writing
from ..sources.chunks import Chunk
from ..sources.process import WorkerFailure, WorkerProcess
from ..sources.ring import Producer

FLUSH_S = 0.1
WRITE_STALL_TIMEOUT_S = 60.0
_CLOSE_TIMEOUT_S = 30.0


@dataclass(frozen=True)
class RecorderStatus:
    """State of a live recording. `failure` is why it stopped, None while it runs."""

    path: Path
    n_events: int
    n_triggers: int
    dropped_events: int  # because the disk or the encoder was too slow
    dropped_triggers: int
    failure: str | None

    @property
    def sentences(self) -> tuple[str, ...]:
        """Warnings, a sentence each; usually none."""
        if self.failure is not None:
            return (f"recording stopped: {self.failure}",)
        if self.dropped_events or self.dropped_triggers:
            return (
                f"recording too slow: {self.dropped_events:,} events and {self.dropped_triggers} triggers are missing",
            )
        return ()


class LiveRecorder(Closing):
    """A recording of a live stream, written by a separate process. A context manager.

    Unlike a `RecordingWriter`'s, its file exists from the start and is kept. HDF5 is flushed twice a second and
    readable at any time, also after this process, the writer's process or both are killed. So is AEDAT4, but its
    library cannot be made to flush, so the loss is half a second at 50 000 events per second, and unbounded at low
    rates. If only this process is killed, the other one finishes the file.

    `write` never blocks or raises. Events that the disk is too slow for are dropped and counted. Errors, such as a full
    disk, end the recording and are reported once by `on_failure` and in `status`; the file is kept.

    Raises:
        RecordingError: not a format that can be read after a crash (.h5, .hdf5, .aedat4), `path` exists and `force` is
            not given, or it cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        width: int,
        height: int,
        calibration: Calibration | None = None,
        *,
        force: bool = False,
        on_failure: Callable[[str], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self._on_failure = on_failure
        self._lock = threading.Lock()
        self._n_events = self._n_triggers = 0
        self._failure: str | None = None
        self._closed = False
        recorder = for_writing(self.path).recorder
        if recorder is None:
            suffixes = ", ".join(suffix for f in FORMATS if f.recorder for suffix in f.suffixes)
            raise RecordingError(f"{path}: a recording of that kind is lost when it is cut off; use one of {suffixes}")
        self._create(force)
        arguments = {
            "path": str(self.path.absolute()),
            "width": width,
            "height": height,
            "lens_toml": None if calibration is None else calibration.to_toml(),
        }
        process: WorkerProcess | None = None
        try:
            process = WorkerProcess("recorder", f"{__package__}.{recorder}", arguments, WRITE_STALL_TIMEOUT_S)
            process.receive()  # the file is open
        except WorkerFailure as failure:
            if process is not None:
                process.close()
            self.path.unlink(missing_ok=True)
            raise RecordingError(self._explain(failure)) from failure
        self._process = process
        self._producer = Producer(process, FLUSH_S, live=True)

    def __call__(self, batch: Batch) -> None:
        """Same as `write`, so that a recorder can be used as a sink."""
        self.write(batch)

    def write(self, batch: Batch) -> None:
        """Append a batch; the caller may reuse its memory afterwards. Never blocks, never raises."""
        with self._lock:
            if self._closed or self._failure is not None:
                return
            dropped = self._dropped
            try:
                self._producer.put(Chunk(batch.events, batch.triggers))
            except WorkerFailure as failure:
                self._fail(failure)
                return
            lost = self._dropped
            self._n_events += len(batch.events) - (lost[0] - dropped[0])
            self._n_triggers += len(batch.triggers) - (lost[1] - dropped[1])

    def status(self) -> RecorderStatus:
        """The current status; may be called from any thread."""
        return RecorderStatus(self.path, self._n_events, self._n_triggers, *self._dropped, self._failure)

    def close(self) -> RecorderStatus:
        """Finish the file. May be called repeatedly. Waits for the disk, at most half a minute; never raises."""
        with self._lock:
            if not self._closed and self._failure is None:
                try:
                    self._producer.flush()
                    self._process.send({"end": None})
                    while self._process.poll(_CLOSE_TIMEOUT_S):
                        if "done" in self._process.receive():
                            break
                    else:
                        raise WorkerFailure("waiting", f"has not finished within {_CLOSE_TIMEOUT_S:g} s")
                except WorkerFailure as failure:
                    self._fail(failure)
            self._closed = True
            self._process.close()
        return self.status()

    @property
    def _dropped(self) -> tuple[int, int]:
        vitals = self._process.ring.vitals[0]
        return int(vitals["dropped_events"]), int(vitals["dropped_triggers"])

    def _create(self, force: bool) -> None:
        """Create the file, checking that it may be written and replaces no file of another kind."""
        refuse_replacing(self.path, force, "recording")
        make_folder(self.path.parent)
        try:
            flags = os.O_WRONLY | os.O_CREAT | (os.O_TRUNC if force else os.O_EXCL)
            os.close(os.open(self.path, flags, 0o666))
        except FileExistsError:
            raise RecordingError(f"{self.path}: exists; give --force to replace it, or another name") from None
        except OSError as error:
            raise RecordingError(f"{self.path}: cannot be written: {error.strerror or error}") from error

    def _fail(self, failure: WorkerFailure) -> None:
        self._process.close()
        self._failure = self._explain(failure)
        if self._on_failure is not None:
            self._on_failure(self._failure)

    def _explain(self, failure: WorkerFailure) -> str:
        if str(failure) == os.strerror(errno.ENOSPC):
            return f"{self.path}: the disk is full; it keeps what was written before"
        what = str(failure) if failure.kind == "error" else f"the encoder {failure}"
        return f"{self.path}: cannot be written: {what}"
