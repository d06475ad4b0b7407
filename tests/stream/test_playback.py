"""Files on the live page: frames at their times with their events, and a slider that controls and follows."""

import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from sweepdepth.capture.files.depth_file import read_depth_file
from sweepdepth.capture.recordings import open_recording
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.replay import replay
from sweepdepth.stream.run_options import RunOptions

pytest.importorskip("viser")

from sweepdepth.stream.view.moments import Moments, open_moments
from sweepdepth.stream.view.page import Page
from sweepdepth.stream.view.playback import Clock, TimeControls
from sweepdepth.stream.view.server import PageServer

COMMAND = Path(sys.executable).with_name("sweepdepth")


@pytest.fixture(scope="module")
def moments() -> Iterator[Moments]:
    with open_moments(recording_path(), options=RunOptions("polarity")) as opened:
        yield opened


@pytest.fixture(scope="module")
def depth_file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("depth") / "depth.h5"
    with open_recording(recording_path()) as recording:
        replay(recording, RunOptions("polarity"), out=path)
    return path


def test_a_recording_has_the_depth_of_a_replay_and_the_events_of_each_sweep(moments, depth_file):
    whole = read_depth_file(depth_file)
    assert len(moments) == len(whole) >= 4
    for k in range(len(whole)):
        frame, stack = moments.depth(k), moments.stack(k)
        np.testing.assert_array_equal(frame.depth, whole.depth[k])
        assert (frame.seq, frame.t_start_us, frame.t_end_us) == (k, whole.t_start_us[k], whole.t_end_us[k])
        assert stack is not None
        assert stack.stack.shape == (10, *whole.depth.shape[1:])
        assert np.abs(stack.stack).sum() > 1000
    assert moments.at_s(0) == pytest.approx(0.2, abs=0.01)


def test_a_depth_file_has_its_frames_and_no_events(depth_file):
    whole = read_depth_file(depth_file)
    with open_moments(depth_file) as opened:
        assert len(opened) == len(whole)
        np.testing.assert_array_equal(opened.depth(1).std, whole.std[1])
        assert opened.stack(1) is None


def test_frames_play_in_a_loop_at_recorded_intervals(moments):
    clock, shown = Clock(moments), []
    for tick in range(1000):  # ten seconds in steps of 10 ms
        if clock.tick(0.01 * tick, speed=1.0):
            shown.append(clock.number)
    assert shown[:8] == [number % len(moments) for number in range(1, 9)]
    assert len(shown) == pytest.approx(10 / 0.2, abs=3)
    fast = Clock(moments)
    assert sum(fast.tick(0.01 * tick, speed=2.0) for tick in range(1000)) == pytest.approx(100, abs=5)


def test_the_slider_seeks_and_follows_and_stepping_pauses(moments):
    server = PageServer("127.0.0.1", 18095, "sweepdepth")
    try:
        page = Page(server)
        controls, clock = TimeControls(server.gui, moments), Clock(moments)
        for now in (0.0, 0.3):
            controls.take(clock, now)
        assert (clock.number, controls.slider.value) == (1, 2)  # played on, and the slider with it
        controls.slider.value = 4
        controls.take(clock, 0.31)
        assert clock.number == 3
        controls.step(1)
        controls.take(clock, 0.32)
        assert (clock.number, controls.slider.value, controls.play.value) == (0, 1, False)
        controls.step(-2)
        controls.take(clock, 10.0)
        assert clock.number == len(moments) - 2
        controls.take(clock, 20.0)
        assert clock.number == len(moments) - 2  # it does not play

        stack = moments.stack(2)
        assert stack is not None
        settings = page.controls.read()
        page.show_file(moments.depth(2), "demo: frame 3 of 4", moments.at_s(2))
        page.show_depth(moments.depth(2), settings)
        page.show_stack(stack, 3, playing=True)
        assert "demo: frame 3 of 4" in page._state.content
        assert "Bin 4 of 10" in page._focus.content
    finally:
        server.stop()


def test_the_command_serves_a_file_until_it_is_interrupted(depth_file):
    command = [str(COMMAND), "view", str(depth_file), "--port", "18096"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            line = process.stderr.readline()
            assert "the live page is at http://127.0.0.1:" in line, line + process.stderr.read()
            with urllib.request.urlopen(line.split()[5], timeout=60) as answer:
                assert b"<html" in answer.read()
            process.send_signal(signal.SIGTERM)
            assert process.wait(timeout=60) == 130
        finally:
            process.kill()
