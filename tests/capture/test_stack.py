"""The event focal stack: bins uniform in diopters, canonical order, breathing undone."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepdepth import Calibration, RecordingError
from sweepdepth.capture.events import EVENT_DTYPE, make_events
from sweepdepth.capture.stack import EventFocalStack, kernel
from sweepdepth.capture.stack.focal_stack import LATE_SHARE
from sweepdepth.capture.stack.interpolated import DRAWER_EVENTS, extend_plainly
from sweepdepth.capture.sweeps import Direction, Sweep

from ..conftest import random_events

START = 1_763_000_000_000_000


def with_lens(lens: str, *, waveform: str = "triangle", breathing: float = 0.0, curve: bool = False) -> Calibration:
    text = lens.replace('"triangle"', f'"{waveform}"')
    text += f"\n[breathing]\nscale_per_diopter = {breathing}\ncenter = [50.0, 30.0]\n"
    if curve:
        text += "\n[focus_curve]\nphase = [0.0, 0.3, 1.0]\ndiopters = [0.5, 1.7, 2.5]\n"
    return Calibration.parse(text)


sweeps = st.builds(
    lambda duration, direction: (duration, direction), st.integers(1, 400_000), st.sampled_from(list(Direction))
)


@given(
    sweep_of=sweeps,
    waveform=st.sampled_from(["triangle", "sine"]),
    breathing=st.sampled_from([0.0, 0.015, -0.02]),
    curve=st.booleans(),
    polarity=st.sampled_from(["signed", "split"]),
    bins=st.integers(2, 12),
    seed=st.integers(0, 1000),
)
@settings(max_examples=60, deadline=None)
def test_the_kernel_agrees_with_its_numpy_reference(lens, sweep_of, waveform, breathing, curve, polarity, bins, seed):
    duration, direction = sweep_of
    calibration = with_lens(lens, waveform=waveform, breathing=breathing, curve=curve)
    sweep = Sweep(START, START + duration, direction, calibration)
    events = random_events(sweep, 300, seed)
    events["timestamp"] += np.random.default_rng(seed).integers(-2, 3, 300) * (duration // 4)  # some outside the sweep
    fast, plain = (EventFocalStack.empty(sweep, bins, polarity) for _ in range(2))
    fast._add(events, kernel.accumulate)
    plain._add(events, kernel.accumulate_numpy)
    np.testing.assert_allclose(fast.data, plain.data, atol=1e-4)
    assert fast.n_off_sensor == plain.n_off_sensor


def mean_of_hats(start: float, end: float, bins: int) -> np.ndarray:
    """(bins,) mean of max(0, 1 − |b − place|) between two places."""
    places = start + (end - start) * (np.arange(4000) + 0.5) / 4000
    return np.maximum(0, 1 - np.abs(np.arange(bins)[:, None] - places)).mean(axis=1)


@given(sweep_of=sweeps, breathing=st.sampled_from([0.0, 0.015, -0.03]), seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_an_interpolated_stack_is_the_slope_of_lines_from_event_to_event(lens, sweep_of, breathing, seed):
    duration, direction = sweep_of
    sweep = Sweep(START, START + duration, direction, with_lens(lens, breathing=breathing))
    events = random_events(sweep, 400, seed)
    events["x"] = events["x"] % 6 + 90 * (seed % 2)
    events["y"] %= 5
    stack = EventFocalStack.build(events, sweep, 8, "interpolated")

    seen = np.zeros_like(stack.data)  # as the sensor saw it, along the sweep
    position = stack.bin_at(events["timestamp"])
    if direction == Direction.NEAR_TO_FAR:
        position = 7 - position
    before: dict[tuple[int, int], tuple[float, int]] = {}
    for place, event in zip(position, events, strict=True):
        if event["timestamp"] < START + round(LATE_SHARE * duration):
            continue
        pixel = (int(event["y"]), int(event["x"]))
        sign = int(direction) * (2 * int(event["polarity"]) - 1)
        end, pieces = extend_plainly(before.get(pixel), place, sign)
        for start, stop, rise in pieces:
            seen[:, *pixel] += rise * mean_of_hats(start, stop, 8)
        before[pixel] = (end, sign)
    if direction == Direction.NEAR_TO_FAR:
        seen = seen[::-1]
    expected = np.zeros_like(seen)
    for b in range(8):
        magnification = 1 + breathing * 2 / 7 * b
        y = np.floor(30 + magnification * (np.arange(72) + 0.5 - 30)).astype(int)
        x = np.floor(50 + magnification * (np.arange(96) + 0.5 - 50)).astype(int)
        rows, columns = (y >= 0) & (y < 72), (x >= 0) & (x < 96)
        expected[b][np.ix_(rows, columns)] = seen[b][np.ix_(y[rows], x[columns])]
    np.testing.assert_allclose(stack.data, expected, atol=2e-3)


@pytest.mark.parametrize("polarity", ["signed", "split", "interpolated"])
@pytest.mark.parametrize("breathing", [0.0, 0.015])
def test_batch_after_batch_equals_all_at_once_to_the_bit(lens, sweep, polarity, breathing):
    sweep = replace(sweep, calibration=with_lens(lens, breathing=breathing))
    events = random_events(sweep, 5000, 1)
    whole = EventFocalStack.build(events, sweep, 10, polarity)
    parts = EventFocalStack.empty(sweep, 10, polarity)
    for part in np.array_split(events, [3, 3, 700, 4000]):
        parts.add(part)
    np.testing.assert_array_equal(parts.data, whole.data)
    assert parts.n_events == whole.n_events == 5000


def test_pixels_of_an_interpolated_stack_are_independent_however_many_events_there_are(lens, sweep):
    sweep = replace(sweep, calibration=with_lens(lens))
    events = random_events(sweep, 4 * DRAWER_EVENTS, 1)
    events["y"] %= 24
    whole = EventFocalStack.build(events, sweep, 10, "interpolated")
    rows = [EventFocalStack.build(events[events["y"] == y], sweep, 10, "interpolated") for y in range(24)]
    np.testing.assert_array_equal(np.sum([row.data for row in rows], axis=0), whole.data)
    assert np.abs(whole.data).sum() > 0.3 * len(events)


def test_an_event_is_divided_between_the_two_bins_around_its_focus(calibration):
    sweep = Sweep(0, 1000, Direction.FAR_TO_NEAR, calibration)
    events = make_events(np.array([325]), np.array([7]), np.array([9]), np.array([1]))
    stack = EventFocalStack.build(events, sweep, bins=5)
    assert stack.data[:, 9, 7] == pytest.approx([0, 0.7, 0.3, 0, 0])
    assert stack.data.sum() == pytest.approx(1)
    assert stack.diopters == pytest.approx([0.5, 1.0, 1.5, 2.0, 2.5])


def test_bins_are_uniform_in_diopters_whatever_the_waveform(lens):
    sweep = Sweep(0, 100_000, Direction.FAR_TO_NEAR, with_lens(lens, waveform="sine"))
    quarter_focus_us = round(100_000 * np.arccos(1 - 2 * 0.25) / np.pi)
    events = make_events(np.array([quarter_focus_us]), np.array([0]), np.array([0]), np.array([1]))
    stack = EventFocalStack.build(events, sweep, bins=5)
    assert stack.data[:, 0, 0] == pytest.approx([0, 1, 0, 0, 0], abs=1e-3)


@pytest.mark.parametrize("polarity", ["signed", "split", "interpolated"])
def test_a_sweep_and_its_time_reversal_give_the_same_canonical_stack(calibration, polarity):
    """Played backwards, brightening is dimming: the reversed recording is a near→far sweep of the same scene."""
    forward = Sweep(0, 100_000, Direction.FAR_TO_NEAR, calibration)
    backward = replace(forward, direction=Direction.NEAR_TO_FAR)
    events = random_events(forward, 2000, 2)
    if polarity == "interpolated":  # one event a pixel: what lies between a pixel's events is seen from the past only
        events = events[np.unique(events["y"] * 1000 + events["x"].astype(int), return_index=True)[1]]
        events = events[np.argsort(events["timestamp"])]
        late = LATE_SHARE * 100_000
        events = events[(events["timestamp"] > late) & (events["timestamp"] < 100_000 - late)]
    mirrored = events[::-1].copy()
    mirrored["timestamp"] = 100_000 - mirrored["timestamp"]
    mirrored["polarity"] = 1 - mirrored["polarity"]
    a = EventFocalStack.build(events, forward, 10, polarity)
    b = EventFocalStack.build(mirrored, backward, 10, polarity)
    if polarity == "interpolated":
        assert a.data.sum() == pytest.approx(b.data.sum(), rel=1e-3)
    else:
        np.testing.assert_allclose(a.data, b.data, atol=1e-4)


def test_breathing_is_undone_in_the_geometry_of_the_far_end(lens):
    """A point that is at p at the far end appears at centre + m(φ)(p − centre)."""
    calibration = with_lens(lens, breathing=0.05)
    sweep = Sweep(0, 100_000, Direction.FAR_TO_NEAR, calibration)
    times = np.linspace(0, 99_999, 50).astype(np.int64)
    magnification = 1 + 0.05 * (sweep.diopters_at(times) - 0.5)
    point = np.array([20.5, 60.5])
    seen = np.array([50, 30]) + magnification[:, None] * (point - np.array([50, 30]))
    x, y = np.floor(seen).astype(int).T
    events = make_events(times, x, y, np.ones(50, int))
    stack = EventFocalStack.build(events, sweep, bins=4)
    near_the_point = stack.data[:, 59:62, 19:22].sum()
    assert near_the_point == pytest.approx(50, abs=1e-3)


def test_events_that_breathing_moved_off_the_sensor_are_counted(lens):
    calibration = with_lens(lens, breathing=-0.1)
    sweep = Sweep(0, 1000, Direction.FAR_TO_NEAR, calibration)
    events = make_events(np.array([999]), np.array([0]), np.array([0]), np.array([1]))
    stack = EventFocalStack.build(events, sweep)
    assert stack.n_off_sensor == 1
    assert not stack.data.any()


def test_an_empty_sweep_gives_an_empty_stack(sweep):
    stack = EventFocalStack.build(np.empty(0, EVENT_DTYPE), sweep)
    assert stack.n_events == 0
    assert not stack.data.any()


def test_fewer_than_two_bins_are_refused(sweep):
    with pytest.raises(ValueError, match="at least 2 bins, not 1"):
        EventFocalStack.empty(sweep, bins=1)


@pytest.mark.parametrize("polarity", ["signed", "split"])
def test_a_saved_stack_is_restored(tmp_path, sweep, polarity):
    stack = EventFocalStack.build(random_events(sweep, 500, 3), sweep, 6, polarity)
    stack.save(tmp_path / "stack.npz")
    again = EventFocalStack.load(tmp_path / "stack.npz")
    np.testing.assert_array_equal(again.data, stack.data)
    assert (again.sweep, again.polarity, again.n_events) == (stack.sweep, polarity, 500)


def test_a_file_that_is_no_stack_is_refused(tmp_path):
    (tmp_path / "picture.npz").write_bytes(b"\x89PNG and more")
    with pytest.raises(RecordingError, match=r"picture\.npz: is not a saved event focal stack"):
        EventFocalStack.load(tmp_path / "picture.npz")
