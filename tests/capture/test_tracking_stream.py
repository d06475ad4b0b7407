"""Sweeps from the events alone: period, turning points, and the direction from other sources."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from sweepdepth.capture.calibration import Calibration
from sweepdepth.capture.errors import SyncError
from sweepdepth.capture.events import EVENT_DTYPE, RISING, join
from sweepdepth.capture.recordings import open_recording
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.capture.tracking import Span, Tracker, find_sweeps, make_tracker
from sweepdepth.capture.tracking.mirror import Thinning, find_lattice

from .analytic import EPOCH_US, Scene, batches, calibration, random_events, record

FAR_TO_NEAR, NEAR_TO_FAR = Direction.FAR_TO_NEAR, Direction.NEAR_TO_FAR
LENS = calibration()  # 10 Hz: sweeps of 50 ms
SWEEP_US = 50_000
DATA = Path(__file__).parents[2].parent / "shared" / "data"


@cache
def still_scene(sweeps: int = 10) -> np.ndarray:
    return record(Scene(), LENS, EPOCH_US + SWEEP_US * np.arange(sweeps + 1))


def run(tracker: Tracker, events: np.ndarray, step_us: int = 7_000) -> list[Span]:
    cuts = list(range(int(events["timestamp"][0]), int(events["timestamp"][-1]), step_us))
    spans = [span for batch in batches(events, None, cuts) for span in tracker.feed(batch)]
    return spans + tracker.finish()


def closed(spans: list[Span]) -> list[Sweep]:
    return [span.sweep for span in spans if span.closed]


def turning_errors_us(sweeps: list[Sweep], turning_us: np.ndarray) -> np.ndarray:
    """Of the starts of the sweeps, against the nearest true turning points."""
    starts = np.array([s.start_us for s in sweeps])
    return starts - turning_us[np.argmin(np.abs(turning_us[:, None] - starts), axis=0)]


def test_sweeps_are_found_to_half_a_percent_and_all_of_them():
    tracker = make_tracker(LENS, FAR_TO_NEAR)
    sweeps = closed(run(tracker, still_scene()))
    assert len(sweeps) == 10
    assert np.abs(turning_errors_us(sweeps, EPOCH_US + SWEEP_US * np.arange(11))).max() < 0.005 * SWEEP_US
    assert [s.direction for s in sweeps] == [FAR_TO_NEAR, NEAR_TO_FAR] * 5
    assert tracker.quality > 0.5
    assert tracker.counts.sweeps == 10


@pytest.mark.parametrize("share", [0.7, 1.3])
def test_the_true_frequency_may_be_thirty_percent_off_the_nominal_one(share: float):
    tracker = make_tracker(calibration(frequency_hz=10 / share), FAR_TO_NEAR)
    sweeps = closed(run(tracker, still_scene()))
    assert len(sweeps) == 10
    assert np.abs(turning_errors_us(sweeps, EPOCH_US + SWEEP_US * np.arange(11))).max() < 0.01 * SWEEP_US


def test_sweeps_come_out_while_the_lens_still_moves():
    tracker = make_tracker(LENS, FAR_TO_NEAR)
    first_us = None
    for batch in batches(still_scene(), None, [EPOCH_US + 5_000 * i for i in range(1, 100)]):
        spans = tracker.feed(batch)
        if first_us is None and spans:
            first_us = batch.end_us
        elif first_us is not None and len(batch.events):
            assert spans
    assert first_us is not None
    assert first_us <= EPOCH_US + 5 * SWEEP_US


def test_a_slow_drift_of_the_period_is_followed():
    turning = EPOCH_US + np.rint(np.cumsum(SWEEP_US * 1.002 ** np.arange(41))).astype(np.int64)
    tracker = make_tracker(LENS, FAR_TO_NEAR)
    sweeps = closed(run(tracker, record(Scene(), LENS, turning, steps=80)))
    assert len(sweeps) == 40
    errors = np.abs(turning_errors_us(sweeps, turning))
    assert errors.max() < 0.02 * SWEEP_US
    assert errors[8:].max() < 0.005 * SWEEP_US  # once the drift is known
    assert [s.direction for s in sweeps] == [FAR_TO_NEAR, NEAR_TO_FAR] * 20


def test_a_sawtooth_needs_no_direction():
    lens = calibration(waveform="sawtooth")
    turning = EPOCH_US + 100_000 * np.arange(9)
    tracker = make_tracker(lens)
    sweeps = closed(run(tracker, record(Scene(), lens, turning)))
    assert {s.direction for s in sweeps} == {FAR_TO_NEAR}
    assert len(sweeps) == 8
    assert np.abs(turning_errors_us(sweeps, turning)).max() < 500


def test_the_first_direction_is_that_of_the_first_returned_sweep():
    for first in Direction:
        assert closed(run(make_tracker(LENS, first), still_scene()))[0].direction == first
    # Less than nine tenths of the first sweep was recorded, so the second is the first one returned.
    late = still_scene()[np.searchsorted(still_scene()["timestamp"], EPOCH_US + 8_000) :]
    tracker = make_tracker(LENS, NEAR_TO_FAR)
    sweeps = closed(run(tracker, late))
    assert sweeps[0].direction == NEAR_TO_FAR
    assert abs(sweeps[0].start_us - EPOCH_US - SWEEP_US) < 500
    assert tracker.counts.partial_sweeps == 1


@pytest.mark.parametrize("sweeps_later", [0, 1, 4, 7])
@pytest.mark.parametrize("off", [-0.45, 0.45])
def test_a_drivers_command_determines_the_direction_within_a_quarter_period(sweeps_later: int, off: float):
    hint = EPOCH_US + round((sweeps_later + off) * SWEEP_US)
    first = closed(run(make_tracker(LENS, far_end_hint_us=hint), still_scene()))[0]
    assert first.direction == (FAR_TO_NEAR if sweeps_later % 2 == 0 else NEAR_TO_FAR)


def test_an_old_drivers_command_determines_no_direction():
    tracker = make_tracker(LENS, far_end_hint_us=EPOCH_US - 150 * SWEEP_US)
    with pytest.raises(SyncError, match=r"the known far end is 15\d sweeps away, and the limit is 100"):
        run(tracker, still_scene())


@pytest.mark.parametrize("first", list(Direction))
@pytest.mark.parametrize("scale", [0.03, -0.03])
def test_lens_breathing_determines_the_direction(first: Direction, scale: float):
    lens = calibration(breathing=scale, width=128, height=96)
    turning = EPOCH_US + SWEEP_US * np.arange(7)
    sweeps = closed(run(make_tracker(lens), record(Scene(), lens, turning, first == FAR_TO_NEAR, steps=80)))
    assert len(sweeps) == 6
    assert sweeps[0].direction == first


def test_invisible_breathing_determines_no_direction():
    lens = calibration(breathing=1e-5)
    with pytest.raises(SyncError, match=r"breathing shows their direction only by .*: give --first-direction"):
        run(make_tracker(lens), still_scene())


def test_without_any_hint_of_the_direction_an_error_names_the_three():
    for lens in (LENS, calibration(breathing=0.0)):
        with pytest.raises(SyncError, match=r"--first-direction.*\[breathing\].*driver"):
            make_tracker(lens)


def test_noise_and_too_short_a_stream_are_errors():
    noise = random_events(np.random.default_rng(0), 100_000, EPOCH_US, EPOCH_US + 20 * SWEEP_US)
    short = still_scene()[: np.searchsorted(still_scene()["timestamp"], EPOCH_US + 2 * SWEEP_US)]
    for events in (noise, short):
        with pytest.raises(SyncError, match=r"no sweep found in the events \(quality 0.0\d of 0.25\)"):
            run(make_tracker(LENS, FAR_TO_NEAR), events)
    with pytest.raises(SyncError, match="no sweep found"):
        find_sweeps(batches(np.empty(0, EVENT_DTYPE)), LENS, FAR_TO_NEAR)


def test_searching_holds_a_bounded_number_of_events():
    tracker = make_tracker(LENS, FAR_TO_NEAR)
    events = random_events(np.random.default_rng(0), 200_000, EPOCH_US, EPOCH_US + 100 * SWEEP_US)
    for batch in batches(events, None, [EPOCH_US + i * 10_000 for i in range(1, 500)]):
        assert tracker.feed(batch) == []
    assert len(events) - tracker.counts.events_outside <= 7.1 * len(events) / 100


def test_the_timing_is_lost_when_the_lens_stops_and_found_again_with_its_direction():
    pause = 1_000_000  # a whole number of periods, in which there is only noise
    again = still_scene().copy()
    again["timestamp"] += pause
    stop, resume = EPOCH_US + 10 * SWEEP_US, EPOCH_US + pause
    noise = random_events(np.random.default_rng(0), 2_000, stop + 100, resume)
    tracker = make_tracker(LENS, FAR_TO_NEAR)
    sweeps = closed(run(tracker, join([still_scene(), noise, again])))
    assert tracker.counts.lost == 1
    assert tracker.counts.events_outside > 0
    late = [s for s in sweeps if s.start_us > resume - 1_000]
    assert len(late) >= 9
    turning = resume + SWEEP_US * np.arange(11)
    assert np.abs(turning_errors_us(late, turning)).max() < 0.01 * SWEEP_US
    for s in late:
        assert s.direction == (FAR_TO_NEAR if round((s.start_us - resume) / SWEEP_US) % 2 == 0 else NEAR_TO_FAR)


@pytest.mark.parametrize("scale", [-0.03, -0.005, 0.005, 0.03])
@pytest.mark.parametrize("name", ["still_life", "delayed", "noisy"])
def test_wrong_breathing_in_the_calibration_determines_no_direction(name: str, scale: float):
    events, _, lens = development_sweep(name)
    assert lens.breathing is not None
    claimed = lens.model_copy(update={"breathing": lens.breathing.model_copy(update={"scale_per_diopter": scale})})
    with pytest.raises(SyncError, match="breathing shows their direction only by"):
        run(make_tracker(claimed), events, 10_000)


def test_a_clock_that_jumps_by_half_a_century_is_survived_and_no_direction_invented():
    early = still_scene().copy()
    early["timestamp"] -= EPOCH_US
    tracker = make_tracker(LENS, FAR_TO_NEAR)
    parts = [*batches(early, None, [400_000]), *batches(still_scene(), None, [EPOCH_US + 400_000])]
    spans = [span for batch in parts for span in tracker.feed(batch)] + tracker.finish()
    assert max(s.end_us for s in closed(spans)) < EPOCH_US
    assert len(closed(spans)) >= 10
    assert tracker.counts.lost == 1
    assert tracker.counts.events_outside >= len(still_scene())


@cache
def development_sweep(name: str) -> tuple[np.ndarray, np.ndarray, Calibration]:
    """Events, turning points by the triggers, and the calibration with sync = "events"."""
    if not (DATA / "sweeps").is_dir():
        pytest.skip("the development recordings are not here")
    lens = Calibration.load(DATA / "sweeps" / f"{name}.toml")
    with open_recording(DATA / "sweeps" / f"{name}.aedat4") as recording:
        parts = list(recording)
    triggers = np.concatenate([b.triggers for b in parts])
    assert triggers["edge"][0] == RISING
    free = lens.model_copy(update={"sweep": lens.sweep.model_copy(update={"sync": "events"})})
    return join([b.events for b in parts]), triggers["timestamp"] + lens.sweep.delay_us, free


@pytest.mark.parametrize(
    ("name", "lag_us", "quality"),
    [("still_life", 4_000, 0.7), ("breathing", 4_000, 0.8), ("delayed", 4_000, 0.7), ("noisy", 13_000, 0.35)],
)
def test_independent_recordings_are_timed_up_to_the_lag_of_their_pixels(name: str, lag_us: int, quality: float):
    events, turning_us, lens = development_sweep(name)
    tracker = make_tracker(lens, FAR_TO_NEAR)
    sweeps = closed(run(tracker, events, 10_000))
    errors = turning_errors_us(sweeps, turning_us)
    assert len(sweeps) == 4
    assert np.all((errors > 0) & (errors < lag_us))
    assert np.ptp(errors) < 1_000
    assert tracker.quality > quality


def test_breathing_in_independent_recordings_determines_the_direction():
    events, turning_us, lens = development_sweep("breathing")
    assert closed(run(make_tracker(lens), events, 10_000))[0].direction == FAR_TO_NEAR
    later = events[np.searchsorted(events["timestamp"], turning_us[0] + 60_000) :]
    assert closed(run(make_tracker(lens), later, 10_000))[0].direction == NEAR_TO_FAR


@pytest.mark.parametrize("name", ["emlb_demo-01.aedat4", "expelliarmus_evt2_sample.raw", "faery_dvs.es"])
def test_moving_scenes_show_no_sweep(name: str):
    if not (DATA / "recordings").is_dir():
        pytest.skip("the development recordings are not here")
    size = calibration(width=640, height=480) if name.endswith(".raw") else None
    with open_recording(DATA / "recordings" / name, size) as recording:
        parts = list(recording)
        width, height = recording.width, recording.height
    events = join([b.events for b in parts])
    thinning = Thinning(width, height)
    seconds = (events["timestamp"][-1] - events["timestamp"][0]) / 1e6
    for sweeps in (4, 5, 7, 10, 14):
        lattice = find_lattice(thinning.pick(events), thinning.pixels, 1e6 * seconds / sweeps, later=False)
        assert lattice is None or lattice.quality < 0.2
