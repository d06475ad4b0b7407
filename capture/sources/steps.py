"""Coarse clocks: time stamps that advance in steps of 1 to 50 ms, with all events of a step at one time.

Frame grabbers, some drivers and simulators stamp a packet or a frame instead of an event. Times between are lost, and
the steps look like flickering light at their own frequency; so they are noticed before anything is concluded.
"""

import numpy as np
from numba import njit

COARSE_US = (900, 50_000)
"""Steps that are called coarse. Events of a camera with a microsecond clock come closer together most of the time,
wherever there are several at one time."""

_FEWEST_STEPS = 10
_FEWEST_PER_STEP = 1.5
_MOST_FINE = 0.05
_LAST, _EVENTS, _STEPS, _FINE, _SMALLEST = range(5)


class StepTally:
    """Counts the steps between the times of events that come in order."""

    def __init__(self) -> None:
        self._tally = np.array([0, 0, 0, 0, np.iinfo(np.int64).max], np.int64)

    def feed(self, times: np.ndarray) -> None:  # (N,) int64 µs, not falling
        """Go on with the next events."""
        count_steps(times, self._tally)

    @property
    def coarse_us(self) -> int | None:
        """The step of a coarse clock, None where the clock is fine or too little is known."""
        _, events, steps, fine, smallest = self._tally.tolist()
        sure = steps >= _FEWEST_STEPS and events >= _FEWEST_PER_STEP * steps and fine <= _MOST_FINE * steps
        return smallest if sure and smallest <= COARSE_US[1] else None


@njit(nogil=True, cache=True)
def count_steps(times: np.ndarray, tally: np.ndarray) -> None:
    """Add the steps from each time to the next to a tally; steps of 0 count as none."""
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
