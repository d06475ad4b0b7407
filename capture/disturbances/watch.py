"""Watches a stream for disturbances, removes those that can be removed, and reports the others."""

from collections import deque

import numpy as np

from ..calibration import Calibration
from ..events import EVENT_DTYPE, TRIGGER_DTYPE, Batch, join
from ..sources.steps import StepTally
from ..tracking import Span
from .flicker import SLOT_US, WINDOW_SLOTS, CycleMean, Flicker, find_flicker
from .hot import find_suspects
from .kernels import LAST, OFF, ON, count_signs, select, sum_signs, tally_pixels
from .motion import MotionWatch

AVERAGED_PER_CYCLE = 0.3
"""Flicker events per pixel and cycle from which flicker is averaged away. Fewer only shift events by part of a cycle;
see docs/tuning.md."""

SURE_WINDOWS, GONE_WINDOWS = 2, 8
"""Consecutive windows with a line before flicker is reported, and without one before it counts as gone."""

HOT_US = 2_000_000
"""Time over which events are counted before each search for hot pixels."""

TALLIED_PER_US = 1.0
"""Mean rate of events tallied per pixel: counting all of them would take a third of a core at 10 million per second."""

MAX_BATCH_US = 1_000_000
"""A longer batch is an interruption of the stream and not used to measure rates."""

MAX_COUNT = 100_000
"""A pixel's event counts are halved when they reach this number."""

MOVING_SHARE = 0.06
"""Unrest above which motion is reported: static scenes reached 0.04 with noisy sensors; sliding by a pixel per sweep
gave 0.07."""

HARMFUL_SHARE = 0.1
"""Unrest that halves the quality: there the depth error has about doubled; see docs/tuning.md."""

SETTLING_SWEEPS = 5
"""Sweeps after which averaging knows the thresholds well enough that residual flicker is not mistaken for motion."""

RECENT_SWEEPS = 8
"""Number of latest sweeps considered in the warning about motion."""


class Watch:
    """Runs before and after the tracker: `clean` filters its input, `see` examines its output.

    Used by one thread; other threads may read `quality` and `warnings`.
    """

    def __init__(self, calibration: Calibration, *, suppressing: bool = True) -> None:
        camera, sweep = calibration.camera, calibration.sweep
        shape = (camera.height, camera.width)
        self._suppressing = suppressing
        self._sweep_hz = sweep.frequency_hz

        self._masked = np.zeros(shape, bool)
        for x, y in camera.hot_pixels:
            self._masked[y, x] = True
        self._known_hot = self._hot = int(np.count_nonzero(self._masked))
        self._suspects: set[tuple[int, int]] = set()
        self._tally = np.zeros((*shape, 4), np.int32)  # of `tally_pixels`
        self._tally_before = self._tally.copy()  # at the previous search for hot pixels
        self._tallied_us = 0  # since the previous search
        self._allowance = 0.0  # events that may be tallied
        self._last_end_us: int | None = None

        self._slots = np.zeros((2, WINDOW_SLOTS), np.int64)  # ON and OFF events of the window
        self._steps = StepTally()  # of the window's times
        self._window_us: int | None = None  # its start
        self._lines: deque[Flicker | None] = deque(maxlen=GONE_WINDOWS)
        self._flicker: Flicker | None = None
        self._averager: CycleMean | None = None

        self._motion = MotionWatch(camera.width, camera.height, 1 if sweep.waveform == "sawtooth" else 2)
        self._unrest: deque[float | None] = deque(maxlen=RECENT_SWEEPS)
        self._settling = 0  # sweeps for which motion is not judged

    def clean(self, batch: Batch) -> Batch:
        """The batch without events of hot pixels and, where it is strong, of flicker.

        While flicker is averaged away, the output lags the input by up to a cycle and a half.
        """
        self._tally_some(batch)
        self._look_for_flicker(batch.events)
        events = batch.events
        if self._hot:
            kept = np.empty(len(events), EVENT_DTYPE)
            events = kept[: select(events, events["x"], events["y"], self._masked, kept)]
        batch = Batch(events, batch.triggers, batch.end_us)
        if self._averager is None:
            if not self._suppressing or not self._is_bad():
                return batch
            self._begin_averaging(batch)
        assert self._averager is not None
        cleaned = self._averager.feed(batch)
        if self._flicker is None or self._flicker.hz != self._averager.hz:
            left = self._averager.finish(batch.end_us)
            cleaned = Batch(cleaned.events, join([cleaned.triggers, left.triggers], TRIGGER_DTYPE), batch.end_us)
            self._averager = None
            self._motion.forget()
        return cleaned

    def finish(self, end_us: int) -> Batch:
        """The events still held back when the stream ends."""
        if self._averager is None:
            return Batch(np.empty(0, EVENT_DTYPE), np.empty(0, TRIGGER_DTYPE), end_us)
        return self._averager.finish(end_us)

    def see(self, span: Span) -> None:
        """Look for motion in the events that the tracker assigned to a sweep."""
        if self._averager is None and self._is_bad():
            self._motion.forget()  # flicker would look like motion
        unrest = self._motion.see(span)
        if span.closed:
            self._settling = max(0, self._settling - 1)
            self._unrest.append(None if self._settling else unrest)

    @property
    def quality(self) -> float:
        """Factor on depth quality for the current disturbances, 0 to 1."""
        quality, flicker = 1.0, self._flicker
        if flicker is not None:
            quality /= 1 + (flicker.per_cycle / 8 if self._averager else (2 * flicker.per_cycle) ** 2)
        latest = self._unrest[-1] if self._unrest else None
        if latest is not None:
            quality /= 1 + (latest / HARMFUL_SHARE) ** 2
        return quality

    @property
    def warnings(self) -> tuple[str, ...]:
        """One line for each current disturbance."""
        warnings: list[str] = []
        if (flicker := self._flicker) is not None:
            what = f"light flickers at {flicker.hz:g} Hz, and {flicker.share:.0%} of the events with it"
            warnings.append(what + (": averaged away" if self._averager else ""))
        if found := self._hot - self._known_hot:
            warnings.append(
                f"{found} hot pixels found and masked; `sweepdepth calibrate --rest` keeps them in lens.toml"
            )
        worst = max((unrest for unrest in tuple(self._unrest) if unrest is not None), default=0.0)
        if worst >= MOVING_SHARE:
            warnings.append(
                f"camera, scene or light changes during sweeps: {worst:.0%} of the brightness changes are not undone "
                "when the focus returns"
            )
        return tuple(warnings)

    def _is_bad(self) -> bool:
        """Whether flicker is strong enough to be averaged away."""
        return self._flicker is not None and self._flicker.per_cycle >= AVERAGED_PER_CYCLE

    def _begin_averaging(self, batch: Batch) -> None:
        assert self._flicker is not None
        times = [int(part["timestamp"][0]) for part in (batch.events, batch.triggers) if len(part)]
        start_us = min(times, default=batch.end_us)
        self._averager = CycleMean(self._flicker.hz, start_us, self._tally[..., ON], self._tally[..., OFF])
        self._motion.forget()
        self._unrest.clear()
        self._settling = SETTLING_SWEEPS

    def _look_for_flicker(self, events: np.ndarray) -> None:
        length_us = SLOT_US * WINDOW_SLOTS
        while len(events):
            first_us = int(events["timestamp"][0])
            if self._window_us is None or first_us >= self._window_us + 2 * length_us:
                self._window_us = first_us  # the first events, or the first after a long pause
                self._slots[:] = 0
                self._steps = StepTally()
            n = count_signs(events["timestamp"], events["polarity"], self._window_us, SLOT_US, *self._slots)
            self._steps.feed(events["timestamp"][:n])
            events = events[n:]
            if len(events):
                coarse = self._steps.coarse_us is not None  # the clock's steps would look like a lamp
                found = find_flicker(self._slots[0], self._slots[1], self._masked.size, self._sweep_hz)
                self._judge(None if coarse else found)
                self._window_us += length_us
                self._slots[:] = 0
                self._steps = StepTally()

    def _judge(self, line: Flicker | None) -> None:
        """Accept a change once enough consecutive windows agree."""
        self._lines.append(line)
        recent = list(self._lines)[-SURE_WINDOWS:]
        if len(recent) == SURE_WINDOWS and len({line.hz if line else None for line in recent}) == 1 and line:
            self._flicker = line
        elif len(self._lines) == GONE_WINDOWS and not any(self._lines):
            self._flicker = None

    def _tally_some(self, batch: Batch) -> None:
        """Count each pixel's events; in a busy stream only in some batches, since counting is expensive."""
        before_us, self._last_end_us = self._last_end_us, batch.end_us
        length_us = 0 if before_us is None else batch.end_us - before_us
        if not 0 < length_us <= MAX_BATCH_US:
            return
        self._allowance = min(self._allowance + TALLIED_PER_US * length_us, TALLIED_PER_US * MAX_BATCH_US)
        if self._allowance <= 0:
            return
        events = batch.events
        self._allowance -= len(events)
        tally_pixels(events["x"], events["y"], events["polarity"], self._tally)
        self._tallied_us += length_us
        if self._tallied_us >= HOT_US:
            self._find_hot(self._tallied_us * 1e-6)

    def _find_hot(self, seconds: float) -> None:
        """Mask the pixels that looked hot in two consecutive searches."""
        suspects = {(int(x), int(y)) for x, y in find_suspects(self._tally - self._tally_before, seconds)}
        for x, y in suspects & self._suspects:
            self._masked[y, x] = True
        self._hot = int(np.count_nonzero(self._masked))
        self._suspects, self._tallied_us = suspects, 0
        if self._tally.max() > MAX_COUNT:
            self._tally[..., :LAST] //= 2
        self._tally_before = self._tally.copy()


def warm_up() -> None:
    """Compile all kernels, so that a stream does not wait for it."""
    events = np.zeros(1, EVENT_DTYPE)
    x, y, polarity = events["x"], events["y"], events["polarity"]
    count_signs(events["timestamp"], polarity, 0, SLOT_US, np.zeros(1, np.int64), np.zeros(1, np.int64))
    tally_pixels(x, y, polarity, np.zeros((1, 1, 4), np.int32))
    select(events, x, y, np.zeros((1, 1), bool), np.empty(1, EVENT_DTYPE))
    sum_signs(x, y, polarity, 0, np.zeros((1, 1, 2), np.int32))
    one = np.ones((1, 1), np.int32)
    CycleMean(100.0, 0, one, one).feed(Batch(events, np.empty(0, TRIGGER_DTYPE), 30_000))
