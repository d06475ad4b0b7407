"""Detection of coarse clocks: timestamps that advance in steps of 1 to 50 ms, shared by all events of a step.

Some frame grabbers, drivers and simulators stamp packets or frames instead of events. The steps look like flickering
light at their frequency, so they must be recognised first.
"""

import numpy as np
from numba import njit

COARSE_US = (900, 50_000)
"""Range of coarse steps. With a microsecond clock, events are mostly closer together than this if several share one
time."""

_FEWEST_STEPS = 10
_FEWEST_PER_STEP = 1.5
_MOST_FINE = 0.05
_LAST, _EVENTS, _STEPS, _FINE, _SMALLEST = range(5)


class StepTally:
    """Tallies the steps between the times of consecutive events."""

    def __init__(self) -> None:
        self._tally = np.array([0, 0, 0, 0, np.iinfo(np.int64).max], np.int64)

    def feed(self, times: np.ndarray) -> None:  # (N,) int64 µs, not falling
        """Add the next events."""
        count_steps(times, self._tally)

    @property
    def coarse_us(self) -> int | None:
        """The step of a coarse clock; None if the clock is fine or there are too few events."""
        _, events, steps, fine, smallest = self._tally.tolist()
        sure = steps >= _FEWEST_STEPS and events >= _FEWEST_PER_STEP * steps and fine <= _MOST_FINE * steps
        return smallest if sure and smallest <= COARSE_US[1] else None


@njit(nogil=True, cache=True)
def count_steps(times: np.ndarray, tally: np.ndarray) -> None:
    """Add the steps between consecutive times to a tally; steps of 0 are not counted."""
    last, steps, fine, smallest = tally[_LAST], 0, 0, tally[_SMALLEST]
    for i in range(len(times)):
        step = times[i] - last
        if step > 0:
            steps += 1
            if step < COARSE_US[0]:
                fine += 1
            elif step < smallest:
                smallest = step
            last = times[i]
    tally[_LAST], tally[_SMALLEST] = last, smallest
    tally[_EVENTS] += len(times)
    tally[_STEPS] += steps
    tally[_FINE] += fine
