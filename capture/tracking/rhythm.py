"""The rhythm of trigger edges: the period, and the position of the near end in it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from math import log

from ..sweeps import Direction

SHORTEST, LONGEST = 0.45, 2.2
"""Range of the period relative to the nominal one: tolerates a nominal frequency wrong by a factor of two."""

SHORTEST_SHARE = 0.1
"""Shortest half of a period, as a fraction of the period."""

SLACK = 0.08
"""Largest deviation of an edge from a rhythm, as a fraction of the period."""


NEAR = 0.1
"""Largest relative deviation of the period, and of its halves, for a rhythm to count as the nominal one."""


@dataclass(frozen=True)
class Edge:
    """A trigger edge that marks one end of the focus travel, in lens time: the edge's time plus the calibrated
    delay."""

    at_us: int
    far: bool  # the far end (a rising edge), else the near end

    def begins(self, *, sawtooth: bool) -> Direction:
        """Direction of the sweep that begins at this edge."""
        return Direction.FAR_TO_NEAR if self.far or sawtooth else Direction.NEAR_TO_FAR


@dataclass(frozen=True)
class Rhythm:
    """A periodic motion of the lens that explains most of a set of edges."""

    period_us: float
    near_share: float  # position of the near end in the period; 1 for a sawtooth
    explained: tuple[Edge, ...]  # in time order

    def length_us(self, direction: Direction) -> float:
        """Length of a sweep."""
        return self.period_us * (self.near_share if direction == Direction.FAR_TO_NEAR else 1 - self.near_share)

    def is_near(self, nominal_us: float) -> bool:
        """Whether the period and its halves are within `NEAR` of the nominal ones."""
        return abs(self.period_us / nominal_us - 1) <= NEAR and (
            self.near_share == 1 or abs(self.near_share - 0.5) <= NEAR / 2
        )


def find_rhythm(edges: Sequence[Edge], nominal_us: float, *, sawtooth: bool, at_least: int) -> Rhythm | None:
    """The rhythm that explains the edges best; None if none explains enough of them.

    Edges may be missing or spurious, the two halves of the period may differ, and one kind of edge may be absent (the
    near end is then assumed at half the period).

    Args:
        edges: in time order, contact bounce removed; with `sawtooth`, far ends only.
        nominal_us: period in the calibration.
        at_least: number of edges that must be explained. With fewer than three, the nominal period is used.
    """
    best: tuple[tuple[float, ...], Rhythm] | None = None
    for period, anchor, near_share in _hypotheses(edges, nominal_us, sawtooth=sawtooth, help_out=at_least < 3):
        explained, expected = _explain(edges, period, anchor, near_share)
        unexplained, missing = len(edges) - len(explained), expected - len(explained)
        if len(explained) < at_least or 3 * unexplained > len(explained) or 2 * missing > len(explained):
            continue
        share = 0.5 if near_share is None else near_share
        rank = (unexplained + missing, -len(explained), abs(log(period / nominal_us)) + abs(2 * share - 1))
        if best is None or rank < best[0]:
            best = rank, Rhythm(period, 1.0 if sawtooth else share, tuple(explained))
    return None if best is None else best[1]


def _hypotheses(
    edges: Sequence[Edge], nominal_us: float, *, sawtooth: bool, help_out: bool
) -> Iterator[tuple[float, float, float | None]]:
    """Candidates: (period, time of a far end, position of the near end in the period or None if no edge marks it)."""
    for i, first in enumerate(edges):
        periods = [(e.at_us - first.at_us) / n for e in edges[i + 1 :] if e.far == first.far for n in (1, 2)]
        if help_out:
            periods += [2.0 * (e.at_us - first.at_us) for e in edges[i + 1 :] if e.far != first.far]
            periods.append(nominal_us)
        for period in periods:
            if not SHORTEST * nominal_us <= period <= LONGEST * nominal_us:
                continue
            others = [e for e in edges if e.far != first.far]
            if not others or sawtooth:
                far_us = first.at_us if first.far else first.at_us - period / 2
                yield period, far_us, None
            for other in others:
                far, near = (first, other) if first.far else (other, first)
                near_share = (near.at_us - far.at_us) / period % 1
                if SHORTEST_SHARE <= near_share <= 1 - SHORTEST_SHARE:
                    yield period, far.at_us, near_share


def _explain(edges: Sequence[Edge], period: float, far_us: float, near_share: float | None) -> tuple[list[Edge], int]:
    """The edges at turning points of a rhythm, at most one each, and the number of turning points that the edges
    span."""
    explained: list[Edge] = []
    seen: set[tuple[bool, int]] = set()
    places: list[float] = []
    for edge in edges:
        place = (edge.at_us - far_us) / period
        share = 0.0 if edge.far else 0.5 if near_share is None else near_share
        number = round(place - share)
        if abs(place - share - number) <= SLACK and (edge.far, number) not in seen:
            seen.add((edge.far, number))
            explained.append(edge)
            places.append(number + share)
    if not places:
        return [], 0
    first, last = min(places), max(places)
    kinds = {edge.far for edge in edges}
    expected = 0
    for share, far in ((0.0, True), (0.5 if near_share is None else near_share, False)):
        if far in kinds:
            expected += sum(first <= n + share <= last for n in range(int(first) - 1, int(last) + 2))
    return explained, expected
