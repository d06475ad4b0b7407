"""Inference of the time unit of files that do not state it, from all of a file's times.

Each candidate unit implies a duration, an event rate and a time grid. Event cameras have microsecond time stamps,
recordings last from a fraction of a second to hours with 10³ to 10⁸ events per second, and clocks that count from 1970
show dates in this century. A candidate is penalised for each of these that it contradicts, and accepted only if it
clearly beats all others. A single line is never enough evidence.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..errors import RecordingError
from .hints import UNITS

_SHORTEST_S, _LONGEST_S = 0.05, 3600.0
_FEWEST_HZ, _MOST_HZ = 1e3, 1e8
_YEAR_S = 365.25 * 86_400.0
_EPOCH_S = (1e9, 4.1e9)  # 2001 to 2099, in seconds since 1970
_CLOCK_GRID_S = 1e-6
_MARGIN = 1.5
"""Least margin of the best unit's penalty over the second's; for example, 1.5 decades of rate or duration."""

_HABIT = {True: {"us": 0.0, "ns": 0.5, "ms": 1.5, "s": 2.0}, False: {"s": 0.0, "ms": 1.0, "us": 1.5, "ns": 2.5}}
"""Penalty of each unit for whole (True) and for fractional numbers."""

_NAMES = {"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds"}
_LARGEST_NS = 1 << 62
_SAMPLE = 200_000


@dataclass(frozen=True)
class TimeEvidence:
    """Statistics of a file's times, in its own unit.

    `grid` is the largest power of ten that divides all times; None if floating-point noise hides it.
    """

    n: int  # events
    first: float  # 0.1 % quantile
    last: float  # 99.9 % quantile
    whole: bool  # no time has a fraction
    grid: int | None
    per_time: float  # mean number of events per distinct time

    @property
    def span(self) -> float:
        return self.last - self.first

    @classmethod
    def of(cls, times: np.ndarray, n: int, grid: int | None = None, *, whole: bool | None = None) -> "TimeEvidence":
        """Evidence from a sample of the times, (K,) of any numeric type, in file order; `n` is the number of events.

        `grid` and `whole` are computed from the sample unless given.
        """
        times = times[np.isfinite(times)] if times.dtype.kind == "f" else times
        if whole is None:
            whole = times.dtype.kind != "f" or bool(np.all(times == np.floor(times)))
            grid = _grid_of(times, whole)
        few = times[:: max(1, len(times) // _SAMPLE)].astype(np.float64)
        first, last = np.quantile(few, [0.001, 0.999], method="nearest") if len(few) else (0.0, 0.0)
        distinct = 1 + np.count_nonzero(np.diff(np.sort(times)))
        return cls(n, float(first), float(last), whole, grid, len(times) / distinct)


def _grid_of(times: np.ndarray, whole: bool) -> int | None:
    if not len(times) or not np.any(times):
        return None
    if whole:
        largest = float(np.abs(times).max())
        if largest >= 2**63:
            return None
        numbers = times.astype(np.int64)
        return next((power for power in (9, 6, 3, 2, 1) if not np.any(numbers % 10**power)), 0)
    digits = 6 if times.dtype == np.float32 else 15
    room = digits - math.ceil(math.log10(max(float(np.abs(times).max()), 1e-300)))
    for power in (1, 2, 3, 6, 9):
        scaled = times.astype(np.float64) * 10.0**power
        if power <= room and np.all(np.abs(scaled - np.round(scaled)) <= np.abs(scaled) * 4e-16 + 1e-9):
            return -power
    return None


def infer_unit(evidence: TimeEvidence) -> tuple[str, str]:
    """The unit that fits a file's times, and a sentence that explains it.

    Raises:
        RecordingError: two units fit; the message names the option that chooses one.
    """
    charges = {unit: _charge(evidence, unit) for unit in UNITS}
    best, second, *_ = sorted(charges, key=charges.__getitem__)
    shown = f"{evidence.n:,} events span {evidence.span:,.6g}"
    if not evidence.span:
        raise RecordingError("the unit of its times is unclear: its events have one time; say it with --time-unit")
    if charges[second] - charges[best] < _MARGIN:
        raise RecordingError(
            f"the unit of its times is unclear: {shown}, which is {_reading(evidence, best)}, or "
            f"{_reading(evidence, second)}; say which with --time-unit {best} or --time-unit {second}"
        )
    length = evidence.span * UNITS[best] * 1e-9
    return best, f"times taken as {_NAMES[best]}: {shown}, so {length:,.3g} s; if not so, give --time-unit"


def _reading(evidence: TimeEvidence, unit: str) -> str:
    seconds = evidence.span * UNITS[unit] * 1e-9
    return f"{seconds:,.3g} s if they are {_NAMES[unit]}"


def _charge(evidence: TimeEvidence, unit: str) -> float:
    """The penalty of a unit, roughly in decades."""
    second = UNITS[unit] * 1e-9
    span_s = max(evidence.span * second, 1e-9)
    farthest_s = max(abs(evidence.first), abs(evidence.last)) * second
    charge = _HABIT[evidence.whole][unit]
    charge += 2 * _decades(span_s, _SHORTEST_S, _LONGEST_S)
    charge += 2 * _decades(evidence.n / span_s, _FEWEST_HZ, _MOST_HZ)
    if _EPOCH_S[0] <= evidence.first * second <= evidence.last * second <= _EPOCH_S[1]:
        charge -= 3
    else:
        charge += 3 * _decades(farthest_s, 0, _YEAR_S)
    if evidence.grid is not None:
        grid_s = 10.0**evidence.grid * second
        if grid_s < 0.9 * _CLOCK_GRID_S:
            charge += 2
        else:  # a coarse clock gives many events the same time
            charge += (0.5 if evidence.per_time >= 3 else 1.0) * _decades(grid_s, 0, _CLOCK_GRID_S)
    return charge


def _decades(value: float, low: float, high: float) -> float:
    """How far a value lies outside a range, in decades."""
    if value > high:
        return math.log10(value / high)
    return math.log10(low / value) if value < low else 0.0


def to_us(times: np.ndarray, unit: str) -> np.ndarray:
    """Convert times of any numeric type to (N,) int64 µs, rounded; values beyond any clock become ±2⁶²."""
    nanoseconds = UNITS[unit]
    if times.dtype.kind in "iub":
        if times.dtype.kind == "u" and times.dtype.itemsize == 8:
            times = np.minimum(times, np.uint64(_LARGEST_NS))
        times = times.astype(np.int64)
        if nanoseconds < 1000:
            return (times + 500) // 1000
        factor = nanoseconds // 1000
        return np.clip(times, -_LARGEST_NS // factor, _LARGEST_NS // factor) * factor
    with np.errstate(all="ignore"):
        wide = times.astype(np.float64)  # rounded only once, so that seconds since 1970 are exact
        scaled = wide / 1000 if nanoseconds < 1000 else wide * (nanoseconds // 1000)
    return (
        np.nan_to_num(np.round(scaled), nan=_LARGEST_NS, posinf=_LARGEST_NS, neginf=-_LARGEST_NS)
        .clip(-float(_LARGEST_NS), float(_LARGEST_NS))
        .astype(np.int64)
    )


def earliest_us(first: np.ndarray) -> int:
    """A lower bound on the times of an undamaged file: 0, or negative if times count from a trigger.

    `first` holds the times in µs of about the first thousand events.
    """
    if not len(first):
        return 0
    middle = int(np.median(first))
    near = first[np.abs(first - middle) < 86_400_000_000]
    return min(0, int(near.min()) - 1_000_000) if len(near) and near.min() < 0 else 0
