"""Replays a recording through the runtime, to a depth file, to subscribers, or both."""

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from ..capture.atomic import refuse_inputs
from ..capture.calibration import Calibration
from ..capture.errors import CalibrationError, SyncError
from ..capture.events import Batch
from ..capture.files.depth_file import DepthFile, check_suffix
from ..capture.recordings import Recording
from ..capture.sensor_window import SensorWindow
from ..capture.tracking import make_tracker
from .outputs import Publishing, open_sinks
from .pipeline import Pipeline
from .run_options import DEFAULT_OPTIONS, NO_CALLBACKS, Callbacks, RunOptions
from .telemetry import Summary
from .wire.messages import DepthFrame


def replay(
    recording: Recording,
    options: RunOptions = DEFAULT_OPTIONS,
    *,
    out: str | Path | None = None,
    publishing: Publishing | None = None,
    speed: float | None = None,
    force: bool = False,
    stop: threading.Event | None = None,
    callbacks: Callbacks = NO_CALLBACKS,
) -> Summary:
    """Replay a recording through the runtime.

        with open_recording("sweep.aedat4") as recording:
            replay(recording, RunOptions(rate="bin"), out="depth.h5")

    Args:
        recording: an open recording with a calibration; it stays open.
        options: estimator, rate and synchronisation.
        out: depth file with every frame. If the estimator is too slow for `speed`, the replay falls behind, with a
            warning. The file appears when the run ends, also if `stop` ends it early.
        publishing: address and keys for publishing.
        speed: factor of real time; None: as fast as possible without loss.
        force: replace an existing depth file.
        stop: ends the run early.
        callbacks: functions to call with frames, status and progress.

    Returns:
        Counts of events, frames and drops, latency, and warnings.

    Raises:
        CalibrationError: the recording has no calibration.
        SyncError: the recording has no complete sweep, or the direction is unknown. No file is written then.
        WeightsError: `options.weights` are invalid.
        RecordingError, WireError: the recording cannot be read, `out` cannot be written, or the address is invalid.
    """
    stop = stop or threading.Event()
    if out is not None:
        check_suffix(out)
        refuse_inputs(out, recording.path, options.weights)
    with ExitStack() as resources:
        whole = calibration_of(recording).with_trigger_channel(options.trigger_channel)
        window = SensorWindow(whole, options.downsample)
        calibration = window.calibration
        estimator = options.make_estimator()
        depth_sinks: list[Callable[[DepthFrame], None]] = [callbacks.on_frame] if callbacks.on_frame else []
        if out is not None:
            file = resources.enter_context(DepthFile(out, calibration, estimator.name, force=force))
            depth_sinks.append(file.append)
        pipeline = Pipeline(
            calibration,
            make_tracker(calibration, first_direction=options.first_direction),
            estimator,
            open_sinks(resources, publishing, depth_sinks, stop, callbacks, paced=speed is not None),
            speed,
            options.filling,
            options.rate,
            doubts=whole.doubts,
            repairs=lambda: [f"recording: {recording.repairs}"] if recording.repairs else [],
            lossless=out is not None,
            suppressing=options.suppressing,
            left_out=lambda: window.n_left_out,
            stopping=stop,
        )
        summary = pipeline.run(_with_progress(window.through(recording), callbacks.on_progress))
        if summary.n_frames == 0 and not summary.stopped:
            raise SyncError(
                f"{recording.path}: no complete sweep in {summary.n_events:,} events; is {describe_sync(calibration)}?"
            )
        return summary


def calibration_of(recording: Recording) -> Calibration:
    """The calibration given on opening or stored in the recording.

    Raises:
        CalibrationError: there is none.
    """
    if recording.calibration is None:
        beside = recording.path.with_suffix(".toml")
        lens = beside if beside.exists() else "lens.toml"
        raise CalibrationError(f"{recording.path}: has no calibration; give one with --lens {lens}")
    return recording.calibration


def describe_sync(calibration: Calibration) -> str:
    """The calibration's sweep settings in words, for error messages."""
    sweep = calibration.sweep
    return f'sync = "{sweep.sync}" at {sweep.frequency_hz:g} Hz ({sweep.duration_us / 1e3:g} ms a sweep) right'


def _with_progress(batches: Iterable[Batch], on_progress: Callable[[float], None] | None) -> Iterator[Batch]:
    first_us: int | None = None
    for batch in batches:
        yield batch
        if on_progress and len(batch.events):
            first_us = int(batch.events["timestamp"][0]) if first_us is None else first_us
            on_progress((batch.end_us - first_us) * 1e-6)
