"""Endless replay of a recording, for demonstrations."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ..capture.events import TRIGGER_DTYPE, Batch, join
from ..capture.recordings import open_recording
from ..capture.tracking import make_tracker
from ..net.estimators import make_estimator
from .pipeline import Pipeline, Sinks
from .replay import calibration_of
from .wire.compression import Encoding
from .wire.publisher import Publisher

_BATCH_US = 20_000


@contextmanager
def published_loop(path: str | Path, estimator: str | None = None, encoding: Encoding = "none") -> Iterator[str]:
    """Replay a recording with triggers in an endless loop as one live stream; yields the loopback address where its
    depth is published.

    Raises:
        RecordingError, CalibrationError: it cannot be read, or has no calibration.
    """
    with open_recording(path) as recording:
        calibration = calibration_of(recording)
        batches = list(recording)
    whole = Batch(join([b.events for b in batches]), join([b.triggers for b in batches], TRIGGER_DTYPE), 0)
    stop = threading.Event()
    with Publisher("tcp://127.0.0.1:*", encoding=encoding) as publisher:
        pipeline = Pipeline(
            calibration,
            make_tracker(calibration),
            make_estimator(estimator),
            Sinks(
                (publisher.publish,),
                (publisher.publish,),
                publisher.publish,
                lambda: publisher.has_subscribers("stack"),
            ),
            speed=1.0,
            stopping=stop,
        )
        thread = threading.Thread(target=pipeline.run, args=(rounds(whole),), name="loop")
        thread.start()
        try:
            yield publisher.address
        finally:
            stop.set()
            thread.join()


def rounds(whole: Batch, step_us: int = _BATCH_US) -> Iterator[Batch]:
    """Repeat the part between the first trigger and the last one with the same edge, with continuous time."""
    triggers = whole.triggers
    alike = triggers["timestamp"][triggers["edge"] == triggers["edge"][0]]
    start, end = int(alike[0]), int(alike[-1])
    shift = 0
    while True:
        for at in range(start, end, step_us):
            until = min(at + step_us, end)
            events, edges = (_shifted(part, at, until, shift) for part in (whole.events, triggers))
            yield Batch(events, edges, until + shift)
        shift += end - start


def _shifted(part: np.ndarray, start_us: int, end_us: int, shift_us: int) -> np.ndarray:
    """A copy of the items between two times, shifted in time."""
    first, last = np.searchsorted(part["timestamp"], (start_us, end_us))
    moved = part[first:last].copy()
    moved["timestamp"] += shift_us
    return moved
