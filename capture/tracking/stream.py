"""Sweeps from the events themselves: period and turning points from `mirror`, direction from a hint or `direction`."""

from collections import deque

import numpy as np

from ..calibration import Calibration
from ..errors import SyncError
from ..events import Batch, join
from ..sweeps import Direction
from .direction import MAX_EVENTS, MIN_GAIN, MIN_SIGMAS, Evidence, weigh_direction
from .mirror import REACH, Lattice, SampledEvents, Thinning, find_lattice, join_samples, measure_turn
from .spans import Counts, Cutter, Span, is_whole

MIN_QUALITY = 0.25
"""Least quality of a lattice of turning points to be accepted."""

FIRST_SEARCH, LONGEST_SEARCH = 4.5, 7
"""Nominal sweeps of events buffered before the first search for turning points, and at most."""

FARTHEST_SWEEPS = 100
"""Farthest extrapolation of the direction from a known far end, in sweeps: the spacing estimated from four sweeps is
accurate to 0.1 %, and an error of half a sweep reverses the direction."""

MEMORY = 8
"""Number of latest turning points used in running estimates."""

BENT_POINTS, BENT_SIGMAS = 6, 5.0
"""A period counts as drifting if this many turning points fit a parabola with this significance."""


class StreamTracker:
    """A `Tracker` for `sync = "events"`.

    Buffers `FIRST_SEARCH` to `LONGEST_SEARCH` nominal sweeps of events until the turning points are found; then cuts at
    predicted turning points, and refines the prediction with each turning point once the events after it have arrived.
    """

    def __init__(
        self, calibration: Calibration, first_direction: Direction | None, far_end_hint_us: int | None
    ) -> None:
        breathing = calibration.breathing
        self._sawtooth = calibration.sweep.waveform == "sawtooth"
        self._breathes = breathing is not None and breathing.scale_per_diopter != 0
        if not self._sawtooth and first_direction is None and far_end_hint_us is None and not self._breathes:
            raise SyncError(
                'sweep.sync is "events", and the events alone do not distinguish far→near from near→far: give '
                "--first-direction, or lens.toml [breathing] with a scale_per_diopter other than 0, or let a lens "
                "driver command the sweep"
            )
        self._calibration = calibration
        self._nominal_us = calibration.sweep.duration_us
        self._first_direction = first_direction
        self._far_end_us = far_end_hint_us
        self._cutter = Cutter(calibration)
        self._thinning = Thinning(calibration.camera.width, calibration.camera.height)
        self._samples: deque[SampledEvents] = deque()
        self._quality = 0.0
        self._was_locked = False
        # While searching: start of the buffered events, and time of the next search.
        self._since_us: int | None = None
        self._search_us = 0
        self._is_idle = False  # no events since
        self._why_no_direction = ""  # of the lattice last found
        # After the lattice is found.
        self._lattice: Lattice | None = None
        self._even = Direction.FAR_TO_NEAR  # direction of the sweeps that begin at even turning points
        self._next = 0  # number of the turning point that ends the open sweep
        self._check = 0  # number of the turning point to measure next
        self._locked_us = 0
        self._earliest_us = 0  # no turning point can be placed before this any more
        self._checks: deque[float | None] = deque(maxlen=MEMORY)  # confidence of each; None: not found

    @property
    def counts(self) -> Counts:
        return self._cutter.counts

    @property
    def quality(self) -> float:
        """Mean confidence of the last few turning points."""
        return self._quality

    @property
    def notes(self) -> tuple[str, ...]:
        return ()

    def feed(self, batch: Batch) -> list[Span]:
        cutter = self._cutter
        cutter.push(batch)
        if len(batch.events):
            self._samples.append(self._thinning.pick(batch.events))
        if self._since_us is None and cutter.first_us is not None:
            self._search_from(cutter.first_us)
        self._advance(batch.end_us)
        spans: list[Span] = []
        if self._lattice is not None:
            end_us = self._boundary_us()
            spans = cutter.cut(min(batch.end_us, end_us), end_us)
        elif self._since_us is not None:
            spans = cutter.cut(min(batch.end_us, self._since_us), self._since_us)
        cutter.keep()
        return spans

    def finish(self) -> list[Span]:
        cutter = self._cutter
        if self._lattice is None and not self._was_locked and cutter.last_us is not None:
            self._search(cutter.last_us + 1)
            self._advance(cutter.last_us)
        if not self._was_locked:
            raise SyncError(self.why_not())
        if self._lattice is not None:
            cutter.mark(self._boundary_us(), None)
        return cutter.finish()

    def set_far_end(self, at_us: int) -> None:
        """Set or refine the time of a far end; ignored once the timing is found."""
        if self._lattice is None:
            self._far_end_us = at_us

    def _advance(self, known_us: int) -> None:
        """Process everything due up to a time before which all events have arrived, in time order."""
        while self._since_us is not None:
            if self._lattice is None:
                if (self._is_idle and not self._wake()) or self._search_us > known_us:
                    return
                self._search(self._search_us)
                continue
            boundary_us, check_us = self._boundary_us(), self._check_us()
            if min(boundary_us, check_us) > known_us:
                return
            if boundary_us <= check_us:
                self._cutter.mark(boundary_us, self._direction(self._next))
                self._next += 1
                self._earliest_us = boundary_us + 1
            else:
                self._measure(check_us)

    def _wake(self) -> bool:
        """Restart the search at the next event, so that a clock that jumps by years does not cause years of
        searching."""
        assert self._since_us is not None
        for sample in self._samples:
            i = int(np.searchsorted(sample.timestamp, self._since_us))
            if i < len(sample.timestamp):
                self._search_from(int(sample.timestamp[i]))
                return True
        return False

    def _search_from(self, since_us: int) -> None:
        self._since_us, self._is_idle = since_us, False
        self._search_us = since_us + round(FIRST_SEARCH * self._nominal_us)

    def _search(self, now_us: int) -> None:
        """Look for turning points in the buffered events; if there are none, keep the later events."""
        assert self._since_us is not None
        sample = join_samples(list(self._samples), self._since_us, now_us)
        if not len(sample.timestamp):
            self._since_us, self._is_idle = now_us, True
            return
        lattice = find_lattice(sample, self._thinning.pixels, self._nominal_us, self._sawtooth)
        self._quality = 0.0 if lattice is None else lattice.quality
        if lattice is not None and lattice.quality >= MIN_QUALITY:
            even = self._find_direction(lattice, now_us)
            if even is not None:
                self._lock(lattice, even, now_us)
                return
        self._search_us = now_us + round(self._nominal_us)
        oldest_us = self._search_us - round(LONGEST_SEARCH * self._nominal_us)
        if oldest_us > self._since_us:
            self._since_us = oldest_us
            self._forget(oldest_us)

    def _find_direction(self, lattice: Lattice, now_us: int) -> Direction | None:
        """Direction of the sweeps that begin at even turning points; None if it is uncertain."""
        self._why_no_direction = ""
        if self._sawtooth:
            return Direction.FAR_TO_NEAR
        if self._far_end_us is not None:
            number = round((self._far_end_us - lattice.origin_us - lattice.first_us) / lattice.spacing_us)
            if abs(number) <= FARTHEST_SWEEPS:
                return _at_parity(Direction.FAR_TO_NEAR, number)
            self._why_no_direction = (
                f"the known far end is {abs(number)} sweeps away, and the limit is {FARTHEST_SWEEPS}"
            )
        if self._first_direction is not None and not self._was_locked:
            return _at_parity(self._first_direction, -1 if self._has_head(lattice) else 0)
        if self._breathes:
            evidence = self._weigh_breathing(lattice, now_us)
            self._why_no_direction = (
                f"lens breathing shows their direction only by {abs(evidence.sigmas):.1f} standard errors (of "
                f"{MIN_SIGMAS:g}) and {abs(evidence.gain):.1%} (of {MIN_GAIN:.0%})"
            )
            return evidence.judge(Direction.FAR_TO_NEAR)
        return None

    def _weigh_breathing(self, lattice: Lattice, now_us: int) -> Evidence:
        """Evidence of breathing for the guess that sweeps from even turning points are far→near."""
        assert self._since_us is not None
        held = self._cutter.held_between(self._since_us, now_us)
        thin = -(-sum(map(len, held)) // MAX_EVENTS)  # by time, independently of the batches
        events = join([part[part["timestamp"] % thin == 0] for part in held])
        sweeps = (events["timestamp"] - lattice.origin_us - lattice.first_us) / lattice.spacing_us
        number = np.floor(sweeps)
        phase = np.where(number % 2 == 0, sweeps - number, 1 - (sweeps - number))
        return weigh_direction(events, phase, self._calibration)

    def _has_head(self, lattice: Lattice) -> bool:
        """Whether the sweep that ends at turning point 0 is complete."""
        assert self._since_us is not None
        seen_from_us = self._since_us - lattice.origin_us
        start_us, end_us = lattice.first_us - lattice.spacing_us, lattice.first_us
        if self._since_us == self._cutter.first_us:
            return is_whole(start_us, end_us, seen_from_us, end_us)
        return start_us >= seen_from_us

    def _lock(self, lattice: Lattice, even: Direction, now_us: int) -> None:
        assert self._since_us is not None
        self._lattice, self._even = lattice, even
        if self._has_head(lattice):
            self._next = -1
        else:
            self._next = 0
            if not self._was_locked and lattice.first_us > 0:
                self._cutter.tally["partial_sweeps"] += 1
        self._check = int(lattice.points[-1, 0]) + 1
        self._earliest_us = self._turn_us(self._next)
        self._checks.clear()
        self._checks.append(lattice.quality)
        self._was_locked = True
        self._locked_us = now_us

    def _measure(self, now_us: int) -> None:
        """Measure the next turning point, and refine the lattice with it."""
        lattice = self._lattice
        assert lattice is not None
        at_us = self._turn_us(self._check)
        reach_us = round(REACH * lattice.spacing_us)
        sample = join_samples(list(self._samples), at_us - reach_us, at_us + reach_us)
        turn = measure_turn(sample, self._thinning.pixels, at_us, lattice.spacing_us, self._sawtooth)
        if turn is None:
            self._checks.append(None)
        else:
            shift_us, votes, contrast = turn
            self._checks.append(contrast)
            row = (self._check, at_us + shift_us - lattice.origin_us, votes)
            self._lattice = _refine(lattice, np.vstack([lattice.points, row])[-MEMORY:])
        self._quality = sum(c or 0.0 for c in self._checks) / len(self._checks)
        self._check += 1
        self._earliest_us = max(self._earliest_us, now_us)
        self._forget(self._turn_us(self._check) - reach_us)
        if len(self._checks) == MEMORY and all(c is None for c in self._checks):
            self._lose(now_us)

    def _lose(self, now_us: int) -> None:
        """Restart the search, but keep a known far end, since the lens probably continues."""
        self._cutter.tally["lost"] += 1
        self._cutter.mark(now_us, None, closes=False)
        far = self._next if self._direction(self._next) == Direction.FAR_TO_NEAR else self._next + 1
        self._far_end_us = self._turn_us(far)
        self._lattice, self._quality = None, 0.0
        self._forget(now_us)
        self._search_from(now_us)

    def _forget(self, before_us: int) -> None:
        """Drop samples that are no longer needed."""
        while self._samples and not np.any(self._samples[0].timestamp[-1:] >= before_us):
            self._samples.popleft()

    def _turn_us(self, number: int) -> int:
        lattice = self._lattice
        assert lattice is not None
        return lattice.origin_us + round(lattice.first_us + number * lattice.spacing_us)

    def _boundary_us(self) -> int:
        """Predicted end of the open sweep, at or after the time up to which events were cut."""
        return max(self._turn_us(self._next), self._earliest_us)

    def _check_us(self) -> int:
        """Time at which enough events after the next turning point to measure have arrived."""
        lattice = self._lattice
        assert lattice is not None
        return max(self._locked_us, self._turn_us(self._check) + round(REACH * lattice.spacing_us))

    def _direction(self, number: int) -> Direction:
        """Direction of the sweep that begins at a turning point."""
        return self._even if self._sawtooth else _at_parity(self._even, number)

    def why_not(self) -> str:
        frequency = self._calibration.sweep.frequency_hz
        if self._why_no_direction and self._quality >= MIN_QUALITY:
            return (
                f"sweeps were found (quality {self._quality:.2f}), but {self._why_no_direction}: give "
                "--first-direction, a truer breathing.scale_per_diopter in lens.toml, or let a lens driver command "
                "the sweep"
            )
        return (
            f"no sweep found in the events (quality {self._quality:.2f} of {MIN_QUALITY}): it takes two periods of a "
            f'still scene, and sweep.frequency_hz ({frequency:g}) right to 30 %; else use sweep.sync = "trigger" or '
            '"clock"'
        )


def _at_parity(even: Direction, number: int) -> Direction:
    return even if number % 2 == 0 else even.reversed


def _refine(lattice: Lattice, points: np.ndarray) -> Lattice:
    """The lattice fitted to the latest turning points, linearised at the next one.

    The fit is a line, or a parabola if that is significant: a line systematically mispredicts a drifting period, while
        a parabola through scattered points extrapolates badly.
    """
    number, at_us, votes = points.T
    middle = float(number.mean())
    weight = np.sqrt(votes / votes.mean())
    fit = np.polynomial.polynomial.polyfit(number - middle, at_us, 1, w=weight)
    if len(points) >= BENT_POINTS:
        design = np.polynomial.polynomial.polyvander(number - middle, 2) * weight[:, None]
        bent = np.linalg.lstsq(design, at_us * weight, rcond=None)[0]
        noise = float(np.sum((at_us * weight - design @ bent) ** 2)) / (len(points) - 3)
        spread = float(np.sqrt(noise * np.linalg.inv(design.T @ design)[2, 2]))
        if abs(bent[2]) > BENT_SIGMAS * spread:
            fit = bent
    ahead = float(number[-1]) + 1.5 - middle  # between the turning points that are cut and measured next
    step = float(np.polynomial.polynomial.polyval(ahead, np.polynomial.polynomial.polyder(fit)))
    start = float(np.polynomial.polynomial.polyval(ahead, fit)) - step * (ahead + middle)
    return Lattice(lattice.origin_us, start, step, points, lattice.quality)
