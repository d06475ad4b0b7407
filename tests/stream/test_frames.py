"""Depth of a recording as an iterator, and what notebooks show."""

import threading

import numpy as np
import pytest

import sweepdepth
from sweepdepth import EventFocalStack, RecordingError, open_recording, replay
from sweepdepth.capture.files.depth_file import read_depth_file
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


def test_leaving_the_loop_ends_the_run_and_errors_arrive():
    for frame in replay(recording_path(), estimator="polarity"):
        assert frame.depth.ndim == 2
        break
    assert not [thread for thread in threading.enumerate() if thread.name == "replay"]
    with pytest.raises(RecordingError, match="nowhere"):
        next(replay("nowhere.h5"))


def test_a_stack_prints_in_a_line_and_shows_itself(sweep, textured_planes, calibration):
    events = textured_planes(sweep, np.full(calibration.camera.width, 1.2))
    stack = EventFocalStack.build(events, sweep)
    assert repr(stack) == f"EventFocalStack(10×72×96, signed, {stack.n_events:,} events, " + (
        "far→near)" if sweep.direction > 0 else "near→far)"
    )
    assert stack._repr_png_().startswith(b"\x89PNG")


def test_every_public_name_can_be_imported():
    for name in sweepdepth.__all__:
        assert getattr(sweepdepth, name) is not None
