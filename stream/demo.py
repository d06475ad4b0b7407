"""The demo: replays the bundled recording to a real subscriber, and compares the depth with the ground truth."""

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.resources import as_file, files
from pathlib import Path

import h5py
import numpy as np

from ..capture.atomic import make_folder
from ..capture.calibration import Calibration
from ..capture.errors import WireError
from ..capture.recordings import open_recording
from ..capture.reporting.figures import depth_figure, save_figure
from ..capture.stack import EventFocalStack
from ..capture.sweeps import Sweep
from ..net import metrics
from ..net.estimators import make_estimator
from .outputs import Publishing
from .replay import calibration_of, replay
from .run_options import Callbacks, RunOptions
from .telemetry import Summary
from .wire.compression import Encoding
from .wire.messages import DepthFrame, StackFrame, StatusFrame
from .wire.subscriber import Subscriber

SILENCE_S = 60.0
"""Timeout of the subscriber."""


@dataclass(frozen=True)
class Demo:
    """Results of the demo."""

    summary: Summary
    received: tuple[DepthFrame, ...]
    lost: int
    wire_ms: float  # median time from publishing to receiving
    metrics: Mapping[str, metrics.Metrics]  # by estimator, the received one first
    picture: Path
    depth_file: Path


def recording_path() -> Path:
    """The bundled recording: HDF5 with its calibration, and the true depth at the root."""
    with as_file(files(__package__) / "demo_recording.h5") as path:
        return path


def run_demo(
    folder: str | Path, on_progress: Callable[[float], None] | None = None, encoding: Encoding = "none"
) -> Demo:
    """Replay the bundled recording over ZeroMQ on loopback; writes `demo.png` and `demo.h5` to `folder`."""
    folder = make_folder(folder)
    path = recording_path()
    with h5py.File(path) as file:
        truth = np.asarray(file["depth"], np.float32)

    listener: Listener | None = None

    def listen(address: str) -> None:
        nonlocal listener
        listener = Listener(address)
        listener.start()

    depth_file = folder / "demo.h5"
    with open_recording(path) as recording:
        calibration = calibration_of(recording)
        summary = replay(
            recording,
            out=depth_file,
            publishing=Publishing("tcp://127.0.0.1:*", wait_subscribers=1, encoding=encoding),
            force=True,
            callbacks=Callbacks(on_address=listen, on_progress=on_progress),
        )
    assert listener is not None
    listener.join()
    if listener.error is not None:
        raise listener.error
    if not listener.depth or not listener.stacks:
        raise WireError("the demo's subscriber received no frame")

    shown = {listener.depth[0].info.estimator: listener.depth}
    if "polarity" not in shown:
        shown["polarity"] = []
        with open_recording(path) as recording:
            callbacks = Callbacks(on_frame=shown["polarity"].append)
            replay(recording, RunOptions(estimator="polarity"), callbacks=callbacks)
    scores = {
        name: metrics.mean([metrics.score(frame.depth, truth, calibration, frame.std) for frame in frames])
        for name, frames in shown.items()
    }
    picture = folder / "demo.png"
    _draw({name: frames[-1] for name, frames in shown.items()}, listener.stacks[-1], truth, calibration, picture)
    return Demo(
        summary,
        tuple(listener.depth),
        listener.lost,
        float(np.median(listener.wire_ms)),
        scores,
        picture,
        depth_file,
    )


class Listener(threading.Thread):
    """A subscriber that stores everything until the stream ends."""

    def __init__(self, address: str) -> None:
        super().__init__(name="listener")
        self.depth: list[DepthFrame] = []
        self.stacks: list[StackFrame] = []
        self.status: list[StatusFrame] = []
        self.wire_ms: list[float] = []
        self.lost = 0
        self.error: WireError | None = None
        self._address = address

    def run(self) -> None:
        try:
            with Subscriber(self._address, topics=("depth", "status", "stack"), timeout=SILENCE_S) as frames:
                for frame in frames:
                    match frame:
                        case DepthFrame():
                            self.wire_ms.append((time.time_ns() - frame.t_publish_ns) * 1e-6)
                            self.depth.append(frame)
                        case StackFrame():
                            self.stacks.append(frame)
                        case StatusFrame():
                            self.status.append(frame)
                self.lost = frames.lost
        except WireError as error:
            self.error = error


def _draw(
    frames: Mapping[str, DepthFrame], preview: StackFrame, truth: np.ndarray, calibration: Calibration, path: Path
) -> None:
    sweep = Sweep(preview.t_start_us, preview.t_end_us, preview.direction, calibration)
    stack = EventFocalStack(sweep, make_estimator(preview.info.estimator).polarity, preview.stack)
    titles = {"net": "depth: network", "polarity": "depth: polarity reversal"}
    maps = {titles[name]: frame.depth for name, frame in frames.items()}
    save_figure(depth_figure(stack.signed(), stack.diopters, maps, truth), path)
