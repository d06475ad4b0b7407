"""The fuzzed readers: all readers of external files and messages, and a process to run them in.

Run as a program this file is that process: for each line `[reader, path]` on its standard input, in JSON, it answers
with a line `[outcome, text]`. The outcomes are "result", "error" for one of our own errors, and "bug".
"""

import json
import resource
import select
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

MEMORY_BYTES = 12 << 30
"""Limit of the address space; a damaged file must not need more."""

WIDTH, HEIGHT = 24, 16
LENS = f"""
[camera]
width = {WIDTH}
height = {HEIGHT}
pixel_pitch_um = 18.5
fx = 648.6
fy = 648.6
cx = 12.0
cy = 8.0
distortion = [0.1, 0.01, 0.0, 0.0, 0.0]
hot_pixels = [[0, 1], [2, 3]]

[lens]
focal_length_mm = 12.0
f_number = 1.4

[sweep]
waveform = "triangle"
frequency_hz = 2.5
far_diopters = 0.5
near_diopters = 2.5
sync = "trigger"
start_us = 0
delay_us = 0

[breathing]
scale_per_diopter = 0.01
center = [12.0, 8.0]

[focus_curve]
phase = [0.0, 0.5, 1.0]
diopters = [0.5, 1.45, 2.5]

[driver]
kind = "optotune"
far_ma = 40.0
"""


def read_lens(path: Path) -> None:
    """A calibration, and everything computed from it before the first event."""
    import numpy as np

    from sweepdepth.capture.calibration import Calibration
    from sweepdepth.capture.files.description import describe_calibration
    from sweepdepth.capture.sweeps import Direction, Sweep
    from sweepdepth.capture.tracking import make_tracker

    calibration = Calibration.load(path)
    text = calibration.to_toml()
    assert Calibration.parse(text).to_toml() == text
    describe_calibration(calibration)
    make_tracker(calibration, first_direction=Direction.FAR_TO_NEAR if calibration.sweep.sync == "events" else None)
    focus = Sweep(0, 200_000, Direction.NEAR_TO_FAR, calibration).diopters_at(np.linspace(0, 200_000, 100))
    assert np.isfinite(focus).all()


def read_message(path: Path) -> None:
    """A message of the wire: parts of a multipart message, as NumPy arrays of bytes in one file."""
    from sweepdepth.stream.listening import facts_of
    from sweepdepth.stream.wire.messages import decode, encode

    content, parts = path.read_bytes(), []
    while content:
        length = int.from_bytes(content[:4], "little")
        parts.append(memoryview(content)[4 : 4 + length])
        content = content[4 + length :]
    frame = decode(parts)
    facts_of(frame)
    assert frame.stream is not None
    encode(frame, stream=frame.stream, seq=frame.seq, t_publish_ns=frame.t_publish_ns)


def read_recording(path: Path) -> None:
    """A recording of any format, to its end."""
    import numpy as np

    from sweepdepth.capture.calibration import Calibration
    from sweepdepth.capture.recordings import open_recording

    # The sensor size, if the file does not contain it.
    sized = path.suffix in (".h5", ".aedat4")
    with open_recording(path, None if sized else Calibration.parse(LENS), stall_timeout_s=2.0) as recording:
        last = -(2**62)
        for batch in recording:
            events = batch.events
            times = events["timestamp"]
            assert np.all(np.diff(times, prepend=last, append=batch.end_us) >= 0)
            assert np.all((events["x"] >= 0) & (events["x"] < recording.width))
            assert np.all((events["y"] >= 0) & (events["y"] < recording.height))
            last = batch.end_us
        str(recording.repairs)


def read_triggers(path: Path) -> None:
    """A file of triggers, by the calibration's frequency."""
    import numpy as np

    from sweepdepth.capture.calibration import Calibration
    from sweepdepth.capture.recordings.trigger_file import read_trigger_file

    read = read_trigger_file(path, Calibration.parse(LENS).sweep)
    times = read.triggers["timestamp"]
    assert len(times) > 0
    assert np.all(times[1:] >= times[:-1])
    assert np.isin(read.triggers["edge"], (1, 2)).all()


def read_scene(path: Path) -> None:
    """One scene of a dataset."""
    from sweepdepth.capture.files import dataset

    dataset.read_truth(path)
    scene = dataset.read_scene(path)
    camera = scene.truth.calibration.camera
    assert scene.truth.depth.shape == scene.truth.intensity.shape == (camera.height, camera.width)


def read_manifest(path: Path) -> None:
    """A dataset's `dataset.json`."""
    from sweepdepth.capture.files import dataset
    from sweepdepth.capture.files.description import describe

    folder = path.with_suffix("")
    folder.mkdir(exist_ok=True)
    (folder / dataset.MANIFEST).write_bytes(path.read_bytes())
    describe(folder)
    dataset.create_dataset(folder, dataset.Manifest(3, {"a": {"b": [1, 2]}}))


def read_depth(path: Path) -> None:
    """A depth file, whole."""
    from sweepdepth.capture.files.depth_file import read_depth_file
    from sweepdepth.capture.files.description import describe

    frames = read_depth_file(path)
    assert frames.depth.shape == frames.std.shape
    describe(path)


def read_stack(path: Path) -> None:
    """A saved event focal stack."""
    from sweepdepth.capture.stack import EventFocalStack

    stack = EventFocalStack.load(path)
    camera = stack.sweep.calibration.camera
    assert stack.signed().shape == (stack.bins, camera.height, camera.width)


def read_keys(path: Path) -> None:
    """A key file."""
    from sweepdepth.stream.wire.keys import load_key_pair

    path.chmod(0o600)
    load_key_pair(path)


def read_weights(path: Path) -> None:
    """A weights file, and the network in it."""
    from sweepdepth.net.weights import load_module, open_weights

    file = open_weights(path)
    assert len(file.deviation) == 2
    load_module(file)


READERS: dict[str, Callable[[Path], None]] = {
    name.removeprefix("read_"): value for name, value in list(globals().items()) if name.startswith("read_")
}


class Trial:
    """The process in which readers run; it is replaced after a crash or a hang.

    `run` returns outcome and text: to those above come "crashed" and "hung".
    """

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, reader: str, path: Path) -> tuple[str, str]:
        process = self._process = self._process or self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps([reader, str(path)]).encode() + b"\n")
        process.stdin.flush()
        started = time.monotonic()
        ready, _, _ = select.select([process.stdout], [], [], self._limit_s)
        line = process.stdout.readline() if ready else b""
        if line:
            outcome, text = json.loads(line)
            return outcome, text
        self.close()
        if ready:
            return "crashed", f"the process ended with status {process.returncode}"
        return "hung", f"no answer after {time.monotonic() - started:.0f} s"

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def _started(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        assert process.stdout is not None
        process.stdout.readline()
        return process


def main() -> None:
    from sweepdepth.capture.errors import SweepdepthError

    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    # Answers use a copy of standard output, so that a library's output cannot disturb them.
    answers, sys.stdout = sys.stdout, sys.stderr
    print(json.dumps("ready"), file=answers, flush=True)
    for line in sys.stdin:
        reader, path = json.loads(line)
        answer: tuple[str, Any] = "result", ""
        try:
            READERS[reader](Path(path))
        except SweepdepthError as error:
            text = str(error)
            sound = text.isprintable() and len(text) < 1000
            answer = ("error", text) if sound else ("bug", f"not one readable line: {text!r}")
        except BaseException:
            answer = "bug", traceback.format_exc()
        with suppress(BrokenPipeError):
            print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
