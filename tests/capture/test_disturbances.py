"""Flickering light, motion during a sweep and hot pixels are detected, and suppressed where possible."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepdepth import Calibration, estimate_depth
from sweepdepth.capture.disturbances import Watch, kernels
from sweepdepth.capture.disturbances.flicker import SLOT_US, WINDOW_SLOTS, CycleMean, find_flicker
from sweepdepth.capture.disturbances.hot import find_suspects
from sweepdepth.capture.events import EVENT_DTYPE, TRIGGER_DTYPE, Batch, join, make_events
from sweepdepth.capture.tracking import Span, make_tracker
from sweepdepth.net.polarity import PolarityReversal
from sweepdepth.stream.pipeline import Pipeline, Sinks
from sweepdepth.synth.optics.planes import make_texture, plane_images
from sweepdepth.synth.sensor import expose_sequence
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import Flicker, focus_steps, simulate_sweeps

START = 1_763_000_000_000_000
WIDTH, HEIGHT = 64, 48
DIOPTERS = 1.4

LENS = f"""
camera = {{ width = {WIDTH}, height = {HEIGHT}, pixel_pitch_um = 18.5, fx = 648.6, fy = 648.6, cx = 32.0, cy = 24.0 }}
lens = {{ focal_length_mm = 12.0, f_number = 1.4 }}
sweep = {{ waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, sync = "trigger" }}
"""


@pytest.fixture(scope="module")
def lens_here() -> Calibration:
    return Calibration.parse(LENS)


@pytest.fixture(scope="module")
def images(lens_here) -> np.ndarray:
    return plane_images(make_texture("natural", 1, 0.6), lens_here, focus_steps(lens_here), DIOPTERS)


def batches(events: np.ndarray, triggers: np.ndarray, step_us: int = 10_000) -> list[Batch]:
    first_us = min(int(part["timestamp"][0]) for part in (events, triggers) if len(part))
    last_us = 1 + max(int(part["timestamp"][-1]) for part in (events, triggers) if len(part))
    ends = [*range(first_us + step_us, last_us, step_us), last_us]
    cuts = [[0, *np.searchsorted(part["timestamp"], ends)] for part in (events, triggers)]
    return [
        Batch(events[cuts[0][i] : cuts[0][i + 1]], triggers[cuts[1][i] : cuts[1][i + 1]], end)
        for i, end in enumerate(ends)
    ]


def watched(calibration: Calibration, parts: list[Batch], **options) -> tuple[Watch, list[Span], list[Batch]]:
    """Process a stream by watch and tracker."""
    watch, tracker = Watch(calibration, **options), make_tracker(calibration)
    spans, cleaned = [], []
    for part in parts:
        cleaned.append(watch.clean(part))
        found = tracker.feed(cleaned[-1])
        for span in found:
            watch.see(span)
        spans += found
    cleaned.append(watch.finish(parts[-1].end_us))
    last = tracker.feed(cleaned[-1]) + tracker.finish()
    for span in last:
        watch.see(span)
    return watch, spans + last, cleaned


def depth_error(spans: list[Span], number: int) -> float:
    """Median depth error of one closed sweep, as a fraction of the range; unknown pixels count as wrong."""
    ends = [i for i, span in enumerate(spans) if span.closed]
    parts = spans[ends[number - 1] + 1 : ends[number] + 1]
    estimate = estimate_depth(join([span.events for span in parts]), parts[-1].sweep)
    error = np.abs(estimate.diopters - DIOPTERS) / 2.0
    return float(np.median(np.nan_to_num(error, nan=1.0)))


@pytest.fixture(scope="module")
def flickering(lens_here, images):
    recorded = simulate_sweeps(
        images, lens_here, PRESETS["davis346"], sweeps=8, seed=1, start_us=START, flicker=Flicker(100.0, 0.4)
    )
    return batches(recorded.events, recorded.triggers)


@pytest.fixture(scope="module")
def still(lens_here, images):
    recorded = simulate_sweeps(images, lens_here, PRESETS["davis346"], sweeps=8, seed=1, start_us=START)
    return batches(recorded.events, recorded.triggers)


def test_flicker_is_reported_and_averaged(lens_here, flickering, still):
    undisturbed = depth_error(watched(lens_here, still)[1], 6)
    watch, spans, cleaned = watched(lens_here, flickering)
    assert any("flickers at 100 Hz" in line and "averaged away" in line for line in watch.warnings)
    assert not any("during sweeps" in line for line in watch.warnings)
    assert depth_error(spans, 6) < undisturbed + 0.02
    assert 0.3 < watch.quality < 0.95

    left_alone, spans_alone, _ = watched(lens_here, flickering, suppressing=False)
    assert any("flickers at 100 Hz" in line for line in left_alone.warnings)
    assert depth_error(spans_alone, 6) > undisturbed + 0.1
    assert left_alone.quality < 0.2
    late = sum(len(part.events) for part in flickering[100:])
    assert sum(len(part.events) for part in cleaned[100:]) < late / 2


def test_a_still_scene_in_steady_light_passes_untouched(lens_here, still):
    watch, _, cleaned = watched(lens_here, still)
    assert watch.warnings == ()
    assert watch.quality > 0.8
    np.testing.assert_array_equal(join([part.events for part in cleaned]), join([part.events for part in still]))


def test_cleaned_batches_keep_the_guarantees_of_batches(lens_here, flickering):
    before_us = 0
    triggers = 0
    for part in watched(lens_here, flickering)[2]:
        assert part.end_us >= before_us
        for times in (part.events["timestamp"], part.triggers["timestamp"]):
            assert np.all(np.diff(times) >= 0)
            assert not len(times) or before_us <= times[0] <= times[-1] < part.end_us
        before_us, triggers = part.end_us, triggers + len(part.triggers)
    assert triggers == sum(len(part.triggers) for part in flickering)


def test_motion_is_reported_and_lowers_the_quality(lens_here):
    focus, texture = focus_steps(lens_here), make_texture("natural", 1, 0.6)
    passes = []
    for i in range(4):
        along = i + np.linspace(0, 1, len(focus))
        moved = []
        for at, phi in zip(along, focus if i % 2 == 0 else focus[::-1], strict=True):
            shift = texture.shift + 2 * np.pi * texture.frequency[:, 0] * 3.0 * at
            moved.append(plane_images(replace(texture, shift=shift), lens_here, [phi], DIOPTERS)[0])
        passes.append((np.array(moved), START + along * 200_000))
    triggers = simulate_sweeps(
        np.zeros((2, HEIGHT, WIDTH), np.float32), lens_here, PRESETS["clean"], sweeps=4, seed=0, start_us=START
    ).triggers
    watch, _, _ = watched(lens_here, batches(expose_sequence(PRESETS["clean"], passes), triggers))
    assert any("changes during sweeps" in line for line in watch.warnings)
    assert watch.quality < 0.5


def test_a_hot_pixel_is_masked_and_reported(lens_here, still):
    rng = np.random.default_rng(0)
    events, triggers = (join([getattr(part, name) for part in still], kind) for name, kind in KINDS)
    # The recording four times over, with a pixel that fires 100 times a second.
    length_us = 1_600_000
    parts, edges = [], []
    for turn in range(4):
        hot = START + np.sort(rng.integers(0, length_us, 160))
        both = join([events, make_events(hot, np.full(160, 20), np.full(160, 30), rng.random(160) < 0.5)])
        both = both[np.argsort(both["timestamp"], kind="stable")]
        for source, target in ((both, parts), (triggers[: None if turn == 3 else -1], edges)):
            moved = source.copy()
            moved["timestamp"] += turn * length_us
            target.append(moved)
    stream = join(parts)
    stream = stream[np.argsort(stream["timestamp"], kind="stable")]
    watch, _, cleaned = watched(lens_here, batches(stream, join(edges, TRIGGER_DTYPE)))
    assert any(line.startswith("1 hot pixels found") for line in watch.warnings)
    late = join([part.events for part in cleaned if part.end_us > START + 5_000_000])
    assert len(late) > 1000
    assert not np.any((late["x"] == 20) & (late["y"] == 30))


KINDS = (("events", EVENT_DTYPE), ("triggers", TRIGGER_DTYPE))


def test_hot_pixels_of_the_calibration_never_reach_depth(lens_here, still):
    """A pixel full of noise changes nothing when the calibration names it."""
    camera = lens_here.camera.model_copy(update={"hot_pixels": ((20, 30), (5, 6))})
    masking = lens_here.model_copy(update={"camera": camera})
    _, _, cleaned = watched(masking, still)
    events = join([part.events for part in cleaned])
    named = np.isin(events["x"] * 1000 + events["y"], [20_030, 5006])
    assert not named.any()
    every = join([part.events for part in still])
    assert len(every) - len(events) == np.isin(every["x"] * 1000 + every["y"], [20_030, 5006]).sum() > 0


def test_the_runtime_reports_flicker_in_status_and_quality(lens_here, flickering):
    statuses, frames, unsuppressed = [], [], []
    estimator = PolarityReversal()
    pipeline = Pipeline(lens_here, make_tracker(lens_here), estimator, Sinks((frames.append,), (statuses.append,)))
    summary = pipeline.run(flickering)
    assert len(frames) == 8
    assert any("flickers at 100 Hz" in line for line in statuses[-1].warnings)
    assert any("flickers at 100 Hz" in line for line in summary.warnings)
    sinks = Sinks((unsuppressed.append,))
    Pipeline(lens_here, make_tracker(lens_here), estimator, sinks, suppressing=False).run(flickering)
    assert unsuppressed[-1].quality < 0.3 * frames[-1].quality


def lines(hz: float, share: float, *, sweeps_hz: float = 2.5, rng_seed: int = 0):
    """A window of Poisson events; the signs of a fraction of them follow a square wave."""
    rng = np.random.default_rng(rng_seed)
    at = (np.arange(WINDOW_SLOTS) + 0.5) * SLOT_US * 1e-6
    up = np.sin(2 * np.pi * hz * at) > 0
    rate = 400
    on = rng.poisson(rate * (share * up + (1 - share) / 2))
    off = rng.poisson(rate * (share * ~up + (1 - share) / 2))
    return find_flicker(on, off, WIDTH * HEIGHT, sweeps_hz)


@pytest.mark.parametrize("hz", [99.2, 100.0, 100.9, 119.0, 120.0, 120.9])
@pytest.mark.parametrize("share", [0.2, 0.5, 0.9])
def test_mains_flicker_is_recognised_by_frequency_and_fraction(hz, share):
    found = lines(hz, share)
    assert found is not None
    assert found.hz == (100.0 if hz < 110 else 120.0)
    assert found.share == pytest.approx(share, abs=0.12)


@pytest.mark.parametrize("hz", [83.0, 110.0, 143.0])
def test_other_frequencies_do_not_count_as_mains_flicker(hz):
    assert lines(hz, 0.8) is None


def test_noise_does_not_count_as_flicker():
    assert all(lines(100.0, 0.0, rng_seed=seed) is None for seed in range(200))


def test_a_lens_at_50_hz_is_not_taken_for_a_lamp():
    assert lines(100.0, 0.8, sweeps_hz=50.0) is None


def flicker_only(cycles: int, rng: np.random.Generator) -> np.ndarray:
    """Every pixel fires two ON events and one OFF event per cycle of 10 ms: its OFF threshold is twice as large."""
    count = WIDTH * HEIGHT
    cycle = np.repeat(np.arange(cycles), 3 * count)
    pixel = np.tile(np.tile(np.arange(count), 3), cycles)
    step = np.tile(np.repeat(np.arange(3), count), cycles)
    time = START + cycle * 10_000 + np.array([1500, 3500, 7500])[step] + rng.integers(-900, 900, len(step))
    events = make_events(time, pixel % WIDTH, pixel // WIDTH, step < 2)
    return events[np.argsort(events["timestamp"], kind="stable")]


def test_pure_flicker_averages_to_zero_once_thresholds_are_known():
    rng = np.random.default_rng(0)
    events = flicker_only(40, rng)
    usual = np.full((HEIGHT, WIDTH), 100)
    mean = CycleMean(100.0, START, 2 * usual, usual)
    out = [mean.feed(part) for part in batches(events, np.empty(0, TRIGGER_DTYPE))]
    assert sum(len(part.events) for part in out) < 0.01 * len(events)


@given(step_us=st.integers(700, 70_000), seed=st.integers(0, 100))
@settings(max_examples=15, deadline=None)
def test_the_result_does_not_depend_on_the_batches(step_us, seed):
    rng = np.random.default_rng(seed)
    events = make_events(
        START + np.sort(rng.integers(0, 200_000, 4000)),
        rng.integers(0, 8, 4000),
        rng.integers(0, 6, 4000),
        rng.random(4000) < 0.4,
    )
    results = []
    for step in (200_000, step_us):
        mean = CycleMean(120.0, START, np.full((6, 8), 9), np.full((6, 8), 7))
        parts = [mean.feed(part) for part in batches(events, np.empty(0, TRIGGER_DTYPE), step)]
        results.append(join([part.events for part in parts]))
    assert len(results[0]) > 100
    np.testing.assert_array_equal(results[0], results[1])


def test_years_without_events_take_no_time():
    mean = CycleMean(100.0, START, np.ones((6, 8)), np.ones((6, 8)))
    event = make_events(np.array([START]), np.array([1]), np.array([1]), np.array([1]))
    later = event.copy()
    later["timestamp"] += 10**15
    none = np.empty(0, TRIGGER_DTYPE)
    assert mean.feed(Batch(event, none, START + 1)).end_us <= START + 1
    assert mean.feed(Batch(later, none, START + 10**15 + 50_000)).end_us > START + 10**15


many_events = st.builds(
    lambda n, seed: (n, np.random.default_rng(seed)), st.integers(0, 300), st.integers(0, 2**32 - 1)
)


def random_columns(n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    events = make_events(
        START + np.sort(rng.integers(0, 8000, n)),
        rng.integers(0, 7, n),
        rng.integers(0, 5, n),
        rng.integers(0, 2, n),
    )
    return events["timestamp"], events["x"], events["y"], events["polarity"]


@given(many_events)
@settings(max_examples=60, deadline=None)
def test_counting_kernels_agree_with_numpy(n_rng):
    n, rng = n_rng
    timestamp, x, y, polarity = random_columns(n, rng)
    slots = [np.zeros((2, 6), np.int64) for _ in range(2)]
    seen = [
        count(timestamp, polarity, START, 1000, *counts)
        for count, counts in zip((kernels.count_signs, kernels.count_signs_numpy), slots, strict=True)
    ]
    assert seen[0] == seen[1]
    np.testing.assert_array_equal(slots[0], slots[1])

    tallies = [np.zeros((5, 7, 4), np.int32) for _ in range(2)]
    for half in (slice(0, n // 2), slice(n // 2, n)):
        kernels.tally_pixels(x[half], y[half], polarity[half], tallies[0])
        kernels.tally_pixels_numpy(x[half], y[half], polarity[half], tallies[1])
    np.testing.assert_array_equal(tallies[0], tallies[1])

    for digits in (0, 1, 2):
        counts = [np.zeros((-(-5 >> digits), -(-7 >> digits), 2), np.int32) for _ in range(2)]
        kernels.sum_signs(x, y, polarity, digits, counts[0])
        kernels.sum_signs_numpy(x, y, polarity, digits, counts[1])
        np.testing.assert_array_equal(counts[0], counts[1])


@given(many_events)
@settings(max_examples=60, deadline=None)
def test_selecting_and_averaging_kernels_agree_with_numpy(n_rng):
    n, rng = n_rng
    timestamp, x, y, polarity = random_columns(n, rng)
    events = make_events(timestamp, x, y, polarity)
    masked = rng.random((5, 7)) < 0.3
    kept = [np.empty(n, EVENT_DTYPE) for _ in range(2)]
    counts = [
        select(events, x, y, masked, out)
        for select, out in zip((kernels.select, kernels.select_numpy), kept, strict=True)
    ]
    assert counts[0] == counts[1]
    np.testing.assert_array_equal(kept[0][: counts[0]], kept[1][: counts[0]])

    start = rng.normal(0, 3, (5, 7, 8)).astype(np.float32)
    start[..., kernels.OFF_STEP] = rng.uniform(0.5, 2, (5, 7))
    fast, plain = start.copy(), start.copy()
    kernels.step_levels(timestamp, x, y, polarity, START + 8000, fast)
    kernels.step_levels_numpy(timestamp, x, y, polarity, START + 8000, plain)
    np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=0.02)

    plain[:] = fast  # lest a rounding error decide whether an event fires
    fired = []
    for pixels, close in ((fast, kernels.close_cycle), (plain, kernels.close_cycle_numpy)):
        slots = np.zeros(8000, np.int64)
        at, where, sign = np.empty(9000, np.int64), np.empty(9000, np.int64), np.empty(9000, np.int8)
        count = close(pixels, 8000, slots, at, where, sign)
        out = np.empty(count, EVENT_DTYPE)
        columns = (out[name] for name in ("timestamp", "x", "y", "polarity"))
        kernels.scatter(at[:count], where[:count], sign[:count], slots, 7, START, *columns)
        fired.append(np.sort(out, order=["timestamp", "x", "y"]))
        assert np.all(np.diff(out["timestamp"]) >= 0)
    assert len(fired[0]) == len(fired[1])
    for name in ("x", "y", "polarity"):
        np.testing.assert_array_equal(fired[0][name], fired[1][name])
    assert np.abs(fired[0]["timestamp"] - fired[1]["timestamp"]).max(initial=0) <= 1
    np.testing.assert_allclose(fast, plain, rtol=1e-5, atol=1e-4)


def test_isolated_details_of_a_scene_do_not_count_as_hot():
    """A pixel that fires ten times as often as its neighbours, but in runs of one sign, like real brightness
    changes."""
    tally = np.zeros((30, 30, 4), np.int32)
    kernels.tally_pixels(
        np.full(400, 4, np.int16), np.full(400, 4, np.int16), np.repeat([1, 0] * 20, 10).astype(np.int8), tally
    )
    assert len(find_suspects(tally, 2.0)) == 0
    signs = np.random.default_rng(0).integers(0, 2, 400).astype(np.int8)
    kernels.tally_pixels(np.full(400, 7, np.int16), np.full(400, 8, np.int16), signs, tally)
    kernels.tally_pixels(np.full(400, 1, np.int16), np.full(400, 1, np.int16), np.ones(400, np.int8), tally)
    assert sorted(map(tuple, find_suspects(tally, 2.0).tolist())) == [(1, 1), (7, 8)]


def test_a_coarse_clock_is_not_taken_for_flicker(lens_here):
    """Timestamps in steps of 10 ms make a spectral line at 100 Hz that no lamp causes."""
    rng = np.random.default_rng(3)
    n = 60_000
    steps = np.sort(rng.integers(0, 300, n)) * 10_000
    columns = rng.integers(0, WIDTH, n), rng.integers(0, HEIGHT, n), rng.random(n) < 0.8
    events = make_events(START + steps, *columns)
    slots = np.bincount(steps[steps < 250_000] // SLOT_US, minlength=WINDOW_SLOTS).astype(float)
    assert find_flicker(0.8 * slots, 0.2 * slots, WIDTH * HEIGHT, 2.5) is not None
    watch = Watch(lens_here)
    for part in batches(events, np.empty(0, TRIGGER_DTYPE)):
        cleaned = watch.clean(part)
        assert len(cleaned.events) == len(part.events)
    assert not [line for line in watch.warnings if "flickers" in line]
    fine = make_events(START + steps + np.sort(rng.integers(0, 5000, n)) % 5000, *columns)
    fine = fine[np.argsort(fine["timestamp"], kind="stable")]
    watch = Watch(lens_here, suppressing=False)
    for part in batches(fine, np.empty(0, TRIGGER_DTYPE)):
        watch.clean(part)
    assert [line for line in watch.warnings if "flickers" in line]
