"""Interprets the edges of a lens's trigger: a square wave, or pulses at one end or at each turning point.

The nominal period distinguishes them: pulses once per period mark one end, pulses twice per period mark both. If the
edges fit neither, the result is an error, not a guess.
"""

from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median

from ..calibration import SweepSettings
from ..events import FALLING, RISING
from .rhythm import NEAR, Edge, find_rhythm

REMEMBERED = 8
"""Number of latest edges of a channel, and of each kind, from which a signal is recognised."""

BOUNCE = 0.05
"""Edges within this fraction of a sweep after another are contact bounce."""

PULSE = 0.15
"""Largest duty cycle of a pulse."""

ASKEW = 0.4
"""Largest duty cycle of pulses at twice the lens's frequency."""

ONE_END, EACH_TURN = (0.8, 1.6), (0.4, 0.625)
"""Ranges of the spacing of pulses, in nominal periods, at one end and at each turning point. Between the two ranges it
is ambiguous."""

NAMES = {RISING: "rising", FALLING: "falling"}


@dataclass(frozen=True)
class Signal:
    """Which turning point each kind of edge marks. `ends` maps a kind of edge to True (far end), False (near end) or
    None (alternating ends); other kinds of edges are ignored."""

    ends: dict[int, bool | None]
    note: str = ""  # an assumption made, for the user

    @property
    def alternates(self) -> bool:
        """Whether all turning points have the same kind of mark."""
        return None in self.ends.values()

    def marks(self, *, far: bool) -> bool:
        """Whether turning points at this end have an edge."""
        return self.alternates or far in self.ends.values()


SEARCH_PERIODS = 5.0
"""Edges further apart than this many nominal periods are not used to find a rhythm."""


@dataclass
class History:
    """The latest edges of one channel without contact bounce, and the total number."""

    sweep_us: float
    period_us: float
    n: int = 0
    first_us: int = 0
    last_us: int = 0
    mixed: deque[Edge] = field(default_factory=lambda: deque(maxlen=REMEMBERED))  # `far`: rising
    trains: dict[int, deque[int]] = field(
        default_factory=lambda: {RISING: deque(maxlen=REMEMBERED), FALLING: deque(maxlen=REMEMBERED)}
    )

    def count(self, n: int, first_us: int, last_us: int) -> None:
        """Count edges, for `rate_hz` only."""
        self.first_us = self.first_us if self.n else first_us
        self.n, self.last_us = self.n + n, last_us

    @property
    def rate_hz(self) -> float:
        """Edges per second, of either kind; 0 with fewer than two."""
        return (self.n - 1) / max(self.last_us - self.first_us, 1) * 1e6 if self.n > 1 else 0.0

    def add(self, at_us: int, kind: int) -> None:
        """Add an edge."""
        bounce_us = BOUNCE * self.sweep_us
        train = self.trains[kind]
        if not train or at_us - train[-1] > bounce_us:
            train.append(at_us)
        if not self.mixed or at_us - self.mixed[-1].at_us > bounce_us:
            self.mixed.append(Edge(at_us, kind == RISING))
        oldest_us = at_us - SEARCH_PERIODS * self.period_us
        while self.mixed[0].at_us < oldest_us:
            self.mixed.popleft()
        for train in self.trains.values():
            while train and train[0] < oldest_us:
                train.popleft()

    def forget(self) -> None:
        """Discard all edges."""
        self.mixed.clear()
        for train in self.trains.values():
            train.clear()

    @property
    def is_too_fast(self) -> bool:
        """Whether all stored edges are within less than a period, too fast for the lens."""
        return len(self.mixed) == REMEMBERED and self.mixed[-1].at_us - self.mixed[0].at_us < self.period_us

    def high_share(self, period_us: float) -> float | None:
        """Duty cycle of the line; None if one kind of edge is absent. With only one edge of a kind, the given period is
        used."""
        highs = []
        rises, falls = self.trains[RISING], self.trains[FALLING]
        times = rises if len(rises) > 1 else falls
        if len(times) > 1:
            period_us = median(b - a for a, b in pairwise(times))
        for rise in rises:
            highs += [fall - rise for fall in falls if 0 < fall - rise < period_us][:1]
        for fall in falls:
            highs += [period_us - (rise - fall) for rise in rises if 0 < rise - fall < period_us][:1]
        return median(highs) / period_us if highs else None


def recognise(history: History, sweep: SweepSettings, at_least: int = 3) -> Signal | None:
    """Interpret a channel's edges if they have the lens's rhythm to 10 %; None if they do not.

    Args:
        history: the channel's edges, of the kinds that the calibration selects.
        sweep: gives the period and the trigger settings.
        at_least: number of edges that the rhythm must explain.
    """
    period_us = 1e6 / sweep.frequency_hz
    if sweep.waveform == "sawtooth":
        kind = _far_kind(sweep)
        return Signal({kind: True}) if _fits(history.trains[kind], period_us, at_least) else None
    if sweep.trigger_pulses in (None, "none"):
        rhythm = find_rhythm(list(history.mixed), period_us, sawtooth=False, at_least=at_least)
        kinds = {edge.far for edge in rhythm.explained} if rhythm else set()
        if rhythm and len(kinds) == 2 and _is_period(rhythm.period_us, period_us):
            shorter = min(rhythm.near_share, 1 - rhythm.near_share)
            if shorter >= PULSE or sweep.trigger_pulses == "none":
                return levels(sweep)
    if sweep.trigger_pulses == "none":
        return None
    for times, us in ((1, period_us), (2, period_us / 2)):
        fitting = [kind for kind, train in history.trains.items() if _fits(train, us, at_least)]
        if fitting and (signal := _pulses(history, sweep, fitting, times, us)) is not None:
            return signal
    return None


def recognise_loosely(history: History, sweep: SweepSettings) -> Signal | None:
    """The same for the only channel, whose rhythm may deviate more if its meaning is still certain.

    Square waves are accepted from half to twice the nominal frequency.
    """
    period_us = 1e6 / sweep.frequency_hz
    if sweep.waveform == "sawtooth":
        kind = _far_kind(sweep)
        edges = [Edge(at_us, True) for at_us in history.trains[kind]]
        rhythm = find_rhythm(edges, period_us, sawtooth=True, at_least=5)
        return None if rhythm is None else Signal({kind: True})
    share = history.high_share(period_us)
    is_wave = share is not None and PULSE <= share <= 1 - PULSE
    if sweep.trigger_pulses == "none" or (sweep.trigger_pulses is None and is_wave):
        rhythm = find_rhythm(list(history.mixed), period_us, sawtooth=False, at_least=5)
        return None if rhythm is None else levels(sweep)
    trains = {kind: list(train) for kind, train in history.trains.items() if len(train) >= 4}
    for times, (shortest, longest) in ((1, ONE_END), (2, EACH_TURN)):
        fitting = [k for k, train in trains.items() if shortest <= _spacing_us(train) / period_us <= longest]
        if fitting and (signal := _pulses(history, sweep, fitting, times, period_us / times)) is not None:
            return signal
    return None


def contradiction(history: History, sweep: SweepSettings) -> str:
    """Why the edges of the only channel cannot be interpreted; empty if it is too early to say."""
    if sweep.waveform == "sawtooth":
        return ""
    period_us = 1e6 / sweep.frequency_hz
    share = history.high_share(period_us)
    if sweep.trigger_pulses is None and share is not None and PULSE <= share <= 1 - PULSE:
        return ""
    if history.rate_hz > REMEMBERED * sweep.frequency_hz:
        return ""  # only some of such edges are stored
    train = max(history.trains.values(), key=len)
    if len(train) < 2:
        return ""
    spacing_us = _spacing_us(list(train))
    found = f"the trigger pulses {1e6 / spacing_us:.4g} times a second"
    if sweep.trigger_pulses is None and share is not None and ONE_END[0] <= spacing_us / period_us <= ONE_END[1]:
        return (
            f"the trigger goes low for a moment once a period ({1e-3 * (1 - share) * spacing_us:.3g} ms), which does "
            'not say at which end: set sweep.trigger_pulses = "far" or "near" in lens.toml'
        )
    f = sweep.frequency_hz
    expected = {
        None: f"{f:g} with a pulse at one end, {2 * f:g} with one at each turning point",
        "both": f"{2 * f:g}, a pulse at each turning point",
    }.get(sweep.trigger_pulses, f'{f:g}, as trigger_pulses = "{sweep.trigger_pulses}" says')
    return f"{found}, but sweep.frequency_hz ({f:g}) expects {expected}: correct it in lens.toml"


def levels(sweep: SweepSettings) -> Signal:
    """A square wave: rising edges at the far end and falling ones at the near end, or inverted."""
    if sweep.waveform == "sawtooth":
        return Signal({_far_kind(sweep): True})
    return Signal({RISING: not sweep.trigger_inverted, FALLING: sweep.trigger_inverted})


def _far_kind(sweep: SweepSettings) -> int:
    """The kind of edge at which a sawtooth's sweeps begin."""
    if sweep.trigger_edges != "both":
        return RISING if sweep.trigger_edges == "rising" else FALLING
    return FALLING if sweep.trigger_inverted else RISING


def _pulses(history: History, sweep: SweepSettings, fitting: list[int], times: int, us: float) -> Signal | None:
    """Interpret edges as pulses `times` per period, `us` apart; None if they are not, or are ambiguous."""
    pulses, share = sweep.trigger_pulses, history.high_share(us)
    if pulses not in (None, "both" if times == 2 else "far", "both" if times == 2 else "near"):
        return None
    kind = fitting[0]
    fewer, more = sorted(map(len, history.trains.values()))
    comes_in_pairs = share is not None and 2 * fewer >= more
    if share is not None and comes_in_pairs:
        is_pulse = min(share, 1 - share) < (PULSE if times == 1 and pulses is None else ASKEW)
        if pulses is None and not is_pulse:
            return levels(sweep) if times == 1 else None
        plain = FALLING if sweep.trigger_inverted else RISING
        kind = (RISING if share < 0.5 else FALLING) if is_pulse else plain
    if times == 2:
        return Signal({kind: None}, "" if pulses else "the trigger marks each turning point in the same way")
    if pulses is not None:
        return Signal({kind: pulses == "far"})
    far = (kind == RISING) != sweep.trigger_inverted
    if comes_in_pairs and not far:
        return None  # short low pulses: the rule for levels would be a guess
    end, other = ("far", "near") if far else ("near", "far")
    note = sweep.trigger_edges == "both" and (
        f"only {NAMES[kind]} edges mark turning points, one per period: they are taken as the {end} end "
        f'(sweep.trigger_pulses = "{other}" if they are at the other)'
    )
    return Signal({kind: far}, note or "")


def _fits(train: "deque[int]", period_us: float, at_least: int) -> bool:
    """Whether times have a period to 10 %."""
    edges = [Edge(at_us, True) for at_us in train]
    rhythm = find_rhythm(edges, period_us, sawtooth=True, at_least=at_least)
    return rhythm is not None and _is_period(rhythm.period_us, period_us)


def _is_period(period_us: float, expected_us: float) -> bool:
    return abs(period_us / expected_us - 1) <= NEAR


def _spacing_us(train: list[int]) -> float:
    return median(b - a for a, b in pairwise(train))
