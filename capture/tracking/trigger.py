"""Sweeps from trigger edges, whose meaning is determined by `LensTrigger`.

Edges may be missing, doubled, late, early or spurious; the nominal frequency may be wrong by a factor of two, and the
two halves of a period may differ. Events are buffered until a rhythm is found in the edges; from then on each edge is
compared with its prediction.
"""

from collections import deque
from statistics import median

import numpy as np

from ..calibration import Calibration
from ..errors import SyncError
from ..events import Batch
from ..sweeps import Direction
from .alternation import Alternation
from .lens_trigger import LensTrigger
from .rhythm import LONGEST, NEAR, SHORTEST, Edge, Rhythm, find_rhythm
from .signal import ASKEW, BOUNCE, SEARCH_PERIODS
from .spans import Counts, Cutter, Span, is_whole

WINDOW = 0.25
"""Largest deviation of an edge from its prediction, as a fraction of a sweep; beyond, it is a stray edge."""

JITTER = 0.05
"""Deviation, as a fraction of a sweep, from which an edge counts as late or early."""

MAX_BRIDGED = 4
"""Most consecutive turning points bridged without an edge; with one more, the timing is lost."""

MAX_STRAYS = 3
"""Number of stray edges since the last good one at which the timing is lost, if an expected edge was missing, too."""

MEMORY = 5
"""Number of sweeps per direction whose median length is the prediction; two may be wrong."""

QUALITY_MEMORY = 8
"""Number of expected edges used for the quality."""

SEARCH_EDGES = 8
"""Most edges searched for a rhythm: the latest ones within `SEARCH_PERIODS` nominal periods."""


class TriggerTracker:
    """A `Tracker` for `sync = "trigger"`.

    While searching, it buffers two nominal sweeps of events until edges arrive, and at most `SEARCH_PERIODS` nominal
    periods from then on; one period if the edges are as the calibration expects.

    If all turning points have the same mark, `first_direction` is the direction of the first closed sweep, and
    `far_end_hint_us` a time near a far end, to a quarter period.
    """

    def __init__(
        self,
        calibration: Calibration,
        first_direction: Direction | None = None,
        far_end_hint_us: int | None = None,
    ) -> None:
        sweep = calibration.sweep
        self._cutter = Cutter(calibration)
        self._trigger = LensTrigger(calibration)
        self._alternation = Alternation(first_direction, far_end_hint_us)
        self._delay_us = sweep.delay_us
        # Whether all turning points have the same mark, always for a sawtooth.
        self._alternates = False
        self._single = sweep.waveform == "sawtooth"
        self._frequency_hz = sweep.frequency_hz
        self._nominal_us = 1e6 / sweep.frequency_hz
        self._longest_head_us = 2 * sweep.duration_us
        self._edges: deque[Edge] = deque()  # not processed yet
        self._candidates: list[Edge] = []  # while searching; once locked, the stray edges since the last good one
        self._floor_us: int | None = None  # where the timing was lost; no sweep begins before
        self._saw_edges = False
        self._was_locked = False
        # Once locked: the turning point at which the open sweep began, and statistics of the edges.
        self._turn: Edge | None = None
        self._turn_is_real = False
        self._last_edge: Edge | None = None
        self._bridged = 0  # consecutive turning points without an edge
        self._missed = 0  # those of them that should have had one
        self._lengths: dict[Direction, deque[float]] = {}
        self._warnings: tuple[str, ...] = ()
        self._residuals: deque[float | None] = deque(maxlen=QUALITY_MEMORY)  # share of a sweep; None for a missed edge

    @property
    def counts(self) -> Counts:
        return self._cutter.counts

    @property
    def quality(self) -> float:
        """Mean score of the last expected edges: 1 for an exact edge, falling to 0 at a deviation of `WINDOW`; 0 if
        missing."""
        if self._turn is None or not self._residuals:
            return 0.0
        came = np.array([r for r in self._residuals if r is not None])
        jitter = float(np.sqrt(np.mean(came**2))) if len(came) else 0.0
        return len(came) / len(self._residuals) * max(0.0, 1 - jitter / WINDOW)

    def feed(self, batch: Batch) -> list[Span]:
        self._cutter.push(batch)
        self._saw_edges |= len(batch.triggers) > 0
        self._take(self._trigger.feed(batch.triggers, batch.end_us))
        known_us = self._trigger.settled_us + self._delay_us  # all edges of turning points before this have arrived
        self._advance(known_us)
        if self._turn is None:
            spans = self._hold(batch.end_us, known_us)
        else:
            # From the predicted end on, events wait for a possibly late edge.
            end_us = self._predicted_end_us()
            spans = self._cutter.cut(min(batch.end_us, known_us, end_us), end_us)
        self._cutter.keep()
        return spans

    @property
    def notes(self) -> tuple[str, ...]:
        """Assumptions about the trigger, and contradictions to the calibration."""
        lost = (self._lost_direction(),) if self._alternation.is_lost else ()
        return (*self._trigger.notes, *self._warnings, *lost)

    def finish(self) -> list[Span]:
        self._take(self._trigger.finish())
        cutter = self._cutter
        if cutter.last_us is not None:
            known_us = cutter.last_us + self._delay_us
            self._advance(known_us)
            rhythm = None if self._was_locked else self._find_rhythm(3) or self._find_rhythm(2) or self._find_rhythm(1)
            if rhythm is not None:
                self._lock(rhythm)
                self._advance(known_us)
        if not self._was_locked:
            raise SyncError(self.why_not())
        if self._turn is not None and cutter.last_us is not None:
            while self._predicted_end_us() <= cutter.last_us:
                self._turn_over(Edge(self._predicted_end_us(), self._next_is_far()), real=False)
            cutter.mark(self._predicted_end_us(), None)
        return cutter.finish()

    def _take(self, edges: list[Edge]) -> None:
        """Queue edges of the lens, in lens time."""
        signal = self._trigger.signal
        if signal is not None and signal.alternates and not self._alternates:
            self._alternates = self._single = True
            self._nominal_us /= 2
        self._edges.extend(Edge(edge.at_us + self._delay_us, edge.far) for edge in edges)

    def _advance(self, known_us: int) -> None:
        """Process the edges up to a time before which all have arrived, and bridge missing ones."""
        while True:
            if self._turn is None:
                if not self._edges:
                    return
                self._search(self._edges.popleft())
                continue
            end_us = self._predicted_end_us()
            # Do not wait at turning points without marks.
            deadline = end_us + (WINDOW * self._length_us() if self._is_marked() else 0)
            if self._edges and self._edges[0].at_us <= deadline:
                self._use_edge(self._edges.popleft(), end_us)
            elif self._edges or known_us > deadline:
                self._bridge(end_us)
            else:
                return

    def _use_edge(self, edge: Edge, end_us: int) -> None:
        """Use an edge as the end of the open sweep, or count it as stray."""
        tally, length = self._cutter.tally, self._length_us()
        if self._last_edge is not None and edge.at_us - self._last_edge.at_us <= BOUNCE * length:
            tally["doubled_edges"] += 1
            return
        residual = (edge.at_us - end_us) / length
        if edge.far == self._next_is_far() and abs(residual) <= WINDOW:
            if abs(residual) >= JITTER:
                tally["late_edges" if residual > 0 else "early_edges"] += 1
            self._learn(edge)
            self._residuals.append(residual)
            self._bridged = self._missed = 0
            self._candidates.clear()
            self._last_edge = edge
            self._turn_over(edge, real=True)
            return
        if self._candidates and edge.at_us - self._candidates[-1].at_us <= BOUNCE * length:
            tally["doubled_edges"] += 1
            return
        tally["stray_edges"] += 1
        self._candidates.append(edge)
        if len(self._candidates) >= MAX_STRAYS and self._missed:
            self._lose(edge.at_us, closes=False)

    def _bridge(self, end_us: int) -> None:
        """End the open sweep at the predicted time of a missing edge."""
        if self._is_marked():
            self._cutter.tally["missed_edges"] += 1
            self._residuals.append(None)
            self._missed += 1
        self._bridged += 1
        if self._missed > MAX_BRIDGED:
            self._lose(end_us, closes=True)
        else:
            self._turn_over(Edge(end_us, self._next_is_far()), real=False)

    def _turn_over(self, edge: Edge, *, real: bool) -> None:
        """End the open sweep at a turning point and begin the next."""
        self._mark(edge.at_us, edge.begins(sawtooth=self._single))
        self._turn, self._turn_is_real = edge, real

    def _mark(self, at_us: int, direction: Direction) -> None:
        """Begin a sweep; if all turning points have the same mark, its direction follows from the sweeps before."""
        if not self._alternates:
            self._cutter.mark(at_us, direction)
            return
        self._cutter.mark(at_us, self._alternation.begin(at_us, self._lengths[Direction.FAR_TO_NEAR][0]))

    def _learn(self, edge: Edge) -> None:
        """Measure the length of the sweep that an edge ends or, after a bridged turning point, of the period's two
        sweeps."""
        assert self._turn is not None
        if self._turn_is_real:
            self._lengths[self._direction()].append(edge.at_us - self._turn.at_us)
        elif self._bridged == 1 and self._last_edge is not None:
            stretch = (edge.at_us - self._last_edge.at_us) / sum(
                median(self._lengths[d]) for d in (self._direction(), self._direction_before())
            )
            for direction in {self._direction(), self._direction_before()}:
                self._lengths[direction].append(stretch * median(self._lengths[direction]))

    def _search(self, edge: Edge) -> None:
        """Look for a rhythm among the edges so far, the newest included."""
        sweep_us = self._longest_head_us / 2
        if self._candidates and edge.at_us - self._candidates[-1].at_us <= BOUNCE * sweep_us:
            self._cutter.tally["doubled_edges"] += 1
            return
        self._forget(edge.at_us)
        self._candidates = [*self._candidates[1 - SEARCH_EDGES :], edge]
        rhythm = self._find_rhythm(3)
        # Three edges may fit a wrong rhythm even if one is stray; five do not.
        if rhythm is not None and (rhythm.is_near(self._nominal_us) or len(rhythm.explained) >= 5):
            self._lock(rhythm)

    def _find_rhythm(self, at_least: int) -> Rhythm | None:
        return find_rhythm(self._candidates, self._nominal_us, sawtooth=self._single, at_least=at_least)

    def _lock(self, rhythm: Rhythm) -> None:
        """Begin the first sweep at the first edge of a rhythm, and process the later edges by it."""
        floor_us = self._floor_us
        first = next((e for e in rhythm.explained if floor_us is None or e.at_us >= floor_us), None)
        if first is None:
            return
        directions = (Direction.FAR_TO_NEAR,) if self._single else tuple(Direction)
        self._lengths = {d: deque([rhythm.length_us(d)], maxlen=MEMORY) for d in directions}
        self._begin_head(first)
        self._edges.extendleft(reversed([e for e in self._candidates if e.at_us > first.at_us]))
        self._candidates.clear()
        self._residuals.clear()
        self._residuals.append(0.0)
        self._bridged = self._missed = 0
        self._last_edge, self._was_locked = first, True
        self._warnings = self._contradictions(rhythm)
        self._turn_over(first, real=True)

    def _begin_head(self, first: Edge) -> None:
        """Begin the sweep before the first edge at its extrapolated start, if enough of it was recorded."""
        cutter = self._cutter
        direction = first.begins(sawtooth=self._single)
        direction = direction if self._single else direction.reversed
        length = self._lengths[direction][0]
        start_us = round(first.at_us - length)
        if self._floor_us is None:
            assert cutter.first_us is not None
            whole = is_whole(start_us, first.at_us, cutter.first_us, first.at_us)
            if whole and length <= self._longest_head_us:
                self._mark(start_us, direction)
            elif cutter.first_us < first.at_us:
                cutter.tally["partial_sweeps"] += 1
        elif start_us >= self._floor_us:
            self._mark(start_us, direction)

    def _lose(self, at_us: int, *, closes: bool) -> None:
        """Restart the search, beginning with the edges that contradicted the timing."""
        self._cutter.tally["lost"] += 1
        self._cutter.mark(at_us, None, closes=closes)
        self._alternation.pause(self._length_us())
        self._turn, self._floor_us = None, at_us

    def _forget(self, now_us: int) -> None:
        """Drop edges too old to share a rhythm with a new one."""
        oldest_us = now_us - SEARCH_PERIODS * self._nominal_us
        self._candidates = [e for e in self._candidates if e.at_us >= oldest_us]

    def _hold(self, end_us: int, known_us: int) -> list[Span]:
        """While searching: release events from before the loss, and those too old to belong to a sweep."""
        self._forget(known_us)
        first_us = self._candidates[0].at_us if self._candidates else known_us
        until_us = round(first_us - self._longest_head_us)
        if self._floor_us is not None:
            until_us = max(until_us, self._floor_us)
        return self._cutter.cut(min(end_us, until_us), until_us)

    def _direction(self) -> Direction:
        assert self._turn is not None
        return self._turn.begins(sawtooth=self._single)

    def _direction_before(self) -> Direction:
        return self._direction() if self._single else self._direction().reversed

    def _next_is_far(self) -> bool:
        assert self._turn is not None
        return self._single or not self._turn.far

    def _is_marked(self) -> bool:
        """Whether the next turning point has an edge."""
        signal = self._trigger.signal
        return signal is None or signal.marks(far=self._next_is_far())

    def _contradictions(self, rhythm: Rhythm) -> tuple[str, ...]:
        """Contradictions between a rhythm and the calibration, one sentence each."""
        warnings: list[str] = []
        if abs(rhythm.period_us / self._nominal_us - 1) > NEAR:
            found_hz = self._frequency_hz * self._nominal_us / rhythm.period_us
            warnings.append(
                f"the trigger has a rhythm of {found_hz:.4g} Hz, but sweep.frequency_hz is "
                f"{self._frequency_hz:g}: the trigger is followed; correct the frequency in lens.toml"
            )
        if not ASKEW <= rhythm.near_share <= 1 - ASKEW and rhythm.near_share != 1:
            warnings.append(
                f"the near end comes {100 * rhythm.near_share:.0f} % of the period after the far end, by the trigger: "
                'where its edges are pulses, set sweep.trigger_pulses in lens.toml ("none" where this is right)'
            )
        return tuple(warnings)

    def _lost_direction(self) -> str:
        return (
            "the trigger was missing for so long that the far and the near end cannot be distinguished any more "
            '(sweep.trigger_pulses = "both"): start again'
        )

    def _length_us(self) -> float:
        return median(self._lengths[self._direction()])

    def _predicted_end_us(self) -> int:
        assert self._turn is not None
        return self._turn.at_us + round(self._length_us())

    def why_not(self) -> str:
        if self._alternation.is_lost:
            return self._lost_direction()
        if why := self._trigger.why_not():
            return why
        advice = 'without usable edges, set sweep.sync = "events" (from the stream itself) or "clock" in lens.toml'
        if not self._saw_edges:
            return f'no trigger edge came, but sweep.sync is "trigger": connect the lens\'s trigger; {advice}'
        slowest_hz, fastest_hz = self._frequency_hz / LONGEST, self._frequency_hz / SHORTEST
        return (
            f"the trigger edges have no rhythm of {slowest_hz:.3g} to {fastest_hz:.3g} Hz around sweep.frequency_hz "
            f"({self._frequency_hz:g}): correct it (edges came on {self._trigger.listed()}); {advice}"
        )
