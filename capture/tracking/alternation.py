"""Directions of sweeps whose turning points all have the same mark: one after the other, from one that is known."""

from ..sweeps import Direction

COUNTED_SWEEPS = 100
"""Sweeps without a mark across which it is still certain which end comes next."""

SLACK = 0.25
"""A mark after a pause may be off by this share of a sweep from where the sweeps before the pause say."""


class Alternation:
    """Says which way each sweep goes.

    Args:
        first_direction: of the first sweep.
        far_end_hint_us: a time near a far end, to half a sweep; it comes before `first_direction`.
    """

    def __init__(self, first_direction: Direction | None, far_end_hint_us: int | None) -> None:
        self._next = first_direction if far_end_hint_us is None else None
        # A turning point, the direction of the sweep that begins there, and how far off that may be, in sweeps.
        self._known = None if far_end_hint_us is None else (far_end_hint_us, Direction.FAR_TO_NEAR, 0.5)
        self._pause_length_us: float | None = None
        self.is_lost = False

    def begin(self, at_us: int, length_us: float) -> Direction | None:
        """The direction of the sweep that begins at a time; None when nothing tells it any more.

        Args:
            at_us: the turning point.
            length_us: of a sweep; after a pause, the length before it counts.
        """
        if self._next is None and self._known is not None:
            turn_us, direction, slack = self._known
            sweeps = (at_us - turn_us) / (self._pause_length_us or length_us)
            if abs(sweeps) <= COUNTED_SWEEPS and abs(sweeps - round(sweeps)) <= slack:
                self._next = direction if round(sweeps) % 2 == 0 else direction.reversed
        found = self._next
        self.is_lost = found is None
        if found is not None:
            self._known = at_us, found, SLACK
            self._next = found.reversed
        return found

    def pause(self, length_us: float) -> None:
        """Marks are missing; the time of the next one determines which turning point it is."""
        self._next, self._pause_length_us = None, length_us
