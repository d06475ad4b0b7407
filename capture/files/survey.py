"""Overview of a recording: event rates over time, the sweeps found, and the first sweep's focal stack."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..calibration import Calibration
from ..errors import SyncError
from ..events import TRIGGER_DTYPE, join
from ..recordings import open_recording
from ..recordings.hints import NO_HINTS, TableHints
from ..stack import EventFocalStack
from ..sweeps import Sweep
from ..tracking import Span, Tracker, make_tracker

_CELL_US = 1000
_MOST_CELLS = 2048
_BEGINNING_US = 2_000_000
_BEGINNING_SWEEPS = 6


@dataclass
class Rates:
    """Numbers of OFF and ON events in time cells of equal length.

    Without a `limit_us`, cells are merged in pairs whenever there are too many, so recordings of any length fit.
    """

    start_us: int
    cell_us: int = _CELL_US
    limit_us: int | None = None  # later events are not counted
    counts: np.ndarray = field(default_factory=lambda: np.zeros((2, 0), np.int64))  # (2, N): OFF, ON

    def add(self, events: np.ndarray) -> None:  # (N,) EVENT_DTYPE, in time order
        """Count more events, none of them before `start_us`."""
        if self.limit_us is not None:
            events = events[: np.searchsorted(events["timestamp"], self.limit_us)]
        if not len(events):
            return
        while (needed := int(events["timestamp"][-1] - self.start_us) // self.cell_us + 1) > _MOST_CELLS:
            self.cell_us *= 2
            self.counts = np.pad(self.counts, ((0, 0), (0, self.counts.shape[1] % 2))).reshape(2, -1, 2).sum(axis=2)
        if needed > self.counts.shape[1]:
            self.counts = np.pad(self.counts, ((0, 0), (0, needed - self.counts.shape[1])))
        cell = (events["timestamp"] - self.start_us) // self.cell_us
        for polarity in (0, 1):
            found = np.bincount(cell[events["polarity"] == polarity], minlength=self.counts.shape[1])
            self.counts[polarity] += found

    @property
    def times_s(self) -> np.ndarray:
        """Middles of the cells, (N,) seconds from `start_us`."""
        return (np.arange(self.counts.shape[1]) + 0.5) * self.cell_us * 1e-6

    @property
    def per_second(self) -> np.ndarray:
        """(2, N) OFF and ON events per second."""
        return self.counts / (self.cell_us * 1e-6)


@dataclass(frozen=True)
class Survey:
    """Overview of a whole recording."""

    path: Path
    width: int
    height: int
    n_events: int
    whole: Rates | None  # None: there is no event
    beginning: Rates | None  # the first sweeps, in finer cells
    triggers: np.ndarray  # (M,) TRIGGER_DTYPE
    sweeps: tuple[Sweep, ...]
    stack: EventFocalStack | None  # of the first complete sweep
    activity: np.ndarray  # (H, W) int64: events per pixel
    trouble: str  # why some or all sweeps are missing; empty if none are


def survey(
    path: str | Path,
    calibration: Calibration | None = None,
    on_progress: Callable[[float], None] | None = None,
    *,
    trigger_channel: int | None = None,
    triggers: str | Path | None = None,
    hints: TableHints = NO_HINTS,
) -> Survey:
    """Read a recording once and collect what its overview shows, keeping only one sweep's events in memory.

    `calibration` overrides the one in the file; without either there are no sweeps. `trigger_channel` and `triggers`
    are as for `replay`. `on_progress` is called with the number of events read.

    Raises:
        RecordingError, CalibrationError: as for `open_recording`.
    """
    path = Path(path)
    with open_recording(path, calibration, triggers=triggers, hints=hints) as recording:
        tracker, trouble = _tracker(recording.calibration, trigger_channel)
        gathered = _Gathered()
        activity = np.zeros(recording.height * recording.width, np.int64)
        whole = beginning = None
        edges, n_events = [], 0
        for batch in recording:
            events = batch.events
            if len(events) and whole is None:
                start_us = int(events["timestamp"][0])
                length_us = _BEGINNING_US
                if recording.calibration is not None:
                    length_us = max(length_us, round(_BEGINNING_SWEEPS * recording.calibration.sweep.duration_us))
                whole = Rates(start_us)
                beginning = Rates(start_us, max(_CELL_US, length_us // _MOST_CELLS), start_us + length_us)
            if whole is not None and beginning is not None:
                whole.add(events)
                beginning.add(events)
            activity += np.bincount(
                events["y"].astype(np.int64) * recording.width + events["x"], minlength=len(activity)
            )
            edges.append(batch.triggers)
            n_events += len(events)
            for span in tracker.feed(batch) if tracker else ():
                gathered.take(span)
            if on_progress:
                on_progress(n_events)
        try:
            for span in tracker.finish() if tracker else ():
                gathered.take(span)
        except SyncError as error:
            trouble = str(error)
        return Survey(
            path,
            recording.width,
            recording.height,
            n_events,
            whole,
            beginning,
            join(edges, TRIGGER_DTYPE),
            tuple(gathered.sweeps),
            gathered.stack,
            activity.reshape(recording.height, recording.width),
            trouble,
        )


def _tracker(calibration: Calibration | None, trigger_channel: int | None) -> tuple[Tracker | None, str]:
    if calibration is None:
        return None, "no calibration in the file: give one to see sweeps"
    try:
        return make_tracker(calibration.with_trigger_channel(trigger_channel)), ""
    except SyncError as error:
        return None, str(error)


@dataclass
class _Gathered:
    """The sweeps so far, and the events of the first complete one."""

    sweeps: list[Sweep] = field(default_factory=list)
    stack: EventFocalStack | None = None
    _events: list[np.ndarray] = field(default_factory=list)
    _start_us: int | None = None

    def take(self, span: Span) -> None:
        if self.stack is None:
            if span.sweep.start_us != self._start_us:
                self._start_us, self._events = span.sweep.start_us, []  # the previous one was incomplete
            self._events.append(span.events.copy())
            if span.closed:
                self.stack = EventFocalStack.build(join(self._events), span.sweep)
                self._events = []
        if span.closed:
            self.sweeps.append(span.sweep)
