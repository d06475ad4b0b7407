"""Turning points from the events themselves: the times about which event pairs are symmetric.

The brightness of a pixel is a function of the focus, so it retraces its path when the focus turns: an ON event at some
level is matched by an OFF event at the same level, as long after the turning point as the first was before it. Their
midpoint *is* the turning point, for any scene. Comparing levels rather than rates matters: after a reversal, a pixel
fires only when its brightness has changed by a whole threshold, so rates are not mirror images, and their correlation
is biased late.

Every pair of events of one pixel with opposite signs at the same level votes for its midpoint. Votes accumulate at the
turning points. They also do where a plane comes into focus, since blur is symmetric about it, but planes at different
depths do so at different times and, in alternating sweeps, at alternating distances from the turning points. So the
algorithm searches for the lattice of equally spaced times with most votes, and compares it with the best lattice
elsewhere.

A sawtooth has no turning points: its return undoes a whole sweep at once. There, pairs vote for the later of their two
events.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.ndimage import gaussian_filter1d

DEPTH = 24
"""Number of latest events of a pixel that a new one is compared with."""

LEVEL = 256
"""Levels are integers in units of the ON threshold over this."""

MAX_PIXELS = 100_000
"""Most pixels that vote; a larger sensor is subsampled evenly."""

BINS = 400
"""Bins of the histogram of votes per nominal sweep."""

BLUR_BINS = 5.0
"""Standard deviation of the smoothing of votes, 1.25 % of a nominal sweep: their measured scatter."""

MAX_VOTERS = 1_000_000
"""Most events that vote together; with more, only every second, third, … pixel votes."""

MIN_SPACING, MAX_SPACING = 0.765, 1.435
"""Search range of the spacing, in nominal sweeps: frequencies within 30 % of the nominal one. It must be less than an
octave, or half the true spacing would fit as well."""

EXCLUSION = 0.1
"""Lattices shifted by less than this fraction of the spacing count as the same."""

MARGIN = 0.5
"""A turning point is well observed if there are events up to this fraction of the spacing on both sides of it."""

MIN_POINTS = 3
"""Least number of well observed turning points: two would define a spacing, but not show that it repeats."""

REACH = 0.8
"""A single turning point is measured from the events within this fraction of the spacing on both sides."""


@dataclass(frozen=True)
class SampledEvents:
    """The voting events: those of the subsampled pixels."""

    timestamp: np.ndarray  # (N,) int64, µs, increasing
    pixel: np.ndarray  # (N,) int32, in [0, pixels)
    on: np.ndarray  # (N,) bool


@dataclass(frozen=True)
class Lattice:
    """Equally spaced turning points: the k-th lies at `origin_us + first_us + k · spacing_us`."""

    origin_us: int
    first_us: float
    spacing_us: float
    points: np.ndarray  # (P, 3) number k, measured time after the origin in µs, votes
    quality: float  # 0 to 1: contrast with other lattices, times evenness of the votes


@dataclass(frozen=True)
class Thinning:
    """Selects the pixels that vote."""

    width: int
    height: int

    @property
    def stride(self) -> int:
        return max(1, int(np.ceil(np.sqrt(self.width * self.height / MAX_PIXELS))))

    @property
    def pixels(self) -> int:
        return -(-self.width // self.stride) * -(-self.height // self.stride)

    def pick(self, events: np.ndarray) -> SampledEvents:
        """Select the events, (N,) `EVENT_DTYPE`, of the pixels that vote."""
        if self.stride > 1:
            events = events[(events["x"] % self.stride == 0) & (events["y"] % self.stride == 0)]
        columns = -(-self.width // self.stride)
        pixel = (events["y"] // self.stride).astype(np.int32) * columns + events["x"] // self.stride
        return SampledEvents(events["timestamp"].astype(np.int64), pixel, events["polarity"] > 0)


def join_samples(samples: list[SampledEvents], start_us: int, end_us: int) -> SampledEvents:
    """Concatenate the events in [start_us, end_us), with fewer pixels if there are more than `MAX_VOTERS` events."""
    ranges = [(s, *np.searchsorted(s.timestamp, [start_us, end_us])) for s in samples]
    every = -(-sum(int(j - i) for _, i, j in ranges) // MAX_VOTERS)
    timestamp, pixel, on = [np.empty(0, np.int64)], [np.empty(0, np.int32)], [np.empty(0, bool)]
    for s, i, j in ranges:
        keep = slice(i, j) if every <= 1 else i + np.flatnonzero(s.pixel[i:j] % every == 0)
        timestamp.append(s.timestamp[keep])
        pixel.append(s.pixel[keep])
        on.append(s.on[keep])
    return SampledEvents(np.concatenate(timestamp), np.concatenate(pixel), np.concatenate(on))


def off_step(on: np.ndarray) -> int:
    """OFF threshold in levels: brightness returns after whole periods, so event counts give the threshold ratio."""
    count = int(np.count_nonzero(on))
    ratio = count / max(len(on) - count, 1)
    return round(LEVEL * min(max(ratio, 1 / 3), 3))


@njit(nogil=True, cache=True)
def count_votes(
    timestamp: np.ndarray,  # (N,) int64, µs, increasing
    pixel: np.ndarray,  # (N,) int32
    on: np.ndarray,  # (N,) bool
    pixels: int,
    off: int,  # OFF threshold in levels
    longest_us: int,  # between the two events of a pair
    origin_us: int,  # start of the first bin
    bin_us: int,
    bins: int,
    later: bool,  # vote with the later event's time, not with the middle
) -> np.ndarray:  # (bins,) int64
    """Histogram of the votes of all pairs of events, as defined in `vote_times`."""
    when = np.empty((pixels, DEPTH), np.int64)
    what = np.empty((pixels, DEPTH), np.int64)  # twice the level, and the sign as the last bit
    seen = np.zeros(pixels, np.int64)
    level = np.zeros(pixels, np.int64)
    votes = np.zeros(bins, np.int64)
    for i in range(len(timestamp)):
        p, t = pixel[i], timestamp[i]
        level[p] += LEVEL if on[i] else -off
        for back in range(1, min(seen[p], DEPTH) + 1):
            k = (seen[p] - back) % DEPTH
            if t - when[p, k] > longest_us:
                break
            if (what[p, k] & 1) != on[i] and 2 * abs((what[p, k] >> 1) - level[p]) < LEVEL:
                twice = 2 * t if later else t + when[p, k]
                number = (twice - 2 * origin_us) // (2 * bin_us)
                if 0 <= number < bins:
                    votes[number] += 1
        k = seen[p] % DEPTH
        when[p, k] = t
        what[p, k] = 2 * level[p] + (1 if on[i] else 0)
        seen[p] += 1
    return votes


def vote_times(sample: SampledEvents, off: int, longest_us: int, later: bool) -> np.ndarray:
    """Twice the times in µs that pairs vote for, (V,): the readable reference of `count_votes`.

    A pair is an event and one of the `DEPTH` events before it of the same pixel, with opposite sign, at most
    `longest_us` earlier, and at the same level within half an ON threshold.
    """
    found = [np.empty(0, np.int64)]
    for p in np.unique(sample.pixel):
        t, on = sample.timestamp[sample.pixel == p], sample.on[sample.pixel == p]
        level = np.cumsum(np.where(on, LEVEL, -off))
        j, i = np.tril_indices(len(t), -1)  # i before j
        pair = (j - i <= DEPTH) & (on[i] != on[j]) & (t[j] - t[i] <= longest_us)
        pair &= 2 * np.abs(level[i] - level[j]) < LEVEL
        found.append(2 * t[j[pair]] if later else t[i[pair]] + t[j[pair]])
    return np.concatenate(found)


def find_lattice(
    sample: SampledEvents,
    pixels: int,
    nominal_us: float,  # length of a sweep by the calibration
    later: bool,  # a sawtooth
) -> Lattice | None:
    """The equally spaced turning points with most votes; None if fewer than `MIN_POINTS` are well observed."""
    if len(sample.timestamp) < 2:
        return None
    origin_us, last_us = int(sample.timestamp[0]), int(sample.timestamp[-1])
    bin_us = max(1, int(nominal_us / BINS))
    extent = (last_us - origin_us) / bin_us
    votes = count_votes(
        sample.timestamp,
        sample.pixel,
        sample.on,
        pixels,
        off_step(sample.on),
        int(1.95 * nominal_us),
        origin_us,
        bin_us,
        int(extent) + 1,
        later,
    )
    smooth = _smooth(votes)
    sweep = nominal_us / bin_us
    best: tuple[float, float, float] | None = None  # votes above the background, spacing, first
    for spacing in sweep * np.arange(MIN_SPACING, MAX_SPACING, 0.0025):
        first, score, _, _ = _lattice_votes(smooth, extent, spacing)
        if len(score):
            i = int(np.argmax(score))
            if best is None or score[i] > best[0]:
                best = float(score[i]), float(spacing), float(first[i])
    if best is None:
        return None
    _, spacing, first = best
    points = _measure(smooth, extent, spacing, first)
    if len(points) < MIN_POINTS:
        return None
    step, start = np.polyfit(points[:, 0], points[:, 1], 1, w=np.sqrt(points[:, 2]))
    shift = int(np.floor(start / step))  # number 0 is the first turning point after the first event
    points[:, 0] += shift
    points[:, 1] *= bin_us
    quality = _quality(smooth, extent, spacing, first)
    return Lattice(origin_us, float(start - shift * step) * bin_us, float(step) * bin_us, points, quality)


def measure_turn(
    sample: SampledEvents,
    pixels: int,
    at_us: int,
    spacing_us: float,
    later: bool,
) -> tuple[float, float, float] | None:
    """Measure one turning point near `at_us`: its offset from `at_us` in µs, its votes, and its confidence (0 to 1).

    None if the votes near it do not stand out.
    """
    bin_us = max(1, int(spacing_us / BINS))
    half = int(spacing_us / 2 / bin_us)
    votes = count_votes(
        sample.timestamp,
        sample.pixel,
        sample.on,
        pixels,
        off_step(sample.on),
        int(2 * REACH * spacing_us),
        at_us - half * bin_us,
        bin_us,
        2 * half,
        later,
    )
    smooth = _smooth(votes)
    near = np.abs(np.arange(2 * half) + 0.5 - half) < EXCLUSION * spacing_us / bin_us
    i = int(np.argmax(np.where(near, smooth, -1)))
    peak, elsewhere = float(smooth[i]), float(smooth[~near].max())
    usual = float(np.median(smooth[~near]))
    if peak - usual < 5 * np.sqrt(peak + usual + 1):
        return None
    return (_vertex(smooth, i) + 0.5 - half) * bin_us, peak, _contrast(peak, elsewhere)


def _smooth(votes: np.ndarray) -> np.ndarray:
    """Smooth votes with a Gaussian."""
    width = BLUR_BINS * np.sqrt(2 * np.pi)
    return gaussian_filter1d(votes.astype(np.float64), BLUR_BINS, mode="constant") * width


def _lattice_votes(
    smooth: np.ndarray, extent: float, spacing: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """For lattices of one spacing: first point, votes above background, and votes and positions of their points.

    Positions and spacing are in bins; points that are not well observed have NaN votes.
    """
    first = np.arange(0, spacing, BLUR_BINS / 3)
    place = first[:, None] + spacing * np.arange(int(extent / spacing) + 1)
    inside = place < min(extent, len(smooth))
    votes = np.where(inside, smooth[np.minimum(place.astype(np.intp), len(smooth) - 1)], 0.0)
    well = (place >= MARGIN * spacing) & (place <= extent - MARGIN * spacing)
    score = np.where(inside, votes - smooth.mean(), 0.0).sum(axis=1)
    return first, score, np.where(well, votes, np.nan), place


def _measure(smooth: np.ndarray, extent: float, spacing: float, first: float) -> np.ndarray:
    """(P, 3) number, position in bins and votes of a lattice's well observed turning points."""
    points = []
    for k in range(int(extent / spacing) + 1):
        place = first + k * spacing
        if not MARGIN * spacing <= place <= extent - MARGIN * spacing:
            continue
        near = np.arange(max(0, int(place - 0.06 * spacing)), min(len(smooth), int(place + 0.06 * spacing) + 1))
        i = int(near[np.argmax(smooth[near])])
        if smooth[i] > 0:
            points.append((k, _vertex(smooth, i) + 0.5, smooth[i]))
    return np.array(points, dtype=np.float64).reshape(-1, 3)


def _vertex(smooth: np.ndarray, i: int) -> float:
    """Sub-bin position of a peak at bin i, by a parabola through its neighbours."""
    if not 0 < i < len(smooth) - 1:
        return float(i)
    a, b, c = smooth[i - 1 : i + 2]
    return i + (0.5 * (a - c) / (a - 2 * b + c) if a - 2 * b + c < 0 else 0.0)


def _contrast(best: float, other: float) -> float:
    """Relative excess of one vote count over another, reduced by three standard deviations of noise."""
    return max(0.0, best - other - 3 * np.sqrt(best + other)) / max(best, 1.0)


def _quality(smooth: np.ndarray, extent: float, spacing: float, first: float) -> float:
    """Contrast with the best other lattice of the same spacing, times the squared evenness of the votes.

    Every sweep sees the same scene, so all turning points get similar votes; a jerk of the camera votes only once.
    """
    starts, _, votes, _ = _lattice_votes(smooth, extent, spacing)
    apart = np.abs((starts - first + spacing / 2) % spacing - spacing / 2)
    own = votes[int(np.argmin(apart))]
    own = own[~np.isnan(own)]
    others = np.nanmean(votes[apart > EXCLUSION * spacing], axis=1)
    evenness = float(own.min() / max(own.mean(), 1e-9))
    return _contrast(float(own.sum()), float(others.max()) * len(own)) * evenness**2
