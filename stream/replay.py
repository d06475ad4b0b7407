"""Replaying a recording through the runtime: to a depth file, to subscribers, or both."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

from ..capture.atomic import refuse_inputs
from ..capture.calibration import Calibration
from ..capture.errors import CalibrationError, SyncError
from ..capture.events import Batch
from ..capture.files.depth_file import DepthFile, check_suffix
from ..capture.recordings import Recording, open_recording
from ..capture.recordings.hints import NO_HINTS, TableHints
from ..capture.sweeps import Direction
from ..capture.tracking import make_tracker
from ..net.estimators import Fuse, make_estimator
from .outputs import Publishing, open_sinks
from .pipeline import Pipeline, Rate, Summary
from .wire.messages import DepthFrame


def replay(
    path: str | Path,
    calibration: Calibration | None = None,
    *,
    out: str | Path | None = None,
    publishing: Publishing | None = None,
    speed: float | None = None,
    estimator: str | None = None,
    weights: str | Path | None = None,
    fuse: Fuse | None = None,
    filling: bool = False,
    suppressing: bool = True,
    rate: Rate = "sweep",
    first_direction: Direction | None = None,
    trigger_channel: int | None = None,
    triggers: str | Path | None = None,
    hints: TableHints = NO_HINTS,
    force: bool = False,
    stop: threading.Event | None = None,
    on_frame: Callable[[DepthFrame], None] | None = None,
    on_progress: Callable[[float], None] | None = None,
    on_address: Callable[[str], None] | None = None,
) -> Summary:
    """Run a recording through the runtime.

    `estimator` None is the network where it can be run, else "polarity"; `weights` replace those that come with the
    package. `fuse`: so many sweeps are answered together, or "auto". `trigger_channel` replaces the calibration's,
    and `triggers` is a file of triggers that come in place of the recording's own. `speed` None is as fast as it
    goes, without loss; 1 is as recorded. `out` gets every frame, at any speed: when the estimator is too slow for
    `speed`, the replay falls behind, and its warnings say so. It appears when the run ends, also when `stop` ends
    it early. `on_progress` hears the sensor time done, in seconds.

    Raises:
        CalibrationError: neither `calibration` nor one in the recording.
        SyncError: the recording holds no whole sweep, or their direction is unknown. No file is written then.
        WeightsError: `weights` cannot be used.
        RecordingError, WireError: the recording cannot be read, `out` not be written, the address not be used.
    """
    stop = stop or threading.Event()
    if out is not None:
        check_suffix(out)
        refuse_inputs(out, path, weights)
    with ExitStack() as resources:
        recording = resources.enter_context(open_recording(path, calibration, triggers=triggers, hints=hints))
        calibration = calibration_of(recording).with_trigger_channel(trigger_channel)
        chosen = make_estimator(estimator, weights=weights, fuse=fuse)
        depth_sinks: list[Callable[[DepthFrame], None]] = [on_frame] if on_frame else []
        if out is not None:
            file = resources.enter_context(DepthFile(out, calibration, chosen.name, force=force))
            depth_sinks.append(file.append)
        pipeline = Pipeline(
            calibration,
            make_tracker(calibration, first_direction=first_direction),
            chosen,
            open_sinks(resources, publishing, depth_sinks, stop, on_address=on_address),
            speed,
            filling,
            rate,
            repairs=lambda: [f"recording: {recording.repairs}"] if recording.repairs else [],
            lossless=out is not None,
            suppressing=suppressing,
            stopping=stop,
        )
        summary = pipeline.run(_with_progress(recording, on_progress))
        if summary.n_frames == 0 and not summary.stopped:
            raise SyncError(f"{path}: no whole sweep in {summary.n_events:,} events; is {describe_sync(calibration)}?")
        return summary


def calibration_of(recording: Recording) -> Calibration:
    """The calibration given on opening or stored in the recording.

    Raises:
        CalibrationError: there is neither.
    """
    if recording.calibration is None:
        raise CalibrationError(f"{recording.path}: carries no calibration; give one with --lens lens.toml")
    return recording.calibration


def describe_sync(calibration: Calibration) -> str:
    """How the calibration says that sweeps are to be told, for error messages."""
    sweep = calibration.sweep
    return f'sync = "{sweep.sync}" at {sweep.frequency_hz:g} Hz ({sweep.duration_us / 1e3:g} ms a sweep) right'


def _with_progress(recording: Recording, on_progress: Callable[[float], None] | None) -> Iterator[Batch]:
    first_us: int | None = None
    for batch in recording:
        yield batch
        if on_progress and len(batch.events):
            first_us = int(batch.events["timestamp"][0]) if first_us is None else first_us
            on_progress((batch.end_us - first_us) * 1e-6)
