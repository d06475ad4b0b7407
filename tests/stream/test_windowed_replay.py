"""Depth of a part of the sensor, or of binned pixels, in the geometry of its header."""

import json
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import pytest

from sweepdepth import Calibration, CalibrationError, WireError, open_recording
from sweepdepth.capture.events import Batch
from sweepdepth.capture.files.depth_file import open_depth_file, read_depth_file
from sweepdepth.capture.files.export import points
from sweepdepth.capture.recordings import write_recording
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.listening import _window_of, listen
from sweepdepth.stream.outputs import Publishing
from sweepdepth.stream.replay import replay
from sweepdepth.stream.run_options import Callbacks, RunOptions
from sweepdepth.stream.wire.messages import DepthFrame, StatusFrame

COMMAND = Path(sys.executable).with_name("sweepdepth")
ROI = (60, 40, 101, 80)


@pytest.fixture(scope="module")
def whole() -> Calibration:
    with open_recording(recording_path()) as recording:
        assert recording.calibration is not None
        return recording.calibration


@pytest.fixture(scope="module")
def truth() -> np.ndarray:
    with h5py.File(recording_path()) as file:
        return np.asarray(file["depth"])


def with_roi(calibration: Calibration, roi: tuple[int, int, int, int] = ROI) -> Calibration:
    return calibration.model_copy(update={"camera": calibration.camera.model_copy(update={"roi": roi})})


def depth_of(path: Path, calibration: Calibration, **options) -> tuple[list[DepthFrame], int, int]:
    """The frames, and the numbers of events binned and left out."""
    frames: list[DepthFrame] = []
    with open_recording(path, calibration) as recording:
        summary = replay(recording, RunOptions("polarity", **options), callbacks=Callbacks(on_frame=frames.append))
    assert summary.warnings == ()
    return frames, summary.n_events, summary.n_left_out


def test_a_roi_gives_the_depth_of_a_sensor_that_ends_there(tmp_path, whole):
    x, y, width, height = ROI
    with open_recording(recording_path()) as recording:
        events, triggers = recording.read()
    inside = (events["x"] >= x) & (events["x"] < x + width) & (events["y"] >= y) & (events["y"] < y + height)
    cut = events[inside]
    cut["x"] -= x
    cut["y"] -= y
    write_recording(tmp_path / "cut.h5", [Batch(cut, triggers, int(triggers["timestamp"][-1]) + 1)], width, height)
    camera = whole.camera
    small = camera.model_copy(update={"width": width, "height": height, "cx": camera.cx - x, "cy": camera.cy - y})
    expected, n_events, _ = depth_of(tmp_path / "cut.h5", whole.model_copy(update={"camera": small}))

    found, n_inside, n_outside = depth_of(recording_path(), with_roi(whole))
    assert (n_inside, n_outside) == (n_events, len(events) - n_events)
    assert len(found) == len(expected) >= 4
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.info == theirs.info
        np.testing.assert_array_equal(ours.depth, theirs.depth)
        np.testing.assert_array_equal(ours.std, theirs.std)


def test_pixels_taken_together_have_the_depth_that_each_has(whole, truth):
    one, n_events, _ = depth_of(recording_path(), whole)
    two, n_kept, n_outside = depth_of(recording_path(), whole, downsample=2)
    assert (n_kept, n_outside) == (n_events, 0)
    near, far = whole.sweep.near_diopters, whole.sweep.far_diopters
    height, width = truth.shape
    blocks = (1 / truth).reshape(height // 2, 2, width // 2, 2)
    flat = np.ptp(blocks, axis=(1, 3)) < 0.01 * (near - far)  # nothing ends inside of it
    for full, half in zip(one, two, strict=True):
        assert half.depth.shape == (height // 2, width // 2)
        a, b = full.info.camera, half.info.camera
        assert (b.width, b.height) == (a.width // 2, a.height // 2)
        assert (b.fx, b.fy, b.cx, b.cy) == (a.fx / 2, a.fy / 2, a.cx / 2, a.cy / 2)
        fine = (1 / full.depth).reshape(height // 2, 2, width // 2, 2).mean(axis=(1, 3))
        both = flat & np.isfinite(fine) & np.isfinite(half.depth)
        assert both.mean() > 0.1
        assert np.median(np.abs(fine - 1 / half.depth)[both]) < 0.05 * (near - far)
        assert np.median(np.abs(blocks.mean(axis=(1, 3)) - 1 / half.depth)[both]) < 0.1 * (near - far)


def test_the_points_of_a_window_are_where_those_of_the_sensor_are(whole):
    """By the header's camera, the same scene is in the same place."""
    (full, *_), *_ = depth_of(recording_path(), whole)
    (part, *_), *_ = depth_of(recording_path(), with_roi(whole))
    x, y, width, height = ROI
    flat = np.ones((full.info.camera.height, full.info.camera.width), np.float32)
    expected = points(flat, full.info.camera).reshape(*flat.shape, 3)[y : y + height, x : x + width]
    found = points(flat[:height, :width], part.info.camera).reshape(height, width, 3)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_header_status_and_received_file_describe_the_window(tmp_path, whole):
    address, calibration = f"ipc://{tmp_path}/depth", with_roi(whole)
    heard = []

    def hear() -> None:
        heard.extend(listen(address, tmp_path / "heard.h5", calibration, timeout=60))

    listener = threading.Thread(target=hear)
    listener.start()
    with open_recording(recording_path(), calibration) as recording:
        options = RunOptions("polarity", downsample=3)
        out = tmp_path / "depth.h5"
        summary = replay(recording, options, out=out, publishing=Publishing(address, wait_subscribers=1))
    listener.join(60)
    camera = next(frame.info.camera for frame in heard if isinstance(frame, DepthFrame))
    assert (camera.width, camera.height) == (33, 26)
    assert camera.fx == pytest.approx(whole.camera.fx / 3)
    assert (camera.cx, camera.cy) == pytest.approx(((whole.camera.cx - 60) / 3, (whole.camera.cy - 40) / 3))
    last = heard[-1]
    assert isinstance(last, StatusFrame)
    assert (last.n_events, last.n_frames, last.n_left_out) == (
        summary.n_events,
        summary.n_frames,
        summary.n_left_out,
    )
    assert summary.n_left_out > 0
    np.testing.assert_array_equal(read_depth_file(out).depth, read_depth_file(tmp_path / "heard.h5").depth)
    for path in (out, tmp_path / "heard.h5"):
        with open_depth_file(path) as frames:
            assert frames.calibration.camera.fx == pytest.approx(camera.fx)
            assert frames.calibration.camera.roi is None


def test_a_listener_with_another_window_gets_an_error(tmp_path, whole):
    address = f"ipc://{tmp_path}/depth"
    failures = []

    def hear() -> None:
        try:
            list(listen(address, tmp_path / "heard.h5", whole, timeout=60))
        except WireError as error:
            failures.append(str(error))

    listener = threading.Thread(target=hear)
    listener.start()
    with open_recording(recording_path(), with_roi(whole)) as recording:
        replay(recording, RunOptions("polarity"), publishing=Publishing(address, wait_subscribers=1))
    listener.join(60)
    assert "sends 101×80 pixels, but the calibration is for 240×180" in failures[0]


def test_a_calibration_of_a_much_larger_sensor_is_refused_for_its_size(whole):
    """Not for the blur that would be left if so many pixels were combined."""
    camera = whole.camera.model_copy(update={"width": 3440, "height": 260})
    sent: Any = SimpleNamespace(info=SimpleNamespace(camera=whole.camera))
    with pytest.raises(WireError, match="sends 240×180 pixels, but the calibration is for 3440×260"):
        _window_of(sent, whole.model_copy(update={"camera": camera}), "ipc://depth")


def test_the_page_of_a_windowed_recording_has_the_events_of_the_window(whole):
    pytest.importorskip("viser")
    from sweepdepth.stream.view.moments import open_moments

    with open_moments(recording_path(), with_roi(whole), RunOptions("polarity", downsample=2)) as moments:
        stack = moments.stack(0)
        assert stack is not None
        assert stack.stack.shape == (10, 40, 50)
        assert moments.events is not None
        assert moments.events["x"].max() < 50
        assert np.abs(stack.stack).sum() > 1000


def test_an_axis_far_outside_the_window_is_no_doubt(whole):
    frames, *_ = depth_of(recording_path(), with_roi(whole, (0, 0, 64, 48)))  # without warnings
    assert frames[0].info.camera.cx > 64


def test_the_command_counts_left_out_events_and_refuses_invalid_windows(tmp_path, whole):
    (tmp_path / "lens.toml").write_text(with_roi(whole).to_toml())
    words = [COMMAND, "replay", recording_path(), "--lens", tmp_path / "lens.toml", "--estimator", "polarity"]
    words = [*map(str, words), "--out", str(tmp_path / "depth.h5"), "--downsample", "2"]
    done = subprocess.run([*words, "--json"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["left_out"] > 0
    assert read_depth_file(tmp_path / "depth.h5").depth.shape[1:] == (40, 50)
    (tmp_path / "lens.toml").write_text(
        (tmp_path / "lens.toml").read_text().replace("[60, 40, 101, 80]", "[200, 40, 101, 80]")
    )
    done = subprocess.run([*words, "--force"], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1
    assert "lens.toml: camera: roi: [200, 40, 101, 80] (x, y, width, height) is no part of the 240×180" in done.stderr


def test_excessive_binning_is_reported(whole):
    with (
        open_recording(recording_path(), with_roi(whole, (0, 0, 10, 10))) as recording,
        pytest.raises(CalibrationError, match="leaves no pixel of 10×10"),
    ):
        replay(recording, RunOptions("polarity", downsample=11))
