"""Simulated focal sweeps: times, triggers and signs, on scenes whose blur is an exact formula."""

import math

import numpy as np
import pytest
from scipy.special import j1

from sweepdepth.capture.calibration import Calibration
from sweepdepth.capture.events import FALLING, RISING
from sweepdepth.synth.sensor import Sensor
from sweepdepth.synth.sensor.presets import PRESETS
from sweepdepth.synth.simulate import focus_steps, simulate_sweeps

IDEAL = Sensor(on_threshold=0.1, off_threshold=0.1, dark_level=1e-3)


def changed(calibration, **sections):
    """The calibration with some keys of its sections replaced."""
    values = calibration.model_dump(exclude_none=True)
    for section, update in sections.items():
        values[section] = {**values.get(section, {}), **update}
    return Calibration.model_validate(values)


def textured_stack(calibration, focus, surface: float | np.ndarray = 1.5, seed=0, finest=0.25):
    """(S + 1, H, W) images of a plane, or of columns at (W,) diopters: waves, each attenuated by the blur disc."""
    random = np.random.default_rng(seed)
    frequency = np.exp(random.uniform(math.log(0.02), math.log(finest), 16))[:, None, None]
    angle, shift = random.uniform(0, 2 * np.pi, (2, 16, 1, 1))
    y, x = np.mgrid[: calibration.camera.height, : calibration.camera.width] + 0.5
    waves = np.cos(2 * np.pi * frequency * (np.cos(angle) * x + np.sin(angle) * y) + shift)
    waves *= 0.95 / np.abs(waves.sum(axis=0)).max()
    images = []
    for phi in focus:
        blur = calibration.camera.fx * calibration.lens.aperture_m * np.abs(phi - surface)
        z = np.pi * frequency * blur + 1e-9
        images.append(0.5 + 0.5 * np.sum(2 * j1(z) / z * waves, axis=0))
    return np.array(images, np.float32)


def test_the_blur_determines_the_number_of_steps(calibration):
    focus = focus_steps(calibration, 0.25)
    blur = calibration.camera.fx * calibration.lens.aperture_m * np.abs(focus - 1.3)
    assert (focus[0], focus[-1]) == (0.5, 2.5)
    assert 0.24 < np.abs(np.diff(blur)).max() < 0.2501
    assert len(focus_steps(calibration, 0.125)) == 2 * len(focus) - 1


def test_fast_waves_get_steps_of_bounded_width_and_equal_duration(calibration):
    sine = changed(calibration, sweep={"waveform": "sine"})
    focus = focus_steps(sine, 0.25)
    np.testing.assert_allclose(focus, sine.focus_at(np.linspace(0, 1, len(focus))))
    assert np.diff(focus).max() * sine.camera.fx * sine.lens.aperture_m < 0.2501


def test_breathing_may_demand_more_steps_than_blur(calibration):
    breathing = changed(calibration, breathing={"scale_per_diopter": 0.2, "center": (48.0, 36.0)})
    focus = focus_steps(breathing, 0.25)
    corner = np.hypot(48, 36)
    assert np.diff(focus).max() * 0.2 * corner < 0.2501
    assert len(focus) > len(focus_steps(calibration, 0.25))


def test_triggers_mark_the_far_end_by_rising_and_the_near_end_by_falling_edges(calibration):
    delayed = changed(calibration, sweep={"delay_us": 9000})
    recording = simulate_sweeps(np.ones((5, 72, 96)), delayed, IDEAL, sweeps=3, seed=0, start_us=1_000_000)
    assert recording.triggers["timestamp"].tolist() == [991_000, 1_191_000, 1_391_000, 1_591_000]
    assert recording.triggers["edge"].tolist() == [RISING, FALLING, RISING, FALLING]


def test_without_triggers_there_are_no_edges_and_a_clock_starts_at_its_time(calibration):
    stack = textured_stack(calibration, focus_steps(calibration))
    clock = changed(calibration, sweep={"sync": "clock", "start_us": 5_000_000})
    recording = simulate_sweeps(stack, clock, IDEAL, sweeps=1, seed=0)
    assert len(recording.triggers) == 0
    assert 5_000_000 <= recording.events["timestamp"].min() < recording.events["timestamp"].max() <= 5_200_000


def test_as_the_focus_reaches_a_bright_spot_it_brightens_and_the_ring_beside_it_dims(calibration):
    focus = focus_steps(calibration)
    blur = calibration.camera.fx * calibration.lens.aperture_m * np.abs(focus - 1.5)
    y, x = np.mgrid[:72, :96]
    radius = np.hypot(y - 36, x - 48)
    sigma = np.maximum(0.8, blur / 4)[:, None, None]
    stack = (0.1 + 5 * np.exp(-(radius**2) / (2 * sigma**2)) / (2 * np.pi * sigma**2)).astype(np.float32)
    events = simulate_sweeps(stack, calibration, IDEAL, sweeps=2, seed=0).events
    distance = radius[events["y"], events["x"]]
    for sweep in (0, 1):  # blur is symmetric about the focus, so a reversed sweep looks the same
        time = events["timestamp"] - 200_000 * sweep
        for where, before in ((distance == 0, 1), ((distance > 3) & (distance < 4), 0)):
            approach, parting = where & (time > 0) & (time < 100_000), where & (time > 100_000) & (time < 200_000)
            assert approach.sum() > 5
            assert parting.sum() > 5
            assert np.all(events["polarity"][approach] == before)
            assert np.all(events["polarity"][parting] == 1 - before)


def test_polarity_turns_when_the_focus_passes_each_column(calibration):
    surface = np.linspace(0.9, 2.1, 96)
    # Waves so long that no blur of the sweep inverts their contrast.
    stack = textured_stack(calibration, focus_steps(calibration), surface, finest=0.12)
    sensitive = Sensor(on_threshold=0.03, off_threshold=0.03, dark_level=1e-3)
    events = simulate_sweeps(stack, calibration, sensitive, sweeps=2, seed=0).events

    def turning_points(column, sweep):
        """Focus at which polarity changes: between the last event before and the first after, median over the rows."""
        here = events[(events["x"] == column) & (events["timestamp"] // 200_000 == sweep)]
        order = np.lexsort((here["timestamp"], here["y"]))
        y, t, p = (here[name][order] for name in ("y", "timestamp", "polarity"))
        turn = (np.diff(y) == 0) & (np.diff(p) != 0)
        phase = np.median((t[:-1][turn] + t[1:][turn]) / 2) / 200_000 - sweep if turn.sum() >= 5 else np.nan
        return calibration.focus_at(phase if sweep == 0 else 1 - phase)

    found = np.array([[turning_points(column, sweep) for column in range(96)] for sweep in (0, 1)])
    assert np.mean(np.isfinite(found)) > 0.5
    # A threshold has to be crossed first, so polarity changes late, equally in both directions.
    late = found - surface
    assert 0 < np.nanmedian(late[0]) < 0.2
    assert -0.2 < np.nanmedian(late[1]) < 0
    assert np.nanmedian(np.abs(late.mean(axis=0))) < 0.02


def test_the_first_recorded_sweep_is_already_in_the_steady_state(calibration):
    stack = textured_stack(calibration, focus_steps(calibration), np.linspace(0.6, 2.4, 96))
    events = simulate_sweeps(stack, calibration, IDEAL, sweeps=4, seed=0).events
    first, second, third, fourth = (events[(events["timestamp"] // 200_000) == i] for i in range(4))
    assert events["timestamp"].min() >= 0
    for one, other in ((first, third), (second, fourth)):
        assert abs(len(one) / len(other) - 1) < 0.001
        per_pixel = [np.bincount(sweep["y"].astype(int) * 96 + sweep["x"], minlength=72 * 96) for sweep in (one, other)]
        assert np.mean(per_pixel[0] == per_pixel[1]) > 0.999


def test_a_sawtooth_goes_from_far_to_near_every_time(calibration):
    sawtooth = changed(calibration, sweep={"waveform": "sawtooth", "frequency_hz": 5.0})
    stack = textured_stack(sawtooth, focus_steps(sawtooth), 1.0)
    recording = simulate_sweeps(stack, sawtooth, IDEAL, sweeps=3, seed=0)
    assert recording.triggers["edge"].tolist() == [RISING] * 4
    time = recording.events["timestamp"]
    at_return = (time % 200_000 < 3) & (time > 10)
    assert at_return.sum() > 100  # the image jumps from near to far
    one, other = (recording.events[(time // 200_000 == i) & ~at_return] for i in (1, 2))
    assert np.abs(one["timestamp"] - (other["timestamp"] - 200_000)).max() <= 3


def test_events_do_not_bunch_at_the_times_of_the_images(calibration):
    """v2e's issue 71, "Spiking Pattern in event generation of a Focal Stack", does not occur."""
    focus = focus_steps(calibration)
    step_us = 200_000 / (len(focus) - 1)
    stack = textured_stack(calibration, focus, np.linspace(0.7, 2.3, 96))
    events = simulate_sweeps(stack, calibration, IDEAL, sweeps=4, seed=0).events
    phase = (events["timestamp"] + 0.5) / step_us % 1.0
    assert len(phase) > 20_000
    counts = np.histogram(phase, bins=20, range=(0, 1))[0]
    assert counts.max() < 1.15 * counts.mean()
    assert counts.min() > 0.85 * counts.mean()
    assert abs(np.mean(np.exp(2j * np.pi * phase))) < 0.02
    at_frames = np.mean(np.exp(2j * np.pi * np.ceil(phase)))  # what stamping them with the image's time would give
    assert abs(at_frames) > 0.99


def test_finer_steps_move_events_by_a_thousandth_of_the_sweep_at_most(calibration):
    surface = np.linspace(0.7, 2.3, 96)
    recordings = [
        simulate_sweeps(
            textured_stack(calibration, focus_steps(calibration, step), surface), calibration, IDEAL, sweeps=2, seed=0
        )
        for step in (0.25, 0.03125)
    ]
    coarse, fine = (recording.events for recording in recordings)
    assert abs(len(coarse) / len(fine) - 1) < 0.005
    density = [np.histogram(events["timestamp"], bins=50, range=(0, 400_000))[0] for events in (coarse, fine)]
    assert np.abs(density[0] - density[1]).sum() / len(fine) < 0.03


@pytest.mark.parametrize("name", ["davis346", "noisy"])
def test_the_sweep_works_with_presets_of_real_sensors(calibration, name):
    stack = textured_stack(calibration, focus_steps(calibration))
    recording = simulate_sweeps(stack, calibration, PRESETS[name], sweeps=2, seed=3)
    time, polarity = recording.events["timestamp"], recording.events["polarity"]
    assert np.all(np.diff(time) >= 0)
    assert len(time) > 1000
    assert 0.2 < polarity.mean() < 0.8


def test_a_stack_of_another_size_and_no_sweeps_are_refused(calibration):
    with pytest.raises(ValueError, match="does not fit a camera"):
        simulate_sweeps(np.ones((5, 96, 72), np.float32), calibration, IDEAL, sweeps=1, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        simulate_sweeps(np.ones((5, 72, 96), np.float32), calibration, IDEAL, sweeps=0, seed=0)
    with pytest.raises(ValueError, match="greater than 0"):
        focus_steps(calibration, 0.0)
