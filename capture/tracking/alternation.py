"""Directions of sweeps whose turning points all have the same mark: they alternate from a known one."""

from ..sweeps import Direction

COUNTED_SWEEPS = 100
"""Longest gap between marks, in sweeps, across which the direction can be continued."""

SLACK = 0.25
"""Largest deviation of a mark after a pause from its extrapolated time, as a fraction of a sweep."""


class Alternation:
    """Determines the direction of each sweep by counting turning points.

    Args:
        first_direction: of the first sweep.
        far_end_hint_us: a time near a far end, to half a sweep; has priority over `first_direction`.
    """

    def __init__(self, first_direction: Direction | None, far_end_hint_us: int | None) -> None:
        self._next = first_direction if far_end_hint_us is None else None
        # A turning point, the direction of the sweep that begins there, and the time's uncertainty in sweeps.
        self._known = None if far_end_hint_us is None else (far_end_hint_us, Direction.FAR_TO_NEAR, 0.5)
        self._pause_length_us: float | None = None
        self.is_lost = False

    def begin(self, at_us: int, length_us: float) -> Direction | None:
        """The direction of the sweep that begins at a time; None if it can no longer be determined.

        Args:
            at_us: the turning point.
            length_us: of a sweep; after a pause, the length before the pause is used instead.
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
        """Record that marks are missing, so that the next one is identified by its time."""
        self._next, self._pause_length_us = None, length_us
