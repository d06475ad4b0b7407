"""Flickering light: detected as a line in the spectrum of the signed event rate, and removed by averaging.

Mains lamps brighten and dim twice per mains period, at 100 or 120 Hz, and all pixels with them: ON events in one half
of the cycle, OFF events in the other. The focus changes slowly in comparison, so the mean brightness over exactly one
cycle keeps the signal of the focus and removes the flicker. `CycleMean` integrates each pixel's brightness from its
events, averages it over every cycle, and emits the events that a sensor would have fired for that mean.
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
"""Mains frequency stays within 1 % (EN 50160), so the light's stays within 1 Hz of 100 or 120 Hz; doubled."""

MIN_SHARE = 0.03
"""Least share of the events caused by flicker for it to be reported."""

LINE_TO_FLOOR = 5.0
"""Least ratio of a line to the median amplitude around it. In pure noise, the largest of the few lines examined
exceeded three times the median in one window of a thousand."""

SWEEP_HARMONICS = 8
"""Harmonics of the lens's own frequency, excluded because turning points and planes in focus make lines there."""

THRESHOLD_PRIOR = 4.0
"""Weight, in events, of the prior that a pixel's thresholds have the sensor's mean ratio."""

MAX_COUNTED = 4096.0
"""A pixel's ON and OFF counts are halved when they reach this number, since thresholds drift with temperature."""

MIN_STEP, MAX_STEP = 0.25, 4.0
"""Range of the OFF threshold of real sensors, in ON thresholds."""

LEARNING_CYCLES = 16
"""Cycles after which the threshold ratios are updated."""

MAX_FIRED = 2
"""Capacity, in events per pixel and cycle; the focus makes some tens of events per pixel and sweep."""

MAX_GAP_US = 1_000_000
"""After a longer pause without events, cycles restart instead of being processed one by one."""


@dataclass(frozen=True)
class Flicker:
    """Flickering light in one window of time."""

    hz: float  # nominal: 100 or 120
    share: float  # of the events that are in phase with it, 0 to 1
    per_cycle: float  # such events per pixel and cycle


def find_flicker(
    on: np.ndarray,  # (S,) ON events in slots of `SLOT_US`
    off: np.ndarray,  # (S,) OFF events
    pixels: int,
    sweep_hz: float,  # full periods of the lens a second
) -> Flicker | None:
    """Find the mains line in the signed event rate of one window.

    A square wave of amplitude r, the event rate, has a line of 4/π · r, so π/4 times the line over the rate is the
    share of events in phase with it.
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
            continue  # would confuse the lens's own motion with a lamp
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
    """Replaces events by those of each pixel's mean brightness over each flicker cycle.

    The delay is at most a cycle and a half. The phase of the cycles does not matter: a mean over a whole cycle is free
        of flicker wherever the cycle begins. A pixel's level returns to its start after a cycle, so the ratio of its ON
        to its OFF events gives the ratio of its two thresholds.
    """

    def __init__(
        self,
        hz: float,
        start_us: int,
        on: np.ndarray,  # (H, W) ON events per pixel so far
        off: np.ndarray,  # (H, W) OFF events
    ) -> None:
        self.hz = hz
        self._cycle_us = round(1e6 / hz)
        self._start_us = self._end_us = start_us
        self._number = 0  # of the current cycle
        self._pixels = np.zeros((*on.shape, 8), np.float32)
        self._pixels[..., UPS], self._pixels[..., DOWNS] = on, off
        self._learn()
        # Reference levels start at random between the thresholds; otherwise all pixels would fire together.
        self._pixels[..., MEMORY] = np.random.default_rng(0).uniform(-1, self._pixels[..., OFF_STEP])
        self._triggers = np.empty(0, TRIGGER_DTYPE)
        capacity = MAX_FIRED * on.size
        self._fired = np.empty(capacity, np.int64), np.empty(capacity, np.int64), np.empty(capacity, np.int8)

    def feed(self, batch: Batch) -> Batch:
        """The events of the cycles that this batch completes, and the triggers up to their end."""
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
        """The rest up to a time: triggers only, since an incomplete cycle has no mean."""
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
        """Restart the cycles after a pause without events."""
        self._start_us, self._number = at_us, 0

    def _close(self) -> np.ndarray:
        """End the current cycle; returns the events between the middle of the previous cycle and that of this one."""
        if self._number == 0:  # there is no earlier mean
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
        """Estimate each pixel's threshold ratio from its numbers of events."""
        ups, downs = self._pixels[..., UPS], self._pixels[..., DOWNS]
        usual = float(ups.sum()) / max(float(downs.sum()), 1.0)
        ratio = (ups + np.float32(THRESHOLD_PRIOR * usual)) / (downs + np.float32(THRESHOLD_PRIOR))
        self._pixels[..., OFF_STEP] = np.clip(ratio, MIN_STEP, MAX_STEP)
        old = ups + downs > MAX_COUNTED
        if old.any():
            self._pixels[old, UPS : DOWNS + 1] /= 2
