"""The sensor's clock as the words of a file give it: few bits, which overflow, repeat, and are sometimes wrong.

A clock counts steps modulo `period`. What a reading means that is more than DISORDER_US from the one before is decided
by the readings that follow it:

- If those go on from the reading before, this one alone is out of line (`STALE`): events under it have no valid time.
- Otherwise a fall of `wrap_at` steps or more is an overflow (`WRAP`), as in Prophesee's decoders, whatever the pause.
- A smaller fall is one (`FALL`): the file's reader has to say what it makes of it.
- A reading from just before an overflow that comes after it is behind (`BEHIND`); other rises are pauses (`ACCEPT`).

The kernels of other modules are cached with `advance` compiled into them, and Numba looks at their own files alone to
see whether a cache is stale: delete `__pycache__` after a change here.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numba import from_dtype, njit, types

from ...events import TRIGGER_DTYPE

FOLLOWING = 4
"""How many readings after one that is out of line decide what it means."""

LOOKAHEAD_WORDS = 32_768
"""How far they are looked for. At 64 µs a time word this is enough for 128 million EVT2 events a second."""

NEAR_US = 1_000_000
"""Readings further apart than this are not neighbours."""

DISORDER_US = 20_000
"""A step of the clock of at most this, forward or back, passes without question."""

ACCEPT, WRAP, STALE, FALL, BEHIND = range(5)

STATE_DTYPE = np.dtype(
    [
        ("high", "<i8"),  # last good reading in steps, −1 before the first
        ("wraps", "<i8"),
        ("base", "<i8"),  # the time in µs that `high` stands for, overflows counted
        ("valid", "<i8"),  # whether `base` may be given to events
        ("low", "<i8"),  # EVT3: µs within the step
        ("y", "<i8"),  # EVT3: the row, −1 before the first
        ("x", "<i8"),  # EVT3: where the next vector starts
        ("on", "<i8"),  # EVT3: its polarity
        ("early", "<i8"),  # events dropped because they came before the first reading (EVT3: or the first row)
        ("stale", "<i8"),  # events dropped because they came under a reading that is out of line
        ("triggers", "<i8"),  # triggers dropped for one of these reasons
        ("unknown", "<i8"),  # words of kinds that the encoding does not have
        ("fall_to", "<i8"),  # the reading at which the kernel stopped because the clock falls, −1 if it did not
        ("paused", "<i8"),  # overflows that took longer than NEAR_US
        ("longest_us", "<i8"),  # the longest of them
    ]
)


@dataclass(frozen=True)
class Clock:
    """How a format counts time: steps of `step_us` modulo `period`; falls of `wrap_at` steps are overflows."""

    step_us: int
    period: int
    wrap_at: int

    @property
    def bits(self) -> int:
        """How many bits count microseconds."""
        return (self.period * self.step_us).bit_length() - 1

    def limits(self, start_us: int = 0) -> np.ndarray:
        """What the kernels take: (6,) int64: step_us, period, wrap_at, NEAR_US and DISORDER_US in steps, and the time
        of reading 0 in µs."""
        near, disorder = NEAR_US // self.step_us, DISORDER_US // self.step_us
        return np.array((self.step_us, self.period, self.wrap_at, near, disorder, start_us), np.int64)


# Of the 28 bits of EVT2's time words Prophesee takes only a fall of nearly all for an overflow. A clock that falls by
# less has been restarted: it takes 4.8 hours to overflow.
EVT2_CLOCK = Clock(64, 1 << 28, (1 << 28) - (1 << 22))
EVT3_CLOCK = Clock(4096, 1 << 12, 1 << 11)
CLOCK_32 = Clock(1, 1 << 32, 1 << 31)


def kernel_types(half: types.Integer, *more: types.Type) -> Any:
    """Signature of the kernels, so that they are compiled on import: a worker's first call is expected to be quick.

    Args:
        half: what their words are made of.
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
    """What a reading means that is far from the one before, `high`."""
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
    """Set the clock to a reading that is out of line, as `judge` finds it; False where the clock falls."""
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
    """Go on from where the clock has fallen to."""
    state["high"], state["fall_to"] = state["fall_to"], -1


@dataclass
class PlainClock:
    """The readable reference of `judge` and `advance`. Where the clock falls it goes on, and keeps the fall."""

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
        """Set the clock to a reading, as those that follow it say."""
        clock = self.clock
        near, disorder = NEAR_US // clock.step_us, DISORDER_US // clock.step_us
        in_line = self.high < 0 or abs(reading - self.high) <= disorder
        if not in_line:
            votes = 0  # for this reading, less those for the one before
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
        """Set the clock to a reading without question."""
        self.high, self.valid = reading, True
        self.base = (self.wraps * self.clock.period + reading) * self.clock.step_us

    def drop_event(self) -> None:
        self.counts["early" if self.high < 0 else "stale"] += 1
