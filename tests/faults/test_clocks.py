"""Clocks that jump: the host's, which nothing depends on, and the sensor's, which is reported."""

import os
import shutil
import subprocess
import threading
import time
from contextlib import suppress
from itertools import count
from pathlib import Path
from random import Random

import h5py
import numpy as np
import pytest

from sweepdepth import Calibration
from sweepdepth.capture.cameras import Gap, open_camera
from sweepdepth.capture.cameras.pipe import BATCH, HEADER, MAGIC
from sweepdepth.capture.errors import SweepdepthError
from sweepdepth.capture.events import Batch, make_events
from sweepdepth.capture.files.depth_file import read_depth_file
from sweepdepth.capture.recordings import LiveRecorder, open_recording
from sweepdepth.capture.sources.chunks import NO_TRIGGERS
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.replay import replay
from sweepdepth.stream.run_options import RunOptions
from sweepdepth.stream.wire.messages import DepthFrame
from sweepdepth.stream.wire.subscriber import Subscriber

from .processes import end, start
from .table import rounds, saw

HOUR_US = 3_600_000_000

JUMPING = r"""
/* The host's clock, set anew to some time within 68 years before or after now each time that it is read. */
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>
static long jump(void) { return (random() & 0x7fffffff) - (random() & 0x3fffffff) * 2L; }
int clock_gettime(clockid_t id, struct timespec *t) {
    int code = syscall(SYS_clock_gettime, id, t);
    if (id == CLOCK_REALTIME && code == 0) t->tv_sec = labs(t->tv_sec + jump());
    return code;
}
int gettimeofday(struct timeval *t, void *zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    t->tv_sec = now.tv_sec;
    t->tv_usec = now.tv_nsec / 1000;
    return 0;
}
time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}
"""


def test_the_hosts_clock_jumps(tmp_path: Path):
    """It jumps at each reading: waiting, pacing and depth do not depend on it, only the times in messages."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler")
    (tmp_path / "jumping.c").write_text(JUMPING)
    library = tmp_path / "jumping.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", str(library), str(tmp_path / "jumping.c")], check=True)
    address = f"ipc://{tmp_path}/depth"
    process = start(
        *("replay", recording_path(), "--estimator", "polarity", "--speed", 1, "--out", tmp_path / "depth.h5"),
        *("--publish", address, "--wait-subscribers", 1),
        env=os.environ | {"LD_PRELOAD": str(library)},
    )
    with Subscriber(address, topics=("depth",), timeout=200) as subscriber:
        frames = [frame for frame in subscriber if isinstance(frame, DepthFrame)]
    code, complaint = end(process)
    assert code == 0, complaint
    with open_recording(recording_path()) as recording:
        replay(recording, RunOptions("polarity"), out=tmp_path / "quiet.h5")
    expected = read_depth_file(tmp_path / "quiet.h5")
    got = read_depth_file(tmp_path / "depth.h5")
    assert len(frames) == len(got) >= 2  # a paced run skips frames on a busy machine
    at = [list(expected.t_start_us).index(start_us) for start_us in got.t_start_us]
    np.testing.assert_allclose(got.depth[:], expected.depth[at], rtol=1e-4)  # sums differ by the number of BLAS threads
    assert np.array_equal(got.t_end_us, expected.t_end_us[at])
    published = np.array([frame.t_publish_ns for frame in frames])
    assert np.abs(np.diff(published)).min() > 1e12, "the clock did not jump"
    saw("the host's clock jumps", "by years at each reading, in a paced `replay`", "the same depth")


def jumped(path: Path, share: float, jump_us: int) -> None:
    """The bundled recording, with its clock shifted from the middle on."""
    shutil.copy(recording_path(), path)
    with h5py.File(path, "r+") as file:
        times, edges = (np.asarray(file[name]) for name in ("events/t", "triggers/t"))
        at = int(times[0] + share * (times[-1] - times[0]))
        for name, column in (("events/t", times), ("triggers/t", edges)):
            moved = column.astype(np.int64) + np.where(column >= at, jump_us, 0)
            if moved.min() < 0:
                moved -= min(0, int(times[0]) + jump_us)
            del file[name]
            file[name] = moved
        del file["t_offset"]
        file["t_offset"] = np.int64(1_763_000_511_821_624)


@rounds(2)
@pytest.mark.parametrize("way", ["forward", "back"])
def test_a_sensors_clock_jumps_in_a_recording(tmp_path: Path, chance: Random, way: str):
    """Depth before and after a step forward; after a step back, the order of the two clocks is unknown."""
    path, out = tmp_path / "recording.h5", tmp_path / "depth.h5"
    by_us = chance.randrange(2_000_000, 20 * HOUR_US)
    jumped(path, chance.uniform(0.3, 0.7), by_us if way == "forward" else -by_us)
    message, summary = "", None
    try:
        with open_recording(path) as recording:
            summary = replay(recording, RunOptions("polarity"), out=out)
    except SweepdepthError as error:
        message = str(error)
    if summary is None:
        assert way == "back"
        assert "its clock falls back" in message
        assert "split the recording at that point" in message
        assert not out.exists()
        seen = "a one-line error with the time, no file"
    else:
        frames = read_depth_file(out)
        assert len(frames) == summary.n_frames >= 2
        assert np.all(np.diff(frames.t_start_us) > 0)
        assert np.all(frames.t_end_us - frames.t_start_us < 1_000_000), "a sweep as long as the jump"
        seen = "depth of the sweeps before and after it" if way == "forward" else "depth up to it, the rest counted"
    saw(f"the sensor's clock jumps {way} in a recording", "by 2 s to 20 hours, somewhere in its middle", seen)


@rounds(1)
def test_a_sensors_clock_jumps_in_a_stream(tmp_path: Path, lens: str, chance: Random):
    """Forward and back: time continues for users of the stream, and the recording is complete."""
    camera_pipe = tmp_path / "events"
    os.mkfifo(camera_pipe)
    calibration = Calibration.parse(lens)
    jumps = [chance.randrange(2_000_000, 2 * HOUR_US) for _ in range(2)]
    parts, at_us = [], HOUR_US * 1000
    for jump_us in (0, jumps[0], -jumps[1]):
        at_us += jump_us
        parts.append(at_us)
        at_us += 1_000_000

    def send() -> None:
        with suppress(BrokenPipeError), open(camera_pipe, "wb", buffering=0) as pipe:
            pipe.write(HEADER.pack(MAGIC, 1, 96, 72, 0))
            for start_us in parts:
                for k in range(50) if start_us != parts[-1] else count():
                    if done.is_set():
                        return
                    t = start_us + 20_000 * k + np.arange(2000) * 10
                    events = make_events(t, t % 96, t % 72, t % 2)
                    pipe.write(BATCH.pack(1, len(events), int(t[-1])) + events.tobytes())
                    time.sleep(0.002)

    done = threading.Event()
    sender = threading.Thread(target=send)
    sender.start()
    gaps: list[Gap] = []
    batches: list[Batch] = []
    with (
        open_camera(f"pipe:{camera_pipe}", calibration, on_gap=gaps.append) as camera,
        LiveRecorder(tmp_path / "live.h5", 96, 72, calibration) as recorder,
    ):
        watchdog = threading.Timer(100, camera.close)
        watchdog.start()
        for batch in camera:
            recorder(batch)
            batches.append(batch)
            if gaps and sum(len(b.events) for b in batches) >= 220_000:
                break
        watchdog.cancel()
        done.set()
    sender.join()
    assert recorder.status().failure is None
    times = np.concatenate([batch.events["timestamp"] for batch in batches])
    assert len(times) >= 220_000
    assert np.all(np.diff(times) >= 0)
    assert [gap.reason for gap in gaps] == ["its clock was set back"]
    with open_recording(tmp_path / "live.h5") as recording:
        assert np.array_equal(recording.read()[0]["timestamp"], times)
    saw(
        "the sensor's clock jumps in a live stream",
        "by 2 s to 2 hours, forward and then back, while it is recorded",
        "reported as a gap; time continues; all of it is in the recording",
    )


def test_a_step_of_a_day_costs_a_live_recording_nothing(tmp_path: Path):
    """The index by milliseconds once exhausted the memory, and earlier events were lost, too."""
    path, times = tmp_path / "live.h5", np.arange(10_000)
    with LiveRecorder(path, 96, 72) as recorder:
        for start_us in (0, 24 * HOUR_US):
            events = make_events(start_us + times, times % 96, times % 72, times % 2)
            recorder.write(Batch(events, NO_TRIGGERS, start_us + 10_000))
    assert recorder.status().failure is None
    with open_recording(path) as recording:
        assert len(recording.read()[0]) == 20_000
