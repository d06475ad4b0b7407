"""Live depth: runs a camera and a lens through the runtime, with publishing and recording."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from ..capture.calibration import Calibration
from ..capture.cameras import Camera, CameraSettings, CameraStatus, Gap, Loss, open_camera, parse_address
from ..capture.errors import SweepdepthError
from ..capture.events import Batch
from ..capture.lenses import Lens, LensStatus, make_lens
from ..capture.recordings.recorder import LiveRecorder, RecorderStatus
from ..capture.sensor_window import SensorWindow
from .follower import Follower
from .outputs import Publishing, open_sinks
from .pipeline import Pipeline
from .run_options import DEFAULT_OPTIONS, NO_CALLBACKS, Callbacks, RunOptions
from .telemetry import Summary

MAX_LAG_S = 0.5
"""Events that waited longer are dropped instead of binned."""

LOOK_S = 0.1
"""Interval of polling the lens's status."""

Notice = Callable[[str], None]


@dataclass(frozen=True)
class LiveSummary:
    """Summary of a live run. `camera` is None if the run was stopped before the camera was open; `lens` and `recording`
    are None if not used. `lens` is the status before it was brought to rest."""

    depth: Summary
    camera: CameraStatus | None
    lens: LensStatus | None
    recording: RecorderStatus | None


def live(
    address: str,
    calibration: Calibration,
    options: RunOptions = DEFAULT_OPTIONS,
    *,
    driver: str = "external",
    settings: CameraSettings | None = None,
    publishing: Publishing | None = None,
    record: str | Path | None = None,
    force: bool = False,
    stop: threading.Event | None = None,
    callbacks: Callbacks = NO_CALLBACKS,
) -> LiveSummary:
    """Compute depth from a camera's events until `stop` is set.

    Camera and lens may disconnect and reconnect: `callbacks.on_notice` is called with a sentence immediately, and every
        status includes it in its warnings. The lens is at rest when this returns or raises.

    Args:
        address: of a camera (`capture.cameras`).
        calibration: of this camera behind this lens.
        options: estimator, rate and synchronisation.
        driver: address of a lens driver (`capture.lenses`).
        settings: of the camera; None: the calibration's `[camera_settings]`.
        publishing: where to publish, and to whom.
        record: path of a recording of all events and the calibration; if writing fails, depth continues.
        force: replace an existing recording.
        stop: ends the run.
        callbacks: functions to call with frames, status and notices.

    Raises:
        CameraError, LensError: camera or lens cannot be opened, or the lens does not sweep.
        CalibrationError: the calibration is for another sensor, or lacks settings of the driver.
        SyncError: the direction of the sweeps cannot be determined.
        RecordingError, WireError, WeightsError: the recording cannot be written, or the address or weights are invalid.
    """
    stop = stop or threading.Event()
    whole = calibration.with_trigger_channel(options.trigger_channel)
    window = SensorWindow(whole, options.downsample)
    calibration = window.calibration
    settings = _camera_settings(settings, calibration)
    parse_address(address)  # validate before the lens moves
    with ExitStack() as resources:
        run = _Run(callbacks.on_notice or (lambda _: None))
        driven = None if driver == "external" else run.lens_status
        follower = Follower(calibration, options.first_direction, driven, run.sensor_us)
        estimator = options.make_estimator()
        on_frame = [callbacks.on_frame] if callbacks.on_frame else []
        sinks = open_sinks(resources, publishing, on_frame, stop, callbacks, paced=True)
        pipeline = Pipeline(
            calibration,
            follower,
            estimator,
            sinks,
            filling=options.filling,
            suppressing=options.suppressing,
            rate=options.rate,
            doubts=whole.doubts,
            repairs=lambda: run.warnings(follower),
            live=True,
            losses=run.losses,
            left_out=lambda: window.n_left_out,
            sensor_us=run.sensor_us,
            stopping=stop,
        )
        # Slow steps come before opening the camera, whose events do not wait.
        pipeline.warm_up()
        if record is not None:
            size = whole.camera.width, whole.camera.height
            run.recorder = LiveRecorder(record, *size, whole, force=force, on_failure=run.recording_failed)
            resources.callback(_discard_unused, run.recorder)
            resources.enter_context(run.recorder)
        lens = resources.enter_context(make_lens(driver, calibration))
        lens.start()
        if driven is not None:
            resources.enter_context(_LensWatch(lens, run))
        camera = _connect(address, whole, settings, stop, run=run, follower=follower, pipeline=pipeline)
        if camera is not None:
            run.camera = resources.enter_context(camera)
        if callbacks.on_start:
            callbacks.on_start()
        summary = pipeline.run(window.through(run.batches()))
        return LiveSummary(
            summary,
            run.camera and run.camera.status(),
            driven and run.lens_status(),
            run.recorder and run.recorder.close(),
        )


class _Run:
    """Shared state of one run: status of camera, lens and recording."""

    def __init__(self, notify: Notice) -> None:
        self.camera: Camera | None = None
        self.recorder: LiveRecorder | None = None
        self.notify = notify
        self._lens = LensStatus(connected=True, moving=False)
        self._was_connected = True
        self._had_no_sweeps = False

    def batches(self) -> Iterator[Batch]:
        """The camera's batches, recorded as they arrive."""
        if self.camera is None:
            return
        for batch in self.camera:
            if self.recorder is not None:
                self.recorder.write(batch)
            yield batch

    def sensor_us(self, monotonic_ns: int) -> int | None:
        return None if self.camera is None else self.camera.sensor_us(monotonic_ns)

    def lens_status(self) -> LensStatus:
        """The latest status; never blocks."""
        return self._lens

    def on_lens_status(self, status: LensStatus) -> None:
        """Store the lens's status; notifies when it is lost or found."""
        before, self._lens = self._lens, status
        if before.connected and not status.connected:
            self.notify(f"lens lost ({status.last_error}); trying again")
        elif status.connected and not before.connected:
            self.notify("lens found again")

    def recording_failed(self, why: str) -> None:
        """Notify that the recording ended, while depth continues."""
        self.notify(f"recording stopped: {why}; depth continues")

    def losses(self) -> dict[str, int]:
        """Numbers of items dropped outside the pipeline."""
        found = {}
        if self.camera is not None:
            status = self.camera.status()
            found |= {"camera_events": status.dropped_events, "camera_triggers": status.dropped_triggers}
        if self.recorder is not None:
            found["recorder_events"] = self.recorder.status().dropped_events
        return found

    def warnings(self, follower: Follower) -> list[str]:
        """All current warnings; called once a second, it also notifies when the camera is lost."""
        warnings: list[str] = []
        if self.camera is not None:
            camera = self.camera.status()
            warnings += [f"camera: {sentence}" for sentence in camera.sentences]
            if self._was_connected and not camera.connected:
                self.notify(f"camera lost ({camera.last_error}); trying again")
            self._was_connected = camera.connected
        warnings += self._lens.sentences
        if self.recorder is not None:
            warnings += self.recorder.status().sentences
        why = follower.why_not()
        if why:
            warnings.append(f"no sweeps: {why}")
        if why and not self._had_no_sweeps:
            self.notify(warnings[-1])
        self._had_no_sweeps = bool(why)
        return warnings


class _LensWatch:
    """Polls a lens's status in its own thread, so that a slow line blocks nothing. On exit, brings the lens to rest,
    and notifies if that is not confirmed."""

    def __init__(self, lens: Lens, run: _Run) -> None:
        self._lens = lens
        self._run = run
        self._leaving = threading.Event()
        run.on_lens_status(lens.status())
        self._thread = threading.Thread(target=self._watch, name="lens watch")

    def _watch(self) -> None:
        while not self._leaving.wait(LOOK_S):
            try:
                self._run.on_lens_status(self._lens.status())
            except (SweepdepthError, OSError) as error:
                self._run.on_lens_status(LensStatus(connected=False, moving=False, last_error=str(error)))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leaving.set()
        self._thread.join()
        if self._run.lens_status().connected:
            try:
                self._lens.stop()
            except SweepdepthError as problem:
                self._run.notify(f"{problem}; its keeper continues to try")


def _camera_settings(settings: CameraSettings | None, calibration: Calibration) -> CameraSettings:
    """The given settings or else the calibration's, with a limit on the lag of events."""
    if settings is None and calibration.camera_settings is not None:
        settings = CameraSettings.check(calibration.camera_settings.model_dump(), "lens.toml: camera_settings")
    settings = settings or CameraSettings()
    return settings if settings.max_lag_s is not None else settings.model_copy(update={"max_lag_s": MAX_LAG_S})


def _connect(
    address: str,
    calibration: Calibration,
    settings: CameraSettings,
    stop: threading.Event,
    *,
    run: _Run,
    follower: Follower,
    pipeline: Pipeline,
) -> Camera | None:
    """Open the camera, whose gaps and losses are passed on; None if `stop` was set meanwhile."""

    def cross(gap: Gap) -> None:
        follower.cross(gap)
        run.notify(_gap_sentence(gap))

    def lose(loss: Loss) -> None:
        pipeline.lose(loss.start_us, loss.end_us, loss.n_events)

    try:
        return open_camera(address, calibration, settings, on_gap=cross, on_loss=lose, stop=stop)
    except SweepdepthError:
        if stop.is_set():
            return None
        raise


def _discard_unused(recorder: LiveRecorder) -> None:
    """Delete the recording of a camera that was never opened."""
    status = recorder.status()
    if not (status.n_events or status.n_triggers):
        recorder.path.unlink(missing_ok=True)


def _gap_sentence(gap: Gap) -> str:
    clock = "; its clock was reset" if gap.new_clock else ""
    return f"camera found again after {gap.lost_s:.1f} s without events ({gap.reason}){clock}"
