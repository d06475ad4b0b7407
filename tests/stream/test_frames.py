"""Depth of a recording as an iterator, and images in notebooks."""

import re
import threading

import numpy as np
import pytest

import sweepdepth
from sweepdepth import EventFocalStack, RecordingError, estimate_depth, find_sweeps, open_recording, replay
from sweepdepth.capture.files.dataset import SceneRecording, SceneTruth
from sweepdepth.capture.files.depth_file import read_depth_file
from sweepdepth.net.estimate import Estimate
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.replay import replay as replay_to_file
from sweepdepth.stream.run_options import RunOptions


def test_frames_are_those_of_a_replay_into_a_file(tmp_path):
    with open_recording(recording_path()) as recording:
        replay_to_file(recording, RunOptions("polarity"), out=tmp_path / "d.h5")
    whole = read_depth_file(tmp_path / "d.h5")
    frames = list(replay(recording_path(), estimator="polarity"))
    assert [frame.t_start_us for frame in frames] == whole.t_start_us.tolist()
    np.testing.assert_array_equal(np.stack([frame.depth for frame in frames]), whole.depth)
    text = repr(frames[0])
    assert text.startswith("DepthFrame(")
    assert len(text) < 200
    assert frames[0]._repr_png_().startswith(b"\x89PNG")


def test_leaving_the_loop_ends_the_run_and_errors_are_raised():
    for frame in replay(recording_path(), estimator="polarity"):
        assert frame.depth.ndim == 2
        break
    assert not [thread for thread in threading.enumerate() if thread.name == "replay"]
    with pytest.raises(RecordingError, match="nowhere"):
        next(replay("nowhere.h5"))


def test_an_implausible_calibration_is_a_python_warning():
    with open_recording(recording_path()) as recording:
        assert recording.calibration is not None
        camera = recording.calibration.camera.model_copy(update={"cx": -5.0})
        calibration = recording.calibration.model_copy(update={"camera": camera})
    with pytest.warns(UserWarning, match=r"demo_recording.h5: calibration: camera.cx, cy \(-5, .* lie off"):
        assert list(replay(recording_path(), calibration, estimator="polarity"))


def test_a_stack_prints_in_a_line_and_shows_itself(sweep, textured_planes, calibration):
    events = textured_planes(sweep, np.full(calibration.camera.width, 1.2))
    stack = EventFocalStack.build(events, sweep)
    assert repr(stack) == f"EventFocalStack(10×72×96, signed, {stack.n_events:,} events, " + (
        "far→near)" if sweep.direction > 0 else "near→far)"
    )
    assert stack._repr_png_().startswith(b"\x89PNG")


def test_recordings_scenes_and_estimates_print_in_a_line_and_show_themselves(tmp_path):
    with open_recording(recording_path()) as recording:
        events, _ = recording.read()
        assert recording.calibration is not None
        sweep = find_sweeps(recording, recording.calibration)[0]
        assert re.fullmatch(
            r"Recording\(demo_recording\.h5, HDF5.*, \d+×\d+, .* events in .* s, calibrated\)", repr(recording)
        )
        shown = [recording._repr_png_()]
    inside = events[(events["timestamp"] >= sweep.start_us) & (events["timestamp"] < sweep.end_us)]
    estimate = estimate_depth(inside, sweep)
    assert re.fullmatch(r"Estimate\(\d+×\d+, \d+ % known, median [\d.]+ m, quality 0\.\d+\)", repr(estimate))
    height, width = estimate.depth.shape
    truth = SceneTruth(sweep.calibration, np.full((height, width), 0.5), np.ones((height, width)))
    assert repr(truth) == f"SceneTruth({width}×{height}, 0.5 to 0.5 m)"
    scene = SceneRecording(inside, events[:0], truth)
    assert repr(scene) == f"SceneRecording({len(inside):,} events, 0 triggers, {truth!r})"
    unknown = Estimate(np.full((4, 6), np.nan, np.float32), np.full((4, 6), np.nan, np.float32), float("nan"))
    assert repr(unknown) == "Estimate(6×4, 0 % known, quality nan)"
    shown += [shows._repr_png_() for shows in (estimate, truth, scene, unknown)]
    assert all(png.startswith(b"\x89PNG") for png in shown)


def test_every_public_name_can_be_imported():
    for name in sweepdepth.__all__:
        assert getattr(sweepdepth, name) is not None
