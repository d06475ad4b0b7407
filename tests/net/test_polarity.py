"""The classical estimator on scenes whose depth is known exactly."""

import numpy as np
import pytest

from sweepdepth import Calibration, estimate_depth, find_sweeps, open_recording
from sweepdepth.capture.events import make_events
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net import metrics
from sweepdepth.net.estimate import Estimate
from sweepdepth.net.fill import fill
from sweepdepth.net.polarity import PolarityReversal


def stack_of(events, sweep):
    estimator = PolarityReversal()
    return EventFocalStack.build(events, sweep, estimator.bins, estimator.polarity)


def strips(calibration, *positions):
    """Inverse depth by column: strips of equal width at these positions of the sweep range."""
    settings, width = calibration.sweep, calibration.camera.width
    position = np.repeat(positions, -(-width // len(positions)))[:width]
    return settings.far_diopters + position * settings.range_diopters


@pytest.mark.parametrize("position", [0.0, 0.25, 0.5, 0.8, 1.0])
def test_a_textured_plane_is_found_wherever_it_stands_in_the_sweep(sweep, textured_planes, position):
    truth = strips(sweep.calibration, position)
    estimate = PolarityReversal()(stack_of(textured_planes(sweep, truth, threshold=0.1), sweep))
    error = (estimate.diopters - truth) / sweep.calibration.sweep.range_diopters
    assert np.isfinite(error).mean() > 0.25
    assert np.nanmedian(np.abs(error)) < 0.06


def test_both_directions_agree_because_threshold_hysteresis_is_undone(calibration, textured_planes):
    truth = strips(calibration, 0.5)
    medians = []
    for direction in Direction:
        sweep = Sweep(0, 200_000, direction, calibration)
        estimate = PolarityReversal()(stack_of(textured_planes(sweep, truth), sweep))
        medians.append(np.nanmedian(estimate.diopters))
    assert abs(medians[0] - medians[1]) < 0.05 * calibration.sweep.range_diopters


def test_depth_steps_stand_where_the_surfaces_do(sweep, textured_planes):
    truth = strips(sweep.calibration, 0.2, 0.7)
    estimate = PolarityReversal()(stack_of(textured_planes(sweep, truth, threshold=0.1), sweep))
    half = len(truth) // 2
    left, right = estimate.diopters[:, : half - 12], estimate.diopters[:, half + 12 :]
    assert np.nanmedian(left) == pytest.approx(truth[0], abs=0.12)
    assert np.nanmedian(right) == pytest.approx(truth[-1], abs=0.12)


def test_stated_deviations_are_about_as_large_as_the_errors(sweep, textured_planes):
    truth = strips(sweep.calibration, 0.6)
    estimate = PolarityReversal()(stack_of(textured_planes(sweep, truth), sweep))
    depth_truth = np.broadcast_to(1 / truth, estimate.depth.shape).astype(np.float32)
    result = metrics.score(estimate.depth, depth_truth, sweep.calibration, estimate.std)
    assert 0.2 < result.std_ratio < 3


def test_without_events_nothing_is_known(sweep):
    stack = EventFocalStack.empty(sweep, 24, "interpolated")
    estimate = PolarityReversal()(stack)
    assert np.isnan(estimate.diopters).all()
    assert np.isnan(estimate.std).all()
    assert np.isnan(estimate.quality)
    assert np.isnan(fill(estimate, stack).diopters).all()


def test_noise_alone_is_not_taken_for_depth(sweep):
    rng = np.random.default_rng(0)
    n, camera = 20_000, sweep.calibration.camera
    noise = make_events(
        np.sort(rng.integers(sweep.start_us, sweep.end_us, n)),
        rng.integers(0, camera.width, n),
        rng.integers(0, camera.height, n),
        rng.integers(0, 2, n),
    )
    estimate = PolarityReversal()(stack_of(noise, sweep))
    assert np.isfinite(estimate.diopters).mean() < 0.25


def test_an_odd_sensor_size_keeps_its_shape(lens, textured_planes):
    from sweepdepth import Calibration

    odd = Calibration.parse(lens.replace("width = 96", "width = 61").replace("height = 72", "height = 43"))
    sweep = Sweep(0, 200_000, Direction.FAR_TO_NEAR, odd)
    estimate = PolarityReversal()(stack_of(textured_planes(sweep, strips(odd, 0.5)), sweep))
    assert estimate.diopters.shape == estimate.std.shape == (43, 61)


def test_filling_keeps_what_is_known_and_leaves_no_gap(sweep, textured_planes):
    truth = strips(sweep.calibration, 0.4)
    stack = stack_of(textured_planes(sweep, truth), sweep)
    estimate = PolarityReversal()(stack)
    filled = fill(estimate, stack)
    known = np.isfinite(estimate.diopters)
    assert not known.all()
    np.testing.assert_array_equal(filled.diopters[known], estimate.diopters[known])
    assert np.isfinite(filled.diopters).all()
    assert np.median(np.abs(filled.diopters - truth)) < 0.1
    assert filled.std[~known].min() > np.median(estimate.std[known])


@pytest.mark.parametrize("name,limit", [("still_life", 0.05), ("delayed", 0.08), ("noisy", 0.03)])
def test_independent_recordings_have_a_small_error(shared_sweeps, name, limit):
    """Medians over the four sweeps of recordings made by other code (a different renderer and v2e's sensor)."""
    calibration = Calibration.load(shared_sweeps / f"{name}.toml")
    truth = np.load(shared_sweeps / f"{name}_depth.npy")
    with open_recording(shared_sweeps / f"{name}.aedat4") as recording:
        events, _ = recording.read()
    with open_recording(shared_sweeps / f"{name}.aedat4") as recording:
        sweeps = find_sweeps(recording, calibration)
    assert len(sweeps) == 4
    results = []
    for sweep in sweeps:
        inside = (events["timestamp"] >= sweep.start_us) & (events["timestamp"] < sweep.end_us)
        estimate = estimate_depth(events[inside], sweep)
        results.append(metrics.score(estimate.depth, truth, calibration, estimate.std))
    assert metrics.mean(results).median_range < limit
    assert metrics.mean(results).coverage > 0.1


def test_an_estimate_prints_in_a_line_and_is_a_picture_in_notebooks():
    diopters = np.full((4, 6), 2.0, np.float32)
    diopters[0] = np.nan
    estimate = Estimate(diopters, 0.1 * diopters, 0.5)
    assert repr(estimate) == "Estimate(6×4, 75 % known, median 0.5 m, quality 0.50)"
    assert estimate._repr_png_().startswith(b"\x89PNG")
    unknown = np.full((4, 6), np.nan, np.float32)
    assert repr(Estimate(unknown, unknown, float("nan"))) == "Estimate(6×4, 0 % known, quality nan)"
    assert Estimate(unknown, unknown, float("nan"))._repr_png_().startswith(b"\x89PNG")
