"""From batches to the spans of sweeps that are binned: disturbances taken away, incomplete sweeps passed over."""

from collections import Counter
from collections.abc import Iterable, Iterator

from ..capture.calibration import Calibration
from ..capture.disturbances import Watch
from ..capture.events import Batch
from ..capture.tracking import Span, Tracker
from .overload import MissingEvents


class Intake:
    """What the binning thread does before it bins. Hot pixels are masked, flickering light is averaged away where
    there is much of it and `suppressing`, and motion is noticed; each lowers the quality.

    Iterate over what it returns as it comes: `quality` is that at the span last handed over.
    """

    def __init__(self, calibration: Calibration, tracker: Tracker, drops: Counter[str], *, suppressing: bool) -> None:
        self.missing = MissingEvents(drops)
        self._tracker = tracker
        self._watch = Watch(calibration, suppressing=suppressing)
        self._end_us: int | None = None

    def feed(self, batch: Batch) -> Iterator[tuple[Span, int]]:
        """Spans, and how many events may be missing from the sweep of each."""
        yield from self._sift(self._tracker.feed(self._watch.clean(batch)))
        self._end_us = batch.end_us

    def finish(self) -> Iterator[tuple[Span, int]]:
        """Those that are left when the source has ended."""
        if self._end_us is not None:
            yield from self._sift(self._tracker.feed(self._watch.finish(self._end_us)))
        yield from self._sift(self._tracker.finish())

    @property
    def quality(self) -> float:
        """Of the timing and of the events, as they are now; 0 to 1."""
        return self._tracker.quality * self._watch.quality

    @property
    def warnings(self) -> tuple[str, ...]:
        """What spoils depth, a line each."""
        return tuple(self._watch.warnings)

    def _sift(self, spans: Iterable[Span]) -> Iterator[tuple[Span, int]]:
        for span in spans:
            missing = self.missing.within(span.sweep)
            if not missing:  # else what is missing would be taken for motion
                self._watch.see(span)
            if not self.missing.gives_up(span, missing):
                yield span, missing
