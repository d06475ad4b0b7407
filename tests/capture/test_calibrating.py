"""Calibration: a textured target swept at known distances gives back the lens that recorded it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sweepdepth import Calibration, CalibrationError
from sweepdepth.capture.events import Batch, make_events, make_triggers
from sweepdepth.capture.optics import breathing_magnification
from sweepdepth.capture.recordings import write_recording
from sweepdepth.capture.target_calibration import (
    Calibrated,
    Rest,
    Sighting,
    Target,
    calibrate,
    parse_target,
    save_calibration,
)
from sweepdepth.capture.target_calibration.curve import fit_curve, recalibrated
from sweepdepth.capture.target_calibration.rest import find_hot, measure_rest
from sweepdepth.capture.target_calibration.sighting import sight
from sweepdepth.capture.target_calibration.spectra import cut_tiles, evidence, evidence_numpy
from sweepdepth.capture.target_calibration.targets import read_target
from sweepdepth.capture.target_calibration.turning import Lateness
from sweepdepth.synth.optics.planes import make_texture, plane_images
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import focus_steps, simulate_sweeps

START_US = 1_763_000_000_000_000
PLACES = (0.18, 0.4, 0.62, 0.84)  # of the targets, in parts of the range

LENS = """
[camera]
width = 64
height = 48
pixel_pitch_um = 18.5
fx = 700.0
fy = 700.0
cx = 32.0
cy = 24.0

[lens]
focal_length_mm = 12.0
f_number = 1.4

[sweep]
waveform = "triangle"
frequency_hz = 2.5
far_diopters = 0.5
near_diopters = 2.5
sync = "trigger"
delay_us = 6000

[breathing]
scale_per_diopter = 0.008
center = [36.0, 22.0]
"""


def record(path: Path, truth: Calibration, diopters: float, *, seed: int = 0, contrast: float = 0.6, sweeps: int = 6):
    """A recording of a plane of fine texture, and its target."""
    images = plane_images(make_texture("fine", seed, contrast), truth, focus_steps(truth), diopters)
    recorded = simulate_sweeps(images, truth, PRESETS["clean"], sweeps=sweeps, seed=seed, start_us=START_US)
    times = [part["timestamp"][-1] for part in (recorded.events, recorded.triggers) if len(part)]
    batch = Batch(recorded.events, recorded.triggers, int(max(times)) + 1)
    write_recording(path, [batch], truth.camera.width, truth.camera.height)
    return Target(path, 1 / diopters)


def rough(truth: Calibration) -> Calibration:
    """An initial calibration with wrong sweep ends, delay and breathing."""
    sweep = truth.sweep.model_copy(update={"far_diopters": 0.55, "near_diopters": 2.6, "delay_us": 0})
    return truth.model_copy(update={"sweep": sweep, "breathing": None, "focus_curve": None})


@pytest.fixture(scope="module")
def truth():
    return Calibration.parse(LENS)


@pytest.fixture(scope="module")
def targets(truth, tmp_path_factory):
    folder = tmp_path_factory.mktemp("targets")
    places = [truth.sweep.far_diopters + place * truth.sweep.range_diopters for place in PLACES]
    return [record(folder / f"target_{i}.h5", truth, place, seed=i) for i, place in enumerate(places)]


@pytest.fixture(scope="module")
def rest_recording(truth, tmp_path_factory):
    """Two seconds at rest: 0.1 noise events a second and pixel, and two hot pixels."""
    path = tmp_path_factory.mktemp("rest") / "rest.h5"
    rng = np.random.default_rng(0)
    noise, hot = 64 * 48 // 5, 400
    x = np.concatenate([rng.integers(0, 64, noise), np.full(hot, 12), np.full(hot, 60)])
    y = np.concatenate([rng.integers(0, 48, noise), np.full(hot, 7), np.full(hot, 47)])
    time = np.sort(rng.integers(START_US, START_US + 2_000_000, len(x)))
    events = make_events(time, x, y, rng.random(len(x)) < 0.9)
    write_recording(path, [Batch(events, make_triggers(np.empty(0, int), np.empty(0, int)), int(time[-1]) + 1)], 64, 48)
    return path


@pytest.fixture(scope="module")
def calibrated(truth, targets, rest_recording):
    return calibrate(targets, rough(truth), rest_recording)


def test_focus_delay_and_breathing_of_the_lens_are_found(calibrated, truth):
    found, phase = calibrated.calibration, np.linspace(0, 1, 51)
    focus = np.abs(found.focus_at(phase) - truth.focus_at(phase)).max()
    assert focus < 0.01 * truth.sweep.range_diopters
    assert abs(found.sweep.delay_us - 6000) < 1000
    near, far = truth.sweep.near_diopters, truth.sweep.far_diopters
    magnification = breathing_magnification(near, far, found.breathing.scale_per_diopter)
    assert abs(magnification - breathing_magnification(near, far, 0.008)) < 0.001
    assert np.hypot(found.breathing.center[0] - 36, found.breathing.center[1] - 22) < 4


def test_a_recording_at_rest_gives_the_hot_pixels_and_the_noise(calibrated):
    assert calibrated.calibration.camera.hot_pixels == ((12, 7), (60, 47))
    assert 0.08 < calibrated.rest.noise_hz < 0.12
    assert calibrated.rest.on_share == pytest.approx(0.9, abs=0.05)
    assert not calibrated.rest.fault


@pytest.fixture
def result(truth):
    """A result as `calibrate` may return it, with all possible findings."""
    targets = tuple(Target(Path(f"target_{i}.h5"), 1 / (0.5 + 2 * place)) for i, place in enumerate(PLACES))
    sightings = tuple(Sighting(place, 0.001, 0.016, (0.1, -0.1), 0.6) for place in PLACES)
    return Calibrated(
        truth.model_copy(update={"camera": truth.camera.model_copy(update={"hot_pixels": ((12, 7), (60, 47))})}),
        "usable",
        ("an end of the sweep is uncertain",),
        targets,
        sightings,
        fit_curve(targets, np.array(PLACES), np.full(len(PLACES), 0.001)),
        Lateness(6000.0, 20.0, 5),
        0.0004,
        Rest(2.0, 1400, ((12, 7), (60, 47)), 0.1, 0.9, np.full((48, 64), 0.1)),
        ("breathing: too small to determine its centre",),
    )


def test_the_written_calibration_loads_and_states_its_accuracy(result, tmp_path):
    picture = save_calibration(result, tmp_path / "lens.toml")
    assert Calibration.load(tmp_path / "lens.toml") == result.calibration
    text = (tmp_path / "lens.toml").read_text()
    assert text.startswith(f"# verdict: {result.verdict}")
    assert all(str(target) in text for target in result.targets)
    assert picture.read_bytes().startswith(b"\x89PNG")
    with pytest.raises(Exception, match="exists; give --force"):
        save_calibration(result, tmp_path / "lens.toml")


def test_a_wrong_distance_is_named(truth, targets):
    wrong = [*targets[:2], replace(targets[2], metres=0.5), targets[3]]
    result = calibrate(wrong, rough(truth))
    assert result.grade == "bad"
    assert "measure its distance again" in result.verdict


def test_distances_in_the_wrong_order_are_refused(truth, targets):
    swapped = [replace(targets[0], metres=targets[3].metres), replace(targets[3], metres=targets[0].metres)]
    with pytest.raises(CalibrationError, match="the nearer one comes into focus farther away"):
        calibrate(swapped, rough(truth))


def test_a_target_beyond_the_sweep_is_refused(truth, targets, tmp_path):
    beyond = record(tmp_path / "far.h5", truth, 0.2)
    with pytest.raises(CalibrationError, match=r"far\.h5@5: .*(far end|clearly in focus)"):
        calibrate([targets[0], beyond], rough(truth))


def test_a_blank_target_is_refused(truth, targets, tmp_path):
    blank = record(tmp_path / "blank.h5", truth, 1.5, contrast=0.01)
    with pytest.raises(CalibrationError, match="too little texture"):
        calibrate([targets[0], blank], rough(truth))


def test_too_few_sweeps_are_refused(truth, targets, tmp_path):
    short = record(tmp_path / "short.h5", truth, 1.5, sweeps=2)
    with pytest.raises(CalibrationError, match="has 2 whole sweeps; calibration needs 2 of each direction"):
        calibrate([targets[0], short], rough(truth))


@pytest.mark.parametrize(
    ("metres", "message"), [([1.0], "at 2 distances at least"), ([1.0, 1.0], "one distance cannot give both ends")]
)
def test_one_distance_is_refused_before_anything_is_read(truth, metres, message):
    with pytest.raises(CalibrationError, match=message):
        calibrate([Target(Path("nowhere.h5"), m) for m in metres], truth)


@pytest.mark.parametrize("text", ["plane.h5", "plane.h5@", "plane.h5@-1", "plane.h5@far", "@1"])
def test_a_target_needs_a_recording_and_metres(text):
    with pytest.raises(CalibrationError, match="expected RECORDING@METRES"):
        parse_target(text)


def test_a_target_distance_may_have_a_unit():
    assert parse_target("a@b/plane.h5@0.75m") == Target(Path("a@b/plane.h5"), 0.75)


def test_a_bent_focus_becomes_a_measured_curve(truth):
    """Eight targets on a lens that is 6 % of the range off its waveform in the middle."""
    position = np.linspace(0.1, 0.9, 8)
    diopters = 0.4 + 2.2 * (position + 0.25 * position * (1 - position))
    targets = [Target(Path("x"), float(1 / d)) for d in diopters]
    fit = fit_curve(targets, position, np.full(8, 0.002))
    assert fit.order == 2
    found = recalibrated(truth, fit)
    phase = np.linspace(0, 1, 21)
    assert found.focus_at(phase) == pytest.approx(0.4 + 2.2 * (phase + 0.25 * phase * (1 - phase)), abs=0.005)


def test_a_straight_focus_keeps_its_waveform_in_spite_of_noise(truth):
    position = np.linspace(0.1, 0.9, 8)
    noise = np.random.default_rng(1).normal(0, 0.003, 8)
    targets = [Target(Path("x"), float(1 / d)) for d in 0.4 + 2.2 * (position + noise)]
    fit = fit_curve(targets, position, np.full(8, 0.002))
    assert fit.order == 1
    assert recalibrated(truth, fit).focus_curve is None


def test_a_replica_corrects_the_error_of_few_events(truth, targets):
    """Near an end of the sweep the measured position is off by more than a hundredth of the range; a replica shows by
    how much."""
    exact = truth.model_copy(update={"breathing": None})
    sweeps = read_target(targets[0], exact, None)
    raw, corrected = sight(sweeps, corrected=False), sight(sweeps)
    assert abs(corrected.position - PLACES[0]) < 0.006
    assert abs(corrected.position - PLACES[0]) < abs(raw.position - PLACES[0])


def test_the_kernel_agrees_with_its_numpy_reference():
    rng = np.random.default_rng(0)
    tiles = cut_tiles(rng.normal(size=(24, 40, 70)).astype(np.float32))
    motion = rng.normal(size=(len(tiles.centres), 2))
    for position in (-0.1, 0.3, 1.0):
        np.testing.assert_allclose(
            evidence(tiles, position, 9.0, motion), evidence_numpy(tiles, position, 9.0, motion), rtol=1e-6
        )


def test_hot_pixels_stand_out_of_noise_of_any_rate():
    rng = np.random.default_rng(0)
    for hz in (0.0, 0.05, 2.0):
        rate = hz * 10 ** (0.1 * rng.standard_normal(20_000))
        count = rng.poisson(10 * rate)
        count[[5, 77]] = 10 * 100
        assert np.flatnonzero(find_hot(count, 10.0)).tolist() == [5, 77]


def test_a_too_short_recording_at_rest_is_refused(truth, tmp_path):
    path = tmp_path / "blink.h5"
    events = make_events(START_US + np.arange(100), np.zeros(100), np.zeros(100), np.ones(100))
    write_recording(path, [Batch(events, make_triggers(np.empty(0, int), np.empty(0, int)), START_US + 101)], 64, 48)
    with pytest.raises(CalibrationError, match="needs 1 s"):
        measure_rest(path, truth)
