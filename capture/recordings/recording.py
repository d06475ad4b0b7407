"""`open_recording`, and the `Recording` that it returns."""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..calibration import Calibration
from ..closing import Closing
from ..errors import CalibrationError, RecordingError
from ..events import TRIGGER_DTYPE, Batch, join
from ..formats.recordings import recognise
from ..sources.chunks import Chunk, Header, Losses
from ..sources.process import WorkerFailure, WorkerProcess
from ..sources.ring import consume
from ..sources.sanitizer import Repairs, Sanitizer
from .hints import NO_HINTS, TableHints
from .trigger_file import read_trigger_file

DEFAULT_STALL_TIMEOUT_S = 20.0
_LONGEST_STALL_S = 86_400.0
_LARGEST_SENSOR = 16_384  # pixels a side, as in the calibration


class Recording(Closing):
    """An open recording; each iteration yields its batches from the beginning. A context manager.

    Events and triggers are checked, merged in time order, and yielded in batches of at most 20 ms of sensor time. A
    separate process decodes the file, and at most a few million events are in memory at once.

    Attributes:
        path: the file.
        format: the name of its format.
        width: of the sensor, in pixels.
        height: of the sensor, in pixels.
        calibration: the one given to `open_recording`, else the one stored in the file, else None.
        first_us: sensor time in µs of the first event, from the file's index; None if the file has no index.
        last_us: the same of the last event.
        n_events: number of events according to the file; None if not known without reading it.
        why: how the file was recognised and is interpreted, in words; empty if the format is unambiguous.
    """

    def __init__(
        self,
        path: Path,
        calibration: Calibration | None,
        stall_timeout_s: float,
        triggers: str | Path | None = None,
        hints: TableHints = NO_HINTS,
    ) -> None:
        if not 0 < stall_timeout_s <= _LONGEST_STALL_S:
            raise RecordingError(f"stall_timeout_s ({stall_timeout_s}) must be above 0 and at most a day, in seconds")
        self.path = path
        self._format = recognise(path)
        self._hints, self._trigger_file = hints, triggers
        if not self._format.takes_hints:
            self._refuse_hints(self._format.name, triggers is not None)
        self._size = hints.size
        if calibration is not None and hints.size is None:
            self._size = calibration.camera.width, calibration.camera.height
        self._stall_timeout_s = stall_timeout_s
        self._sanitizer: Sanitizer | None = None
        self._closed = False
        self._running: set[WorkerProcess] = set()
        self._waiting: WorkerProcess | None  # started on opening, used by the first iteration
        self._waiting, header = self._start()
        try:
            if not header.takes_hints:
                self._refuse_hints(header.why, triggers is not None)
            self.format = header.format
            self.width, self.height = header.width, header.height
            if not (0 < self.width <= _LARGEST_SENSOR and 0 < self.height <= _LARGEST_SENSOR):
                raise RecordingError(f"{path}: claims a sensor of {self.width}×{self.height} pixels; it is damaged")
            if hints.size not in (None, (self.width, self.height)):
                raise RecordingError(
                    f"{path}: says itself that its sensor has {self.width}×{self.height} pixels; leave out --size"
                )
            self.first_us, self.last_us, self.n_events = header.first_us, header.last_us, header.n_events
            self._notes = tuple(header.notes)
            self.why = header.why
            self._earliest_us = header.earliest_us
            if calibration is None and header.lens_toml is not None:
                calibration = Calibration.parse(header.lens_toml, name=f"{path}: stored lens_toml")
            self.calibration = calibration
            if calibration is not None:
                camera = calibration.camera
                if (camera.width, camera.height) != (self.width, self.height):
                    raise CalibrationError(
                        f"{path}: has {self.width}×{self.height} pixels, but the calibration is for "
                        f"{camera.width}×{camera.height}; give the lens.toml of this camera"
                    )
            sweep = None if calibration is None else calibration.sweep
            self._triggers = None if triggers is None else read_trigger_file(triggers, sweep, hints.time_unit)
            self._notes += self._triggers.notes if self._triggers else ()
        except BaseException:
            self.close()
            raise

    @property
    def repairs(self) -> Repairs:
        """Repairs so far in the latest iteration, and notes from opening."""
        return Repairs(notes=self._notes) if self._sanitizer is None else self._sanitizer.repairs

    def __iter__(self) -> Iterator[Batch]:
        """Batches in time order.

        Raises:
            RecordingError: the rest cannot be read; batches before the damage have been yielded.
        """
        if self._waiting is None:
            process, _ = self._start()
        else:
            process, self._waiting = self._waiting, None
        sanitizer = self._sanitizer = Sanitizer(str(self.path), self.width, self.height, earliest_us=self._earliest_us)
        sanitizer.notes = self._notes
        try:
            chunks = _noted(consume(process), sanitizer)
            for chunk in chunks if self._triggers is None else self._triggers.merge(chunks):
                yield from sanitizer.admit(chunk)
            yield from sanitizer.finish()
        except WorkerFailure as failure:
            yield from sanitizer.rest()
            raise self._explain(failure, sanitizer) from failure
        except RecordingError:
            yield from sanitizer.rest()
            raise
        finally:
            self._end(process)

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Read the whole recording into memory.

        Returns:
            Events, (N,) `EVENT_DTYPE`, and triggers, (M,) `TRIGGER_DTYPE`, both in time order.

        Raises:
            RecordingError: it cannot be read to the end.
        """
        batches = list(self)
        return join([b.events for b in batches]), join([b.triggers for b in batches], TRIGGER_DTYPE)

    def close(self) -> None:
        """End the decoder's process; a running iteration raises an error. May be called repeatedly."""
        self._closed = True
        self._waiting = None
        for process in tuple(self._running):
            self._end(process)

    def __repr__(self) -> str:
        counted = "" if self.n_events is None else f", {self.n_events:,} events"
        if self.first_us is not None and self.last_us is not None:
            counted += f" in {(self.last_us - self.first_us) * 1e-6:.3g} s"
        lens = "no calibration" if self.calibration is None else "calibrated"
        return f"Recording({self.path.name}, {self.format}, {self.width}×{self.height}{counted}, {lens})"

    def _repr_png_(self) -> bytes:
        """Picture for notebooks: event rates, sweeps and the first event focal stack. Reads the whole file."""
        from ..files.survey import survey
        from ..files.survey_figure import recording_figure
        from ..reporting.figures import figure_png

        calibration = self.calibration
        return figure_png(
            recording_figure(survey(self.path, calibration, triggers=self._trigger_file, hints=self._hints))
        )

    def _start(self) -> tuple[WorkerProcess, Header]:
        if self._closed:
            raise RecordingError(f"{self.path}: is closed; open it again to read it again")
        arguments = {"path": str(self.path.absolute()), "size": self._size}
        if self._format.takes_hints:
            arguments |= {"columns": self._hints.columns, "time_unit": self._hints.time_unit}
        try:
            process = WorkerProcess("source", f"{__package__}.{self._format.decoder}", arguments, self._stall_timeout_s)
            self._running.add(process)
            try:
                return process, Header(**process.receive()["header"])
            except BaseException:
                self._end(process)
                raise
        except WorkerFailure as failure:
            raise self._explain(failure, None) from failure

    def _refuse_hints(self, what: str, has_trigger_file: bool) -> None:
        """Raise an error for hints without effect; a trigger file may need the time unit."""
        if self._hints.columns is not None or (self._hints.time_unit is not None and not has_trigger_file):
            raise RecordingError(
                f"{self.path}: is {what}, which says its columns and its unit of time itself; leave out --columns and "
                "--time-unit"
            )

    def _end(self, process: WorkerProcess) -> None:
        process.close()
        self._running.discard(process)

    def _explain(self, failure: WorkerFailure, sanitizer: Sanitizer | None) -> RecordingError:
        """The error as one line: what happened, what had been read, and the remedy."""
        if self._closed:
            return RecordingError(f"{self.path}: was closed while it was being read")
        n_events, last_us = (0, 0) if sanitizer is None else sanitizer.progress
        read = f" after {n_events:,} events up to {last_us} µs were read" if n_events else ""
        if failure.kind in ("spinning", "crashed"):
            text = f"the decoder {failure}{read}; the file is probably damaged there: copy it again from the camera"
        elif failure.kind == "waiting":
            text = f"the decoder {failure}{read}; try again, with the file on a local disk"
        elif failure.kind in ("killed", "starved"):
            text = f"the decoder {failure}{read}; try again when less is running"
        else:
            text = f"{failure}{read}"
        return RecordingError(f"{self.path}: {text}")


def _noted(chunks: Generator[Chunk, None, dict[str, Any] | None], sanitizer: Sanitizer) -> Iterator[Chunk]:
    """Pass chunks on, and count the losses reported at their end."""
    losses = yield from chunks
    if losses is not None:
        sanitizer.add_losses(Losses(**losses))


def open_recording(
    path: str | Path,
    calibration: Calibration | None = None,
    stall_timeout_s: float = DEFAULT_STALL_TIMEOUT_S,
    *,
    triggers: str | Path | None = None,
    hints: TableHints = NO_HINTS,
) -> Recording:
    """Open an event recording of any format in docs/formats.md; formats are recognised by content.

    Args:
        path: of the file, or of the folder of a ROS 2 bag.
        calibration: overrides the one in the file, and gives the sensor size if the file does not.
        stall_timeout_s: longest time that the decoder may compute, or wait for the disk, for a single step, in seconds.
            If the machine is too busy to let it compute, it is waited for ten times as long, but at most two minutes.
        triggers: a trigger file, whose triggers replace the recording's own; see docs/formats.md.
        hints: column order, time unit and sensor size for text and array files that do not specify them;
            `hints.time_unit` applies to `triggers`, too.

    Returns:
        The recording, to be closed after use: it is a context manager.

    Raises:
        RecordingError: the file is missing, damaged or not a recording, its sensor size is unknown, or a library is not
            installed.
        CalibrationError: the stored calibration is invalid, or the given one is for another sensor size.

    Examples:
        >>> with open_recording("sweep.aedat4") as recording:
        ...     print(recording)
        ...     events, triggers = recording.read()
        Recording(sweep.aedat4, AEDAT4, 240×180 in 0.8 s, calibrated)
        >>> events.dtype.names
        ('timestamp', 'x', 'y', 'polarity')
    """
    return Recording(Path(path), calibration, stall_timeout_s, triggers, hints)
