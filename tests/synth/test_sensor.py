"""The event sensor: the effect of each parameter, measured on signals with a known response."""

import math
from functools import partial
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepdepth.capture.events import EVENT_DTYPE, join
from sweepdepth.synth.sensor import Sensor, advance, advance_numpy, expose_first, expose_sequence, finish
from sweepdepth.synth.sensor.kernel import expose
from sweepdepth.synth.sensor.keys import MAX_PIXELS, TIME_SHIFT, read_out, sort_keys
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.sensor.reference import read_out_numpy

IDEAL = Sensor(on_threshold=0.2, off_threshold=0.2, dark_level=1e-9)
SECOND = 1_000_000


def record(sensor, frames, times_us, *, light=1.0, seed=1, just_reset=True, cuts=(), kernel=advance):
    """All events of frames shown at times; `cuts` are where the frames are split into calls."""
    frames, times_us = np.asarray(frames, np.float32), np.asarray(times_us, np.float64)
    array = expose_first(sensor, frames[0], times_us[0], light=light, seed=seed, just_reset=just_reset)
    edges = [1, *sorted(cuts), len(frames)]
    parts = [kernel(array, frames[a:b], times_us[a:b]) for a, b in pairwise(edges)]
    return join([*parts, finish(array)])


def constant(level, seconds, shape=(40, 50), frame_us=10_000):
    times = np.arange(0, seconds * SECOND + 1, frame_us)
    return np.full((len(times), *shape), level, np.float32), times


def test_a_ramp_fires_at_the_very_instants_at_which_it_crosses_a_threshold():
    times = np.array([0.0, 100_000.0])
    frames = np.array([[[1.0]], [[5.0]]])  # L(t) = 1 + 4 t / 100 ms, from one frame to the next
    events = record(IDEAL, frames, times)
    crossings = (np.exp(0.2 * np.arange(1, 9)) - 1) / 4 * 100_000
    assert np.all(events["polarity"] == 1)
    np.testing.assert_allclose(events["timestamp"], np.floor(crossings), atol=1)


def test_a_falling_ramp_fires_off_events_by_its_own_threshold():
    sensor = IDEAL.model_copy(update={"off_threshold": 0.3})
    events = record(sensor, [[[5.0]], [[1.0]]], [0, 100_000])
    crossings = (5 - 5 * np.exp(-0.3 * np.arange(1, 6))) / 4 * 100_000
    assert np.all(events["polarity"] == 0)
    np.testing.assert_allclose(events["timestamp"], np.floor(crossings), atol=1)


@given(contrast=st.floats(-3, 3), threshold=st.floats(0.05, 1.0), steps=st.integers(1, 40))
@settings(max_examples=100, deadline=None)
def test_the_number_of_events_is_the_contrast_over_the_threshold(contrast, threshold, steps):
    sensor = IDEAL.model_copy(update={"on_threshold": threshold, "off_threshold": threshold})
    frames = np.exp(np.linspace(0, contrast, steps + 1)).reshape(-1, 1, 1)
    events = record(sensor, frames, np.arange(steps + 1) * 1000)
    crossed = abs(contrast) / threshold
    assert abs(len(events) - crossed) <= 1
    assert len(events) == math.floor(crossed) or abs(crossed - round(crossed)) < 1e-3
    assert set(events["polarity"]) <= {int(contrast > 0)}


def test_contrast_is_measured_over_dark_current_and_stray_light():
    black_to_white = [[[0.0]], [[1.0]]]
    sensor = Sensor(on_threshold=0.2, off_threshold=0.2, dark_level=0.01, stray_light=0.04)
    assert len(record(sensor, black_to_white, [0, 1000])) == math.floor(math.log(1.05 / 0.05) / 0.2)
    # Stray light dims with the light, dark current does not.
    dim = record(sensor, black_to_white, [0, 1000], light=0.1)
    assert len(dim) == math.floor(math.log((0.1 * 1.04 + 0.01) / (0.1 * 0.04 + 0.01)) / 0.2)


def test_the_image_at_a_turning_point_occurs_once():
    frames = np.exp(np.random.default_rng(3).uniform(-1, 1, (9, 4, 5))).astype(np.float32)
    times = np.arange(9) * 1000.0
    blocks = [(frames[:1], times[:1]), (frames[:5], times[:5]), (frames[4:], times[4:])]
    expected = record(IDEAL, frames, times, just_reset=False)
    assert len(expected) > 100
    np.testing.assert_array_equal(expose_sequence(IDEAL, blocks, seed=1), expected)
    with pytest.raises(ValueError, match="no images"):
        expose_sequence(IDEAL, [])


def test_thresholds_differ_between_pixels_as_asked():
    sensor = IDEAL.model_copy(update={"threshold_sigma": 0.03})
    frames = np.ones((2, 100, 100), np.float32)
    frames[1] = math.exp(4.0)
    counts = np.bincount(_pixel(record(sensor, frames, [0, 1000]), 100), minlength=10_000)
    thresholds = 4.0 / (counts + 0.5)
    assert abs(thresholds.mean() - 0.2) < 0.003
    assert abs(thresholds.std() - 0.03) < 0.003


def test_the_photoreceptor_passes_small_signals_up_to_its_cutoff_which_follows_the_light():
    def swing(frequency_hz, level, bandwidth_hz=100.0):
        """Peak to peak of the response to a ripple of 1 %, over that of the light."""
        sensor = Sensor(on_threshold=0.5, off_threshold=0.5, dark_level=1e-9, bandwidth_hz=bandwidth_hz)
        times = np.arange(0, 20_000_000 / frequency_hz, 20_000 / frequency_hz)
        light = level * (1 + 0.01 * np.sin(2e-6 * np.pi * frequency_hz * times))
        frames = light.astype(np.float32).reshape(-1, 1, 1)
        array = expose_first(sensor, frames[0], times[0])
        response = []
        for frame, time in zip(frames[1:], times[1:], strict=True):
            advance(array, frame[None], np.array([time]))
            response.append(float(array.state.response[0]))
        late = response[len(response) // 2 :]
        return (max(late) - min(late)) / (0.02 * level)

    assert abs(swing(100, 1.0) - math.sqrt(0.5)) < 0.01
    assert abs(swing(10, 0.1) - math.sqrt(0.5)) < 0.01
    assert swing(1, 1.0) > 0.99
    assert abs(swing(1000, 1.0) - 0.1) < 0.01


def test_the_photoreceptor_is_slower_into_the_dark_than_into_the_light():
    sensor = Sensor(on_threshold=0.2, off_threshold=0.2, dark_level=1e-9, bandwidth_hz=100.0)
    times = np.concatenate([[0, 1], np.arange(100, 200_000, 100)])
    up = record(sensor, np.where(times > 0, 1.0, 0.1).reshape(-1, 1, 1), times)
    down = record(sensor, np.where(times > 0, 0.1, 1.0).reshape(-1, 1, 1), times)
    assert len(up) == len(down) == math.floor(math.log(10) / 0.2)
    assert down["timestamp"][-1] > 3 * up["timestamp"][-1]


def test_a_coarse_step_filters_as_many_fine_ones_do():
    sensor = Sensor(on_threshold=9, off_threshold=9, dark_level=1e-9, bandwidth_hz=50.0)
    responses = []
    for steps in (1, 256):
        times = np.linspace(0, 5000, steps + 1)
        frames = np.linspace(0.5, 0.7, steps + 1, dtype=np.float32).reshape(-1, 1, 1)
        array = expose_first(sensor, frames[0], 0.0)
        advance(array, frames[1:], times[1:])
        responses.append(float(array.state.response[0]))
    assert abs(responses[0] - responses[1]) < 0.002


def test_a_pixel_in_reset_is_blind_and_then_starts_from_the_current_level():
    sensor = IDEAL.model_copy(update={"refractory_us": 3000.0})
    times = np.linspace(0, 100_000, 201)
    frames = np.exp(np.linspace(0, 10, 201)).reshape(-1, 1, 1)  # a level every 2 ms, 5 in all during each reset
    events = record(sensor, frames, times)
    np.testing.assert_allclose(np.diff(events["timestamp"]), 5000, atol=2)


def test_leak_makes_on_events_at_its_rate_in_constant_light():
    sensor = IDEAL.model_copy(update={"leak_hz": 2.0, "noise_spread_decades": 0.0})
    events = record(sensor, *constant(0.5, seconds=10), just_reset=False)
    assert np.all(events["polarity"] == 1)
    assert abs(len(events) / (2000 * 10) - 2.0) < 0.02
    spread = record(
        sensor.model_copy(update={"noise_spread_decades": 0.1}), *constant(0.5, seconds=20), just_reset=False
    )
    rates = np.bincount(_pixel(spread, 50), minlength=2000) / 20
    assert abs(np.log10(rates).std() - 0.1) < 0.01


def test_leak_does_not_depend_on_the_frame_rate():
    sensor = IDEAL.model_copy(update={"leak_hz": 5.0})
    fine = record(sensor, *constant(0.5, seconds=4, frame_us=500), just_reset=False)
    coarse = record(sensor, *constant(0.5, seconds=4, frame_us=10_000), just_reset=False)
    assert abs(len(fine) / len(coarse) - 1) < 0.01


@pytest.mark.parametrize("level, rate_hz", [(0.0, 4.0), (0.5, 2.5), (1.0, 1.0), (3.0, 1.0)])
def test_shot_noise_is_poisson_even_in_sign_and_a_quarter_at_white(level, rate_hz):
    sensor = IDEAL.model_copy(update={"shot_noise_hz": 4.0, "noise_spread_decades": 0.0})
    events = record(sensor, *constant(level, seconds=10))
    expected = rate_hz * 2000 * 10
    assert abs(len(events) - expected) < 5 * math.sqrt(expected)
    assert abs(events["polarity"].mean() - 0.5) < 5 * 0.5 / math.sqrt(expected)
    counts = np.bincount(_pixel(events, 50), minlength=2000)
    assert abs(counts.var() / counts.mean() - 1) < 0.2
    in_time = np.histogram(events["timestamp"], bins=100, range=(0, 10 * SECOND))[0]
    assert abs(in_time.var() / in_time.mean() - 1) < 0.6


def test_hot_pixels_are_few_and_fire_at_their_rate_whatever_the_light():
    sensor = IDEAL.model_copy(update={"hot_fraction": 0.01, "hot_hz": 100.0})
    for level in (0.01, 1.0):
        counts = np.bincount(_pixel(record(sensor, *constant(level, seconds=5)), 50), minlength=2000)
        hot = counts[counts > 0]
        assert 8 <= len(hot) <= 35
        assert abs(hot.mean() / 500 - 1) < 0.05


def test_events_are_delayed_by_a_half_normal_time():
    frames = np.ones((2, 100, 100), np.float32)
    frames[1] = 1.3
    exact = record(IDEAL, frames, [0, 1000])["timestamp"][0]
    late = record(IDEAL.model_copy(update={"delay_us": 100.0}), frames, [0, 1000])["timestamp"] - exact
    assert np.all(late >= 0)
    assert np.all(np.diff(late) >= 0)
    assert abs(late.mean() - 100 * math.sqrt(2 / math.pi)) < 3
    assert abs(np.sqrt(np.mean(late.astype(float) ** 2)) - 100) < 3


def test_a_pixel_waiting_for_readout_is_blind():
    frames = np.ones((3, 20, 20), np.float32)
    frames[1:] = 5.0  # eight levels within one µs
    assert len(record(IDEAL, frames, [0, 1, 10_000])) == 8 * 400
    waiting = record(IDEAL.model_copy(update={"delay_us": 300.0}), frames, [0, 1, 10_000])
    assert 400 <= len(waiting) < 1.02 * 400


def test_timestamps_wait_for_the_next_scan():
    frames = np.ones((2, 20, 20), np.float32)
    frames[1] = np.linspace(1.0, 5.0, 400).reshape(20, 20)
    exact = record(IDEAL, frames, [0, 10_000])
    scanned = record(IDEAL.model_copy(update={"resolution_us": 200}), frames, [0, 10_000])
    assert np.all(scanned["timestamp"] % 200 == 0)
    assert len(scanned) == len(exact)
    assert np.array_equal(np.sort(scanned["timestamp"]), np.sort(-(-exact["timestamp"] // 200) * 200))


def test_a_busy_readout_delays_events_without_loss():
    frames = np.ones((2, 50, 100), np.float32)
    frames[1] = 1.3  # every pixel crosses at the same time
    sensor = IDEAL.model_copy(update={"rate_limit_meps": 2.0})
    events = record(sensor, frames, [0, 1000])
    assert len(events) == 5000
    assert np.all(np.diff(events["timestamp"]) >= 0)
    assert np.all(np.bincount(events["timestamp"] - events["timestamp"][0]) <= 2)
    assert events["timestamp"][-1] - events["timestamp"][0] == 2499


def test_camera_clocks_that_count_from_1970_keep_every_microsecond():
    frames, times = np.array([[[1.0]], [[5.0]]]), np.array([0.0, 100_000.0])
    offset = 1_763_719_000_123_456
    early, late = record(IDEAL, frames, times), record(IDEAL, frames, times + offset)
    assert late.dtype == EVENT_DTYPE
    assert np.array_equal(early["timestamp"] + offset, late["timestamp"])


def test_the_same_seed_gives_the_same_events_and_another_seed_others():
    frames, times = constant(0.2, seconds=1)
    noisy = PRESETS["noisy"]
    assert np.array_equal(record(noisy, frames, times, seed=5), record(noisy, frames, times, seed=5))
    assert not np.array_equal(record(noisy, frames, times, seed=5), record(noisy, frames, times, seed=6))


def test_frames_of_another_size_and_times_that_do_not_rise_are_refused():
    array = expose_first(IDEAL, np.ones((4, 5), np.float32), 100.0)
    with pytest.raises(ValueError, match=r"expected \(K, 4, 5\)"):
        advance(array, np.ones((1, 5, 4), np.float32), np.array([200.0]))
    with pytest.raises(ValueError, match=r"rise from 100\.0"):
        advance(array, np.ones((1, 4, 5), np.float32), np.array([100.0]))


SENSORS = st.builds(
    Sensor,
    on_threshold=st.floats(0.02, 0.5),
    off_threshold=st.floats(0.02, 0.5),
    threshold_sigma=st.sampled_from([0.0, 0.03]),
    dark_level=st.sampled_from([1e-4, 0.02]),
    stray_light=st.sampled_from([0.0, 0.01]),
    bandwidth_hz=st.sampled_from([0.0, 30.0, 300.0, 1e5]),
    refractory_us=st.sampled_from([0.0, 1.0, 300.0, 5000.0]),
    leak_hz=st.sampled_from([0.0, 0.1, 50.0]),
    resolution_us=st.sampled_from([1, 200]),
    rate_limit_meps=st.sampled_from([0.0, 0.5]),
)
NOISY_SENSORS = st.builds(
    lambda sensor, shot, delay: sensor.model_copy(
        update={"shot_noise_hz": shot, "delay_us": delay, "hot_fraction": 0.1, "hot_hz": 300.0}
    ),
    SENSORS,
    st.sampled_from([0.0, 20.0]),
    st.sampled_from([0.0, 50.0]),
)


def _movie(seed, steps, shape=(7, 11)):
    """Random walks in the logarithm, some pixels still, some jumping; times uneven."""
    random = np.random.default_rng(seed)
    walk = np.cumsum(random.normal(0, 0.15, (steps + 1, *shape)) * random.choice([0, 1, 5], shape), axis=0)
    return np.exp(np.clip(walk, -9, 4) - 1).astype(np.float32), np.cumsum(random.uniform(1, 2000, steps + 1))


@given(sensor=SENSORS, seed=st.integers(0, 2**32), steps=st.integers(1, 30), light=st.sampled_from([0.05, 1.0]))
@settings(max_examples=150, deadline=None)
def test_the_kernel_agrees_with_its_numpy_reference_bit_by_bit(sensor, seed, steps, light):
    frames, times = _movie(seed, steps)
    fast = record(sensor, frames, times, light=light)
    slow = record(sensor, frames, times, light=light, kernel=advance_numpy)
    assert np.array_equal(fast, slow)


def test_kernel_and_reference_agree_on_incomplete_tiles():
    frames, times = _movie(3, 4, shape=(50, 83))  # two tiles of 2048 pixels, and a part of one
    sensor = PRESETS["clean"]
    assert np.array_equal(record(sensor, frames, times), record(sensor, frames, times, kernel=advance_numpy))


@pytest.mark.parametrize("threads", [2, 3, 5])
def test_threads_do_not_change_the_events(threads):
    frames, times = _movie(4, 20, shape=(50, 83))

    def shared(array, frames, times_us):
        return advance(array, frames, times_us, partial(expose, threads=threads))

    events = record(PRESETS["noisy"], frames, times)
    assert len(events) > 10_000
    assert np.array_equal(record(PRESETS["noisy"], frames, times, kernel=shared), events)


def test_images_shown_backwards_need_no_copy_to_be_the_same():
    frames, times = _movie(6, 20, shape=(30, 40))
    backwards = frames[::-1]
    assert np.array_equal(
        record(PRESETS["davis346"], backwards, times), record(PRESETS["davis346"], backwards.copy(), times)
    )


@given(
    keys=st.lists(st.integers(0, 2**20) | st.integers(2**62, 2**62 + 2**40) | st.integers(0, 2**64 - 1), max_size=60),
    few=st.booleans(),
)
@settings(deadline=None)
def test_keys_are_sorted(keys, few):
    keys = np.array(keys[: 3 if few else 60], np.uint64)
    assert np.array_equal(sort_keys(keys.copy()), np.sort(keys))


@pytest.mark.parametrize("times", [1, 3, 200, 100_000])
def test_many_keys_are_sorted_spread_over_time_or_at_the_same_time(times):
    random = np.random.default_rng(times)
    time, place = random.integers(0, times, 20_000), random.integers(0, 2 * 346 * 260, 20_000)
    keys = (time.astype(np.uint64) << np.uint64(TIME_SHIFT)) | place.astype(np.uint64)
    assert np.array_equal(sort_keys(keys.copy()), np.sort(keys))


@given(
    width=st.integers(1, 16384),
    seed=st.integers(0, 2**32),
    slot_us=st.sampled_from([0.0, 1 / 12, 3.0, 1e4]),
    free_us=st.sampled_from([-np.inf, 1e3, 2.0**34]),
)
@settings(deadline=None)
def test_packed_keys_are_unpacked_in_order(width, seed, slot_us, free_us):
    random = np.random.default_rng(seed)
    time, polarity = random.integers(0, 2**35, 50).astype(np.uint64), random.integers(0, 2, 50).astype(np.uint64)
    pixel = random.integers(0, min(16384 * width, MAX_PIXELS), 50).astype(np.uint64)
    order = np.argsort(time)
    time, polarity, pixel = time[order], polarity[order], pixel[order]
    keys = time << np.uint64(TIME_SHIFT) | pixel << np.uint64(1) | polarity
    events, twin = np.zeros(50, EVENT_DTYPE), np.zeros(50, EVENT_DTYPE)
    origin_us = 1_763_719_000_123_456
    free = read_out(keys, width, origin_us, slot_us, free_us, events)
    assert free == read_out_numpy(keys, width, origin_us, slot_us, free_us, twin)
    assert np.array_equal(events, twin)
    assert np.array_equal(_pixel(events, width), pixel)
    assert np.array_equal(events["polarity"], polarity)
    if slot_us == 0:
        assert np.array_equal(events["timestamp"], time.astype(np.int64) + origin_us)
        assert free == free_us


@given(sensor=NOISY_SENSORS, seed=st.integers(0, 2**32), steps=st.integers(1, 30))
@settings(max_examples=100, deadline=None)
def test_with_noise_kernel_and_reference_differ_by_rounding_only(sensor, seed, steps):
    frames, times = _movie(seed, steps)
    fast = record(sensor, frames, times)
    slow = record(sensor, frames, times, kernel=advance_numpy)
    assert len(fast) == len(slow)
    assert np.abs(fast["timestamp"] - slow["timestamp"]).max(initial=0) <= sensor.resolution_us


@given(sensor=NOISY_SENSORS, seed=st.integers(0, 2**32), cuts=st.sets(st.integers(1, 29), max_size=6))
@settings(max_examples=100, deadline=None)
def test_events_do_not_depend_on_how_the_frames_are_cut_into_calls(sensor, seed, cuts):
    frames, times = _movie(seed, 30)
    whole, parts = record(sensor, frames, times), record(sensor, frames, times, cuts=cuts)
    assert np.array_equal(whole, parts)
    assert np.all(np.diff(whole["timestamp"]) >= 0)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_gives_on_events_for_rising_brightness(name):
    times = np.linspace(0, 200_000, 401)
    scene = np.random.default_rng(3).uniform(0.05, 0.3, (30, 40))
    rising = np.exp(np.linspace(0, 1, 401))[:, None, None] * scene
    events = record(PRESETS[name], rising, times)
    assert len(events) > 2000
    assert events["polarity"].mean() > 0.7


def _pixel(events, width):
    return events["y"].astype(np.int64) * width + events["x"]
