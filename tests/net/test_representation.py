"""Inputs of networks."""

import numpy as np
import pytest

from sweepdepth.capture.events import make_events
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.representation import CONDITIONS, Representation, boundaries, sweep_conditions


@pytest.fixture
def events(calibration):
    random = np.random.default_rng(0)
    n, camera = 4000, calibration.camera
    times = np.sort(random.integers(0, 200_000, n))
    return make_events(
        times, random.integers(0, camera.width, n), random.integers(0, camera.height, n), random.integers(0, 2, n)
    )


@pytest.mark.parametrize("polarity", ["signed", "split", "interpolated"])
def test_channels_are_those_of_the_stack_and_the_lens(events, sweep, polarity):
    representation = Representation(bins=6, polarity=polarity, compressed=False)
    stack = EventFocalStack.build(events, sweep, 6, polarity)
    (channels,) = representation.of_stack(stack)
    assert channels.shape == (representation.channels, *stack.data.shape[-2:])
    assert channels.dtype == np.float32
    assert np.array_equal(channels[:-CONDITIONS], stack.data.reshape(-1, *stack.data.shape[-2:]))
    assert np.array_equal(channels, representation.of_events(events, sweep)[0])


def test_compression_keeps_single_events_and_bounds_floods(events, sweep):
    (plain,) = Representation(compressed=False, conditions=False).of_events(events, sweep)
    (compressed,) = Representation(conditions=False).of_events(events, sweep)
    assert np.allclose(compressed, np.log(plain + np.sqrt(plain**2 + 1)), atol=1e-5)


def test_a_stack_of_another_kind_is_refused(events, sweep):
    with pytest.raises(ValueError, match="signed stack of 5 bins where split and 10"):
        Representation().of_stack(EventFocalStack.build(events, sweep, 5))
    with pytest.raises(ValueError, match="more than an event focal stack"):
        Representation(times=True).of_stack(EventFocalStack.build(events, sweep, 10, "split"))


def test_times_are_first_and_last_of_each_polarity_in_both_directions(calibration):
    """One pixel turns ON at 20 % and 60 % of a far→near sweep, OFF at 80 %; another never does anything."""
    x, y = np.full(3, 3), np.full(3, 2)
    events = make_events(np.array([40_000, 120_000, 160_000]), x, y, np.array([1, 1, 0]))
    backwards = make_events(np.array([40_000, 80_000, 160_000]), x, y, np.array([1, 0, 0]))
    representation = Representation(bins=2, times=True, conditions=False)
    for given, direction in ((events, Direction.FAR_TO_NEAR), (backwards, Direction.NEAR_TO_FAR)):
        (channels,) = representation.of_events(given, Sweep(0, 200_000, direction, calibration))
        times = channels[-4:]
        assert times[:, 2, 3] == pytest.approx([0.8, 0.8, 0.2, 0.6], abs=1e-6)
        assert (times[:, 0, 0] == -1).all()


def test_lens_and_sweep_are_input_channels(calibration):
    conditions = sweep_conditions(Sweep(0, 100_000, Direction.NEAR_TO_FAR, calibration))
    assert (conditions[3] == -1).all()
    assert (conditions[4] == -1).all()
    blur_px = calibration.camera.fx * calibration.lens.aperture_m * calibration.sweep.range_diopters
    assert conditions[0] == pytest.approx(np.log2(blur_px / 8))
    assert not conditions[1:3].any()
    breathing = {"scale_per_diopter": 0.01, "center": (10.0, 20.0)}
    calibration = type(calibration).model_validate(calibration.model_dump() | {"breathing": breathing})
    conditions = sweep_conditions(Sweep(0, 100_000, Direction.NEAR_TO_FAR, calibration))
    span = calibration.sweep.range_diopters
    assert conditions[1, 5, 30] == pytest.approx(0.01 * span * (30.5 - 10) / 4)
    assert conditions[2, 5, 30] == pytest.approx(0.01 * span * (5.5 - 20) / 4)


def test_frames_are_interpolated_to_the_bins_and_relative_to_their_mean(sweep):
    settings, camera = sweep.calibration.sweep, sweep.calibration.camera
    representation = Representation(source="frames", bins=5, conditions=False)
    diopters = np.linspace(settings.far_diopters, settings.near_diopters, 3)
    frames = np.ones((3, camera.height, camera.width)) * np.array([1.0, 2.0, 3.0])[:, None, None]
    (channels,) = representation.of_images(frames, diopters, sweep)
    assert channels[:, 0, 0] == pytest.approx(np.sqrt(np.array([1, 1.5, 2, 2.5, 3]) / 2) - 1)
    assert np.array_equal(channels, representation.of_images(100 * frames, diopters, sweep)[0])


@pytest.mark.parametrize("source, images", [("defocused", 1), ("sharp", 1), ("focus_pair", 2)])
def test_photographs_are_unchanged_and_the_dark_channel_is_their_minimum(sweep, source, images):
    camera = sweep.calibration.camera
    given = np.ones((images, camera.height, camera.width), np.float32)
    given[:, 20, 30] = 0.0
    representation = Representation(source=source, dark_channel=True)
    (channels,) = representation.of_images(given, np.linspace(0.5, 1, images), sweep)
    assert channels.shape == (representation.channels, camera.height, camera.width)
    shown, dark = channels[:images], channels[images : 2 * images]
    assert (shown[:, 20, 30] == -1).all()
    assert shown[:, 20, 31] == pytest.approx(0, abs=1e-3)
    assert (dark[:, 13:28, 23:38] == -1).all()
    assert dark[:, 20, 38] == pytest.approx(0, abs=1e-3)
    assert np.array_equal(channels[2 * images :], sweep_conditions(sweep))


def test_sparse_estimates_need_enough_events_in_a_window(calibration, sweep):
    x, y = np.array([10, 11, 12, 50]), np.array([20, 20, 20, 60])
    events = make_events(np.arange(4), x, y, np.ones(4, int))
    at = Representation(sparse=True).answered_by_events(events, sweep)
    assert at is not None
    assert sorted(zip(*np.nonzero(at), strict=True)) == [(20, 10), (20, 11), (20, 12), (60, 50)]
    around = Representation(sparse=True, least_events=3, window_px=3).answered_by_events(events, sweep)
    assert around is not None
    assert sorted(zip(*np.nonzero(around), strict=True)) == [(19, 11), (20, 11), (21, 11)]
    assert Representation().answered_by_events(events, sweep) is None


@pytest.mark.parametrize("electrons", [200, 10_000])
def test_boundaries_are_found_in_few_photons_and_not_in_their_noise(electrons):
    """A disc of twice the brightness: its rim, and hardly a pixel elsewhere."""
    y, x = np.mgrid[:120, :160]
    away = np.abs(np.hypot(x - 80, y - 60) - 30)
    ideal = np.where(np.hypot(x - 80, y - 60) < 30, 0.6, 0.3)
    images = np.random.default_rng(0).poisson(ideal * electrons, (2, 120, 160)) / electrons
    found = boundaries(images)
    assert found[away < 1].mean() > 0.95
    assert found[away > 8].mean() < 0.005
