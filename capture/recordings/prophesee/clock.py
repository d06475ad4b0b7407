"""Unwrapping of the sensor clock in a file's time words: few bits, which overflow, repeat, and are sometimes wrong.

A clock counts steps modulo `period`. A reading that differs from the previous one by more than DISORDER_US is
interpreted by the readings that follow it:

- If those continue from the previous reading, this one is an outlier (`STALE`): its events have no valid time.
- Otherwise a fall by `wrap_at` steps or more is an overflow (`WRAP`), as in Prophesee's decoders, after any pause.
- A smaller fall is reported (`FALL`), and the file's reader decides what to do.
- A reading from just before an overflow that arrives after it is late (`BEHIND`); other rises are pauses (`ACCEPT`).

Numba caches the kernels of other modules with `advance` inlined, but checks only their own files for changes: delete
`__pycache__` after changing this module.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import from_dtype, njit, types

from ...events import TRIGGER_DTYPE

FOLLOWING = 4
"""Number of following readings that decide how an outlier is interpreted."""

LOOKAHEAD_WORDS = 32_768
"""How far ahead they are searched for; with a time word every 64 µs, enough for 128 million EVT2 events per second."""

NEAR_US = 1_000_000
"""Readings further apart than this do not continue each other."""

DISORDER_US = 20_000
"""Clock steps up to this, forward or backward, are accepted without further checks."""

ACCEPT, WRAP, STALE, FALL, BEHIND = range(5)

STATE_DTYPE = np.dtype(
    [
        ("high", "<i8"),  # last good reading in steps, −1 before the first
        ("wraps", "<i8"),
        ("base", "<i8"),  # time of `high` in µs, overflows included
        ("valid", "<i8"),  # whether `base` is valid for events
        ("low", "<i8"),  # EVT3: µs within the step
        ("y", "<i8"),  # EVT3: the row, −1 before the first
        ("x", "<i8"),  # EVT3: where the next vector starts
        ("on", "<i8"),  # EVT3: its polarity
        ("early", "<i8"),  # events dropped because they came before the first reading (EVT3: or the first row)
        ("stale", "<i8"),  # events dropped because their time reading is an outlier
        ("triggers", "<i8"),  # triggers dropped for one of these reasons
        ("unknown", "<i8"),  # words of a kind unknown to the encoding
        ("fall_to", "<i8"),  # reading at which the kernel stopped because the clock falls, else −1
        ("paused", "<i8"),  # overflows during pauses longer than NEAR_US
        ("longest_us", "<i8"),  # the longest of them
    ]
)


@dataclass(frozen=True)
class Clock:
    """A format's clock: steps of `step_us` modulo `period`; falls by `wrap_at` steps or more are overflows."""

    step_us: int
    period: int
    wrap_at: int

    @property
    def bits(self) -> int:
        """Number of bits of the clock in microseconds."""
        return (self.period * self.step_us).bit_length() - 1

    def limits(self, start_us: int = 0) -> np.ndarray:
        """Kernel argument, (6,) int64: step_us, period, wrap_at, NEAR_US and DISORDER_US in steps, time of reading 0 in
        µs."""
        near, disorder = NEAR_US // self.step_us, DISORDER_US // self.step_us
        return np.array((self.step_us, self.period, self.wrap_at, near, disorder, start_us), np.int64)


# Prophesee's EVT2 decoder takes only a fall by nearly the full 28 bits as an overflow. A clock that falls by
# less has been restarted: it takes 4.8 hours to overflow.
EVT2_CLOCK = Clock(64, 1 << 28, (1 << 28) - (1 << 22))
EVT3_CLOCK = Clock(4096, 1 << 12, 1 << 11)
CLOCK_32 = Clock(1, 1 << 32, 1 << 31)


def kernel_types(half: types.Integer, *more: types.Type) -> Any:
    """Signature of the kernels, which compiles them on import: a worker's first call has a time limit.

    Args:
        half: type of their words, or halves of words.
        more: their arguments after `limits`.
    """
    flat = [
        types.Array(item, 1, "C") for item in (half, types.int64, from_dtype(TRIGGER_DTYPE), from_dtype(STATE_DTYPE))
    ]
    words, out, triggers, state = flat
    return types.UniTuple(types.int64, 3)(
        words, types.int64, types.int64, out, triggers, state, types.Array(types.int64, 1, "C"), *more
    )


def new_state() -> np.ndarray:
    """(1,) STATE_DTYPE before the first word."""
    state = np.zeros(1, STATE_DTYPE)
    state[["high", "y", "fall_to"]] = -1
    return state


@njit(nogil=True, cache=True)
def judge(
    reading: int | np.int64,
    high: int,
    wraps: int,
    following: np.ndarray,  # (≥ n,) int64, the readings after it
    n: int,
    limits: np.ndarray,  # (6,) int64, `Clock.limits`
) -> int:
    """Interpret a reading that is far from the previous one, `high`."""
    period, wrap_at, near = limits[1], limits[2], limits[3]
    with_old = with_new = 0
    for k in range(n):
        after_old, after_new = (following[k] - high) % period, (following[k] - reading) % period
        with_old += after_old <= near and after_old < after_new
        with_new += after_new <= near and after_new <= after_old
    if with_old > with_new:
        return BEHIND if reading > high and wraps > 0 and (high - reading) % period <= near else STALE
    if reading >= high:
        return ACCEPT
    return WRAP if high - reading >= wrap_at else FALL


@njit(nogil=True, cache=True)
def advance(
    state: np.ndarray,  # (1,) STATE_DTYPE
    reading: int | np.int64,
    following: np.ndarray,  # (≥ n,) int64
    n: int,
    limits: np.ndarray,  # (6,) int64
) -> bool:
    """Advance the clock by a reading far from the previous one, as `judge` interprets it; False if the clock falls."""
    s = state[0]
    step_us, period = limits[0], limits[1]
    verdict = judge(reading, s.high, s.wraps, following, n, limits)
    if verdict == FALL:
        s.fall_to = reading
        return False
    s.valid = verdict != STALE
    if verdict == STALE:
        return True
    if verdict == BEHIND:
        s.base = ((s.wraps - 1) * period + reading) * step_us + limits[5]
        return True
    if verdict == WRAP:
        s.wraps += 1
        pause_us = (reading - s.high) % period * step_us
        if pause_us > NEAR_US:
            s.paused += 1
            s.longest_us = max(s.longest_us, pause_us)
    s.high = reading
    s.base = (s.wraps * period + reading) * step_us + limits[5]
    return True


def accept_fall(state: np.ndarray) -> None:
    """Continue from the reading that the clock has fallen to."""
    state["high"], state["fall_to"] = state["fall_to"], -1


@dataclass
class PlainClock:
    """The readable reference of `judge` and `advance`. It continues after a fall of the clock, and records the fall."""

    clock: Clock
    high: int = -1
    wraps: int = 0
    base: int = 0
    valid: bool = False
    falls: list[tuple[int, int]] = field(default_factory=list)
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("early", "stale", "triggers", "unknown", "paused", "longest_us"), 0)
    )

    def read(self, reading: int, following: list[int]) -> None:
        """Advance the clock by a reading, interpreted by those that follow it."""
        clock = self.clock
        near, disorder = NEAR_US // clock.step_us, DISORDER_US // clock.step_us
        in_line = self.high < 0 or abs(reading - self.high) <= disorder
        if not in_line:
            votes = 0  # for this reading, minus those for the previous one
            for other in following:
                steps = {(other - self.high) % clock.period: -1, (other - reading) % clock.period: 1}
                votes += steps[min(steps)] if min(steps) <= near else 0
            if votes < 0:
                self.valid = bool(self.wraps and reading > self.high and (self.high - reading) % clock.period <= near)
                if self.valid:  # from before the overflow
                    self.base = ((self.wraps - 1) * clock.period + reading) * clock.step_us
                return
            if self.high - reading >= clock.wrap_at:
                self.wraps += 1
                pause_us = (reading - self.high) % clock.period * clock.step_us
                if pause_us > NEAR_US:
                    self.counts["paused"] += 1
                    self.counts["longest_us"] = max(self.counts["longest_us"], pause_us)
            elif reading < self.high:
                self.falls.append((self.high, reading))
        self.set(reading)

    def set(self, reading: int) -> None:
        """Set the clock to a reading without checks."""
        self.high, self.valid = reading, True
        self.base = (self.wraps * self.clock.period + reading) * self.clock.step_us

    def drop_event(self) -> None:
        self.counts["early" if self.high < 0 else "stale"] += 1
