"""Flickering light: detected as a line in the spectrum of the signed event rate, and averaged away.

Lamps on the mains brighten and dim twice in each of its periods, at 100 or 120 Hz, and with them every pixel at once:
ON events in one half of the cycle, OFF events in the other. What the focus does is slow against that, so the mean
brightness over exactly one cycle has all of the focus in it and nothing of the flicker. `CycleMean` keeps each
pixel's brightness as integrated from its events, takes the mean over every cycle, and fires the events that a
sensor would have fired for that mean.
"""

from dataclasses import dataclass

import numpy as np

from ..events import EVENT_DTYPE, TRIGGER_DTYPE, Batch, join
from .kernels import AREA, BEFORE, DOWNS, MEMORY, OFF_STEP, START, UPS, close_cycle, scatter, step_levels

SLOT_US = 1000
WINDOW_SLOTS = 250
"""A quarter of a second: lines of 100 and 120 Hz are five lines' widths apart."""

MAINS_HZ = (100.0, 120.0)
MAINS_DRIFT_HZ = 2.0
"""Mains stay within a hundredth of their frequency (EN 50160), twice of that in light."""

MIN_SHARE = 0.03
"""Events that must be flicker's, of all, before it is worth a word."""

LINE_TO_FLOOR = 5.0
"""How far a line must stand out of the median amplitude around it: of 250 slots of pure noise the greatest of the few
that are looked at exceeded three times the median in one window of a thousand."""

SWEEP_HARMONICS = 8
"""Multiples of a lens's own frequency that its turning points and planes make lines at."""

THRESHOLD_PRIOR = 4.0
"""Events' worth of belief that a pixel's thresholds have the sensor's usual ratio."""

MAX_COUNTED = 4096.0
"""ON and OFF events of a pixel are forgotten by half when they are so many: thresholds drift with temperature."""

MIN_STEP, MAX_STEP = 0.25, 4.0
"""OFF thresholds of real sensors, in ON thresholds."""

LEARNING_CYCLES = 16
"""Cycles after which the thresholds' ratios are taken anew."""

MAX_FIRED = 2
"""Events a cycle of all pixels on average that there is room for; of the focus, a pixel has some tens a sweep."""

MAX_GAP_US = 1_000_000
"""After so long a time without events cycles begin anew, instead of being gone through one by one."""


@dataclass(frozen=True)
class Flicker:
    """Flickering light in one window of time."""

    hz: float  # nominal: 100 or 120
    share: float  # of the events that come and go in step with it, 0 to 1
    per_cycle: float  # of such events, of each pixel in each cycle


def find_flicker(
    on: np.ndarray,  # (S,) ON events in slots of `SLOT_US`
    off: np.ndarray,  # (S,) OFF events
    pixels: int,
    sweep_hz: float,  # full periods of the lens a second
) -> Flicker | None:
    """The mains line in the signed rate of one window, if there is one.

    A square wave of amplitude r, the event rate, has a line of 4/π · r; so π/4 of the line over the rate is the share
    of events that come and go with it.
    """
    window, signed = np.hanning(len(on)), on - off
    rate = float(np.sum((on + off) * window))
    if rate == 0:
        return None
    line = 2 * np.abs(np.fft.rfft((signed - signed.mean()) * window)) / rate
    hz = np.fft.rfftfreq(len(signed), SLOT_US * 1e-6)
    best: Flicker | None = None
    for mains in MAINS_HZ:
        near = np.abs(hz - mains) <= MAINS_DRIFT_HZ + 0.5 * hz[1]
        harmonic = round(mains / sweep_hz)
        if 0 < harmonic <= SWEEP_HARMONICS and abs(mains - harmonic * sweep_hz) < 2 * hz[1]:
            continue  # the lens itself would be taken for a lamp
        around = (np.abs(hz - mains) > 3 * hz[1]) & (np.abs(hz - mains) < 10 * hz[1])
        around &= np.min(np.abs(hz[:, None] - np.array(MAINS_HZ)), axis=1) > 3 * hz[1]
        height = float(line[near].max())
        share = min(1.0, np.pi / 4 * height)
        beside = float(line[~near & (np.abs(hz - mains) < MAINS_DRIFT_HZ + 3.5 * hz[1])].max())
        if share > MIN_SHARE and height > beside and height > LINE_TO_FLOOR * float(np.median(line[around])):
            found = Flicker(mains, share, share * rate / (window.sum() * SLOT_US * 1e-6 * mains * pixels))
            best = found if best is None or found.share > best.share else best
    return best


class CycleMean:
    """Events as they would be if every pixel saw its mean over each cycle of the flicker.

    It answers a cycle and a half late at most. Cycles begin anywhere: a mean over a whole one is free of flicker
    wherever it begins. The ratio of a pixel's two thresholds decides whether its level comes back after a cycle; since
    it does, the numbers of ON and OFF events tell that ratio.
    """

    def __init__(
        self,
        hz: float,
        start_us: int,
        on: np.ndarray,  # (H, W) ON events of each pixel so far
        off: np.ndarray,  # (H, W) OFF events
    ) -> None:
        self.hz = hz
        self._cycle_us = round(1e6 / hz)
        self._start_us = self._end_us = start_us
        self._number = 0  # of the cycle under way
        self._pixels = np.zeros((*on.shape, 8), np.float32)
        self._pixels[..., UPS], self._pixels[..., DOWNS] = on, off
        self._learn()
        # Memories are anywhere between the thresholds; in step, all pixels would fire together.
        self._pixels[..., MEMORY] = np.random.default_rng(0).uniform(-1, self._pixels[..., OFF_STEP])
        self._triggers = np.empty(0, TRIGGER_DTYPE)
        capacity = MAX_FIRED * on.size
        self._fired = np.empty(capacity, np.int64), np.empty(capacity, np.int64), np.empty(capacity, np.int8)

    def feed(self, batch: Batch) -> Batch:
        """The events of all cycles that this batch completes, and the triggers up to there."""
        events, done = batch.events, [np.empty(0, EVENT_DTYPE)]
        self._triggers = join([self._triggers, batch.triggers], TRIGGER_DTYPE)
        while True:
            if len(events) and int(events["timestamp"][0]) - self._cycle_end_us > MAX_GAP_US:
                self._begin_again(int(events["timestamp"][0]))
            end_us = self._cycle_end_us
            n = int(np.searchsorted(events["timestamp"], end_us))
            t, x, y, polarity = (events[name][:n] for name in ("timestamp", "x", "y", "polarity"))
            step_levels(t, x, y, polarity, end_us, self._pixels)
            events = events[n:]
            if end_us > batch.end_us or (not len(events) and batch.end_us - end_us > MAX_GAP_US):
                break
            done.append(self._close())
        return self._passed(join(done), self._cycle_end_us - self._cycle_us - self._cycle_us // 2)

    def finish(self, end_us: int) -> Batch:
        """What is left up to a time: no events, since half a cycle has no mean, but triggers."""
        return self._passed(np.empty(0, EVENT_DTYPE), end_us)

    @property
    def _cycle_end_us(self) -> int:
        return self._start_us + (self._number + 1) * self._cycle_us

    def _passed(self, events: np.ndarray, end_us: int) -> Batch:
        self._end_us = max(self._end_us, end_us)
        n = int(np.searchsorted(self._triggers["timestamp"], self._end_us))
        triggers, self._triggers = self._triggers[:n], self._triggers[n:]
        return Batch(events, triggers, self._end_us)

    def _begin_again(self, at_us: int) -> None:
        """Begin cycles anew after a time without events."""
        self._start_us, self._number = at_us, 0

    def _close(self) -> np.ndarray:
        """End the cycle under way: its events, between the middle of the one before and its own."""
        if self._number == 0:  # there is no mean before the first
            mean = self._pixels[..., START] + self._pixels[..., AREA] / np.float32(self._cycle_us)
            self._pixels[..., MEMORY] += mean - self._pixels[..., BEFORE]
            self._pixels[..., BEFORE] = mean
        slots = np.zeros(self._cycle_us, np.int64)
        n = close_cycle(self._pixels, self._cycle_us, slots, *self._fired)
        events = np.empty(n, EVENT_DTYPE)
        middle_us = self._cycle_end_us - self._cycle_us - self._cycle_us // 2
        at, where, sign = (column[:n] for column in self._fired)
        columns = (events[name] for name in ("timestamp", "x", "y", "polarity"))
        scatter(at, where, sign, slots, self._pixels.shape[1], middle_us, *columns)
        self._number += 1
        if self._number % LEARNING_CYCLES == 0:
            self._learn()
        return events

    def _learn(self) -> None:
        """Take each pixel's ratio of thresholds from its numbers of events."""
        ups, downs = self._pixels[..., UPS], self._pixels[..., DOWNS]
        usual = float(ups.sum()) / max(float(downs.sum()), 1.0)
        ratio = (ups + np.float32(THRESHOLD_PRIOR * usual)) / (downs + np.float32(THRESHOLD_PRIOR))
        self._pixels[..., OFF_STEP] = np.clip(ratio, MIN_STEP, MAX_STEP)
        old = ups + downs > MAX_COUNTED
        if old.any():
            self._pixels[old, UPS : DOWNS + 1] /= 2
