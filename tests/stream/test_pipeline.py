"""The runtime: each complete sweep becomes one frame, in order, without hanging or growing."""

import os
import sys
import threading
import time
from dataclasses import dataclass

import numpy as np
import pytest

from sweepdepth import RecordingError, estimate_depth
from sweepdepth.capture.events import Batch, make_triggers
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.capture.tracking import make_tracker
from sweepdepth.net.polarity import PolarityReversal
from sweepdepth.stream.overload import MOST_GIVEN_UP, WAITING_STACKS
from sweepdepth.stream.pipeline import NICENESS, Pipeline, Sinks

START = 1_763_000_000_000_000
SWEEP_US = 200_000


@dataclass(frozen=True)
class Scene:
    """Four sweeps of two textured planes, as the batches of a recording with triggers."""

    sweeps: list[Sweep]
    batches: list[Batch]
    events: list[np.ndarray]


@pytest.fixture(scope="module")
def scene(calibration, textured_planes):
    focus = np.where(np.arange(96) < 48, 1.0, 1.8)
    sweeps = [
        Sweep(START + k * SWEEP_US, START + (k + 1) * SWEEP_US, Direction(1 - 2 * (k % 2)), calibration)
        for k in range(4)
    ]
    events = [textured_planes(sweep, focus) for sweep in sweeps]
    events = [e[e["timestamp"] < s.end_us] for e, s in zip(events, sweeps, strict=True)]
    batches = []
    for k, (sweep, part) in enumerate(zip(sweeps, events, strict=True)):
        for i, end in enumerate(range(sweep.start_us + 20_000, sweep.end_us + 1, 20_000)):
            inside = part[(part["timestamp"] >= end - 20_000) & (part["timestamp"] < end)]
            edge = [1 + k % 2] if i == 0 else []
            batches.append(Batch(inside, make_triggers(np.array([sweep.start_us][: len(edge)]), np.array(edge)), end))
    end = sweeps[-1].end_us
    batches.append(Batch(batches[0].events[:0], make_triggers(np.array([end]), np.array([1])), end + 1))
    return Scene(sweeps, batches, events)


def run(calibration, batches, **options):
    frames, statuses = [], []
    sinks = options.pop("sinks", Sinks((frames.append,), (statuses.append,)))
    pipeline = Pipeline(
        calibration, make_tracker(calibration), options.pop("estimator", PolarityReversal()), sinks, **options
    )
    return pipeline.run(batches), frames, statuses


def test_each_sweep_becomes_the_frame_that_its_events_give_at_once(calibration, scene):
    summary, frames, statuses = run(calibration, scene.batches)
    assert summary.n_frames == len(frames) == 4
    assert summary.n_events == sum(map(len, scene.events))
    assert [(f.t_start_us, f.t_end_us, f.direction) for f in frames] == [
        (s.start_us, s.end_us, s.direction) for s in scene.sweeps
    ]
    for frame, sweep, events in zip(frames, scene.sweeps, scene.events, strict=True):
        np.testing.assert_array_equal(frame.depth, estimate_depth(events, sweep).depth)
        assert 0 < frame.quality <= 1
        assert frame.latency_ms["total"] >= frame.latency_ms["estimate"] > 0
    assert statuses[-1].end
    assert statuses[-1].latency_ms.keys() == {"bin", "queue", "estimate", "total"}


def test_a_sweep_with_another_end_than_predicted_is_binned_again(lens, scene):
    """The calibration has 2.6 Hz, the lens 2.5 Hz: uncorrected, the first frame would be off by 4 % of the range."""
    from sweepdepth import Calibration

    wrong = Calibration.parse(lens.replace("frequency_hz = 2.5", "frequency_hz = 2.6"))
    _, frames, _ = run(wrong, scene.batches)
    _, expected, _ = run(scene.sweeps[0].calibration, scene.batches)
    assert len(frames) == 4
    for a, b in zip(frames, expected, strict=True):
        np.testing.assert_array_equal(a.depth, b.depth)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no priorities of their own")
@pytest.mark.parametrize("live", [True, False])
def test_the_estimator_of_a_live_run_gives_way_to_the_binning(calibration, scene, live):
    """Also in the threads that it starts, at its first call or later."""

    def niceness() -> int:
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())

    found: list[int] = []

    class Estimator(PolarityReversal):
        def __call__(self, stack):
            started = threading.Thread(target=lambda: found.append(niceness()))
            started.start()
            started.join()
            return super().__call__(stack)

    def binned():
        for batch in scene.batches:
            binning.append(niceness())
            yield batch

    binning: list[int] = []
    own = niceness()
    run(calibration, binned(), estimator=Estimator(), live=live)
    assert len(found) >= 2  # one to warm up
    assert set(found) == {min(19, own + NICENESS) if live else own}
    assert set(binning) == {own}


def test_filling_leaves_no_gap(calibration, scene):
    _, frames, _ = run(calibration, scene.batches, filling=True)
    assert all(np.isfinite(frame.depth).all() for frame in frames)


def test_a_sweep_without_events_is_a_frame_without_depth(calibration, scene):
    empty = [Batch(b.events[:0], b.triggers, b.end_us) for b in scene.batches]
    summary, frames, _ = run(calibration, empty)
    assert summary.n_frames == 4
    assert all(np.isnan(frame.depth).all() and np.isnan(frame.quality) for frame in frames)


def test_at_recorded_speed_the_clock_of_the_recording_is_kept(calibration, scene):
    begun = time.monotonic()
    summary, frames, _ = run(calibration, scene.batches, speed=1.0)
    assert time.monotonic() - begun >= 0.79
    assert len(frames) + summary.drops.get("estimator_busy", 0) == 4


class SlowEstimator(PolarityReversal):
    def __call__(self, stack):
        time.sleep(0.6 if stack.n_events > 1 else 0)
        return super().__call__(stack)


def test_under_overload_the_newest_sweep_is_estimated_and_drops_are_counted(calibration, scene):
    summary, frames, statuses = run(calibration, scene.batches, speed=8.0, estimator=SlowEstimator())
    assert summary.drops["estimator_busy"] == 4 - len(frames) > 0
    assert statuses[-1].drops["estimator_busy"] == summary.drops["estimator_busy"]
    assert frames[-1].t_end_us == scene.sweeps[-1].end_us
    assert [f.t_end_us for f in frames] == sorted(f.t_end_us for f in frames)


def losing(scene, lost_us):
    """A live source that loses the events of some time spans, and reports it between the batches around them."""

    def source(pipeline):
        end_us = START
        for batch in scene.batches:
            times = batch.events["timestamp"]
            missing = np.any([(times >= a) & (times < b) for a, b in lost_us], axis=0)
            if missing.any():
                pipeline.lose(end_us, batch.end_us, int(missing.sum()))
            end_us = batch.end_us
            yield Batch(batch.events[~missing], batch.triggers, batch.end_us)
            time.sleep(0.01)

    return source


def run_live(calibration, source, **options):
    frames = []
    sinks = Sinks((frames.append,))
    pipeline = Pipeline(calibration, make_tracker(calibration), PolarityReversal(), sinks, live=True, **options)
    return pipeline.run(source(pipeline)), frames


def test_a_sweep_with_missing_events_is_discarded(calibration, scene):
    _, whole, _ = run(calibration, scene.batches)
    middle = scene.sweeps[1].start_us + SWEEP_US // 2
    summary, frames = run_live(calibration, losing(scene, [(middle, middle + 30_000)]))
    assert summary.drops["sweeps_incomplete"] == 1
    kept = [frame for frame in whole if frame.t_start_us != scene.sweeps[1].start_us]
    assert len(frames) + summary.drops.get("estimator_busy", 0) == 3
    for frame in frames:
        (same,) = [other for other in kept if other.t_start_us == frame.t_start_us]
        np.testing.assert_array_equal(frame.depth, same.depth)
        assert frame.quality == pytest.approx(same.quality, rel=0.02)


def test_under_lasting_overload_incomplete_sweeps_give_depth_of_lower_quality(calibration, scene):
    _, whole, _ = run(calibration, scene.batches)
    lost = [(sweep.start_us + SWEEP_US // 2, sweep.start_us + SWEEP_US * 3 // 4) for sweep in scene.sweeps]
    summary, frames = run_live(calibration, losing(scene, lost))
    assert summary.drops["sweeps_incomplete"] == MOST_GIVEN_UP
    (frame,) = frames
    assert frame.t_start_us == scene.sweeps[MOST_GIVEN_UP].start_us
    assert frame.quality < 0.9 * whole[MOST_GIVEN_UP].quality


def test_at_the_bin_rate_an_incomplete_sweep_resets_the_rolling_stack(calibration, scene):
    """The next depth is of the complete sweep after it, without earlier bins."""
    middle = scene.sweeps[1].start_us + SWEEP_US // 2
    summary, frames = run_live(calibration, losing(scene, [(middle, middle + 30_000)]), rate="bin")
    assert summary.drops["sweeps_incomplete"] == 1
    after = [frame for frame in frames if frame.t_end_us > middle + 30_000]
    assert after
    assert min(frame.t_start_us for frame in after) >= scene.sweeps[2].start_us
    assert after[0].t_end_us >= scene.sweeps[2].end_us  # a busy estimator skips the first


def test_offline_nothing_is_dropped_and_the_source_waits(calibration, scene):
    asked = []

    def source():
        for batch in scene.batches:
            asked.append(batch.end_us)
            yield batch

    seen = []
    sinks = Sinks((lambda frame: seen.append(len(asked)),))
    summary, _, _ = run(calibration, source(), sinks=sinks, estimator=SlowEstimator())
    assert summary.n_frames == 4
    assert seen[0] <= 10 * (WAITING_STACKS + 2) + 2


@pytest.mark.parametrize("rate", ["sweep", "bin"])
def test_a_lossless_run_falls_behind_its_pace_and_drops_nothing(calibration, scene, rate):
    """A slow estimator, at ten times the recording's pace: it needs longer than the whole recording."""

    class Slow(PolarityReversal):
        def __call__(self, stack):
            time.sleep(0.5 if rate == "sweep" else 0.03)
            return super().__call__(stack)

    offline = run(calibration, scene.batches, rate=rate)[1]
    summary, frames, _ = run(calibration, scene.batches, speed=10.0, lossless=True, rate=rate, estimator=Slow())
    assert [frame.t_end_us for frame in frames] == [frame.t_end_us for frame in offline]
    assert sum(summary.drops.values()) == 0
    assert any("fell behind real time by up to" in warning for warning in summary.warnings)


def test_stopping_sends_what_was_finished_and_ends_soon(calibration, scene):
    stop = threading.Event()

    def source():
        for batch in scene.batches:
            if batch.end_us > scene.sweeps[2].start_us + 50_000:
                stop.set()
            yield batch

    summary, frames, statuses = run(calibration, source(), stopping=stop)
    assert summary.stopped
    assert len(frames) == 2
    assert statuses[-1].end


def test_a_failing_source_ends_the_run_after_earlier_frames(calibration, scene):
    frames = []

    def source():
        yield from scene.batches[:25]
        raise RecordingError("sweep.raw: the file is damaged")

    with pytest.raises(RecordingError, match=r"sweep\.raw"):
        run(calibration, source(), sinks=Sinks((frames.append,)))
    assert len(frames) == 2


def test_a_failing_sink_ends_the_run_with_its_error(calibration, scene):
    def full(frame):
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        run(calibration, scene.batches * 1, sinks=Sinks((full,)))
    assert not [t for t in threading.enumerate() if t.name in ("binning", "estimating")]


def test_the_stack_preview_is_made_only_while_wanted(calibration, scene):
    stacks, wanted = [], iter([True, False, False, True])
    sinks = Sinks((), (), stacks.append, lambda: next(wanted))
    run(calibration, scene.batches, sinks=sinks)
    assert [s.t_start_us for s in stacks] == [scene.sweeps[0].start_us, scene.sweeps[3].start_us]


def test_at_the_bin_rate_each_sweep_gives_a_frame_per_bin_and_ends_with_the_sweeps_frame(calibration, scene):
    """The last frame of each sweep is the one that the sweep rate gives."""
    _, once, _ = run(calibration, scene.batches)
    summary, frames, _ = run(calibration, scene.batches, rate="bin")
    bins = PolarityReversal().bins
    assert summary.n_frames == len(frames) == 1 + 3 * (bins - 2)  # interpolated events finish a bin later
    ends = [f for f in frames if f.t_end_us in [s.end_us for s in scene.sweeps]]
    assert len(ends) == 4
    for whole, sweep in zip(ends, once, strict=True):
        np.testing.assert_array_equal(whole.depth, sweep.depth)
        assert (whole.t_start_us, whole.direction) == (sweep.t_start_us, sweep.direction)
    for frame in frames:
        spans = np.array(frame.bin_spans_us)
        assert spans.shape == (bins, 2)
        assert (frame.t_start_us, frame.t_end_us) == (spans.min(), spans.max())
    assert [f.t_end_us for f in frames] == sorted(f.t_end_us for f in frames)
    assert not once[0].bin_spans_us


def test_at_the_bin_rate_a_busy_estimator_skips_bins_except_the_last(calibration, scene):
    summary, frames, statuses = run(calibration, scene.batches, rate="bin", speed=4.0, estimator=SlowEstimator())
    assert 1 <= len(frames) < 5
    assert summary.drops["bins_passed_over"] > 50
    assert statuses[-1].drops["bins_passed_over"] == summary.drops["bins_passed_over"]
    assert frames[-1].t_end_us == scene.sweeps[-1].end_us
