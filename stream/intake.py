"""Turns batches into the spans to be binned: removes disturbances, and skips incomplete sweeps."""

from collections import Counter
from collections.abc import Iterable, Iterator

from ..capture.calibration import Calibration
from ..capture.disturbances import Watch
from ..capture.events import Batch
from ..capture.tracking import Span, Tracker
from .overload import MissingEvents


class Intake:
    """The binning thread's processing before binning. Hot pixels are masked, strong flicker is averaged away if
    `suppressing`, and motion is detected; each lowers the quality.

    Iterate over the results lazily: `quality` refers to the latest span.
    """

    def __init__(self, calibration: Calibration, tracker: Tracker, drops: Counter[str], *, suppressing: bool) -> None:
        self.missing = MissingEvents(drops)
        self._tracker = tracker
        self._watch = Watch(calibration, suppressing=suppressing)
        self._end_us: int | None = None

    def feed(self, batch: Batch) -> Iterator[tuple[Span, int]]:
        """Spans, and for each the number of events possibly missing from its sweep."""
        yield from self._sift(self._tracker.feed(self._watch.clean(batch)))
        self._end_us = batch.end_us

    def finish(self) -> Iterator[tuple[Span, int]]:
        """The remaining spans when the source has ended."""
        if self._end_us is not None:
            yield from self._sift(self._tracker.feed(self._watch.finish(self._end_us)))
        yield from self._sift(self._tracker.finish())

    @property
    def quality(self) -> float:
        """Current quality of timing and events, 0 to 1."""
        return self._tracker.quality * self._watch.quality

    @property
    def warnings(self) -> tuple[str, ...]:
        """Current disturbances and timing problems, one line each."""
        return tuple(self._watch.warnings)

    def _sift(self, spans: Iterable[Span]) -> Iterator[tuple[Span, int]]:
        for span in spans:
            missing = self.missing.within(span.sweep)
            if not missing:  # missing events would look like motion
                self._watch.see(span)
            if not self.missing.gives_up(span, missing):
                yield span, missing
