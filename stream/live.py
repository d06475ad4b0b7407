"""Depth live: a camera and a lens through the runtime, to subscribers and into a recording."""

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
from .follower import Follower
from .outputs import Publishing, open_sinks
from .pipeline import Pipeline
from .run_options import DEFAULT_OPTIONS, NO_CALLBACKS, Callbacks, RunOptions
from .telemetry import Summary

MAX_LAG_S = 0.5
"""Events that waited for longer are not worth binning: what they show is over."""

LOOK_S = 0.1
"""How often the lens is asked how it is."""

Notice = Callable[[str], None]


@dataclass(frozen=True)
class LiveSummary:
    """What a live run did. `camera` is None when it was stopped before there was one, `lens` and `recording` when there
    was none; the lens is as it was before it was brought to rest."""

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
    """Turn a camera's events into depth until `stop` is set.

    Camera and lens may go and come back: `callbacks.on_notice` hears of it in sentences, at once, and every status has
    it among its warnings. The lens is at rest when this returns or raises.

    Args:
        address: of a camera (`capture.cameras`).
        calibration: of this camera behind this lens.
        options: how its events become depth.
        driver: names a lens driver (`capture.lenses`).
        settings: of the camera; None: those of the calibration's `[camera_settings]`.
        publishing: where to publish, and to whom.
        record: recording that gets all events and the calibration as they come; when it cannot be written any more,
            depth goes on.
        force: replace a recording that is there.
        stop: ends the run.
        callbacks: who hears of it.

    Raises:
        CameraError, LensError: camera or lens cannot be opened, or the lens not be made to sweep.
        CalibrationError: the calibration is for another sensor, or lacks what the driver needs.
        SyncError: the direction of the sweeps cannot be known.
        RecordingError, WireError, WeightsError: the recording cannot be written, the address or weights not be used.
    """
    stop = stop or threading.Event()
    calibration = calibration.with_trigger_channel(options.trigger_channel)
    notify = callbacks.on_notice or (lambda _: None)
    if settings is None and calibration.camera_settings is not None:
        settings = CameraSettings.check(calibration.camera_settings.model_dump(), "lens.toml: camera_settings")
    settings = settings or CameraSettings()
    if settings.max_lag_s is None:
        settings = settings.model_copy(update={"max_lag_s": MAX_LAG_S})
    parse_address(address)  # what is no address is said before a lens moves
    with ExitStack() as resources:
        run = _Run(calibration, notify)
        driven = None if driver == "external" else run.lens_status
        follower = Follower(calibration, options.first_direction, driven, run.sensor_us)
        estimator = options.make_estimator()
        sinks = open_sinks(resources, publishing, [callbacks.on_frame] if callbacks.on_frame else [], stop, callbacks)
        pipeline = Pipeline(
            calibration,
            follower,
            estimator,
            sinks,
            filling=options.filling,
            suppressing=options.suppressing,
            rate=options.rate,
            repairs=lambda: run.warnings(follower),
            live=True,
            losses=run.losses,
            sensor_us=run.sensor_us,
            stopping=stop,
        )
        # What takes long comes before the camera, whose events do not wait.
        pipeline.warm_up()
        if record is not None:
            size = calibration.camera.width, calibration.camera.height
            run.recorder = LiveRecorder(record, *size, calibration, force=force, on_failure=run.recording_failed)
            resources.callback(_discard_unused, run.recorder)
            resources.enter_context(run.recorder)
        lens = resources.enter_context(make_lens(driver, calibration))
        lens.start()
        if driven is not None:
            resources.enter_context(_LensWatch(lens, run))

        def cross(gap: Gap) -> None:
            follower.cross(gap)
            notify(_gap_sentence(gap))

        def lose(loss: Loss) -> None:
            pipeline.lose(loss.start_us, loss.end_us, loss.n_events)

        try:
            run.camera = resources.enter_context(
                open_camera(address, calibration, settings, on_gap=cross, on_loss=lose, stop=stop)
            )
        except SweepdepthError:
            if not stop.is_set():
                raise
        if callbacks.on_start:
            callbacks.on_start()
        summary = pipeline.run(run.batches())
        return LiveSummary(
            summary,
            run.camera and run.camera.status(),
            driven and run.lens_status(),
            run.recorder and run.recorder.close(),
        )


class _Run:
    """What the parts of one run ask each other: how camera, lens and recording are."""

    def __init__(self, calibration: Calibration, notify: Notice) -> None:
        self.camera: Camera | None = None
        self.recorder: LiveRecorder | None = None
        self.notify = notify
        self._lens = LensStatus(connected=True, moving=False)
        self._was_connected = True
        self._had_no_sweeps = False

    def batches(self) -> Iterator[Batch]:
        """Those of the camera, recorded as they come."""
        if self.camera is None:
            return
        for batch in self.camera:
            if self.recorder is not None:
                self.recorder.write(batch)
            yield batch

    def sensor_us(self, monotonic_ns: int) -> int | None:
        return None if self.camera is None else self.camera.sensor_us(monotonic_ns)

    def lens_status(self) -> LensStatus:
        """As of a moment ago; never waits."""
        return self._lens

    def on_lens_status(self, status: LensStatus) -> None:
        """Record the lens's status; notify when it was lost or found."""
        before, self._lens = self._lens, status
        if before.connected and not status.connected:
            self.notify(f"lens lost ({status.last_error}); trying again")
        elif status.connected and not before.connected:
            self.notify("lens found again")

    def recording_failed(self, why: str) -> None:
        """Tell that the recording ended, and that depth does not."""
        self.notify(f"recording stopped: {why}; depth goes on")

    def losses(self) -> dict[str, int]:
        """What was dropped outside the pipeline."""
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
    """Asks a lens how it is, in a thread of its own: a line that is slow must keep nothing waiting. Leaving brings the
    lens to rest, and notifies when it does not confirm that it rests."""

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
                self._run.notify(f"{problem}; its keeper goes on trying")


def _discard_unused(recorder: LiveRecorder) -> None:
    """Leave no recording behind of a camera that was never there."""
    status = recorder.status()
    if not (status.n_events or status.n_triggers):
        recorder.path.unlink(missing_ok=True)


def _gap_sentence(gap: Gap) -> str:
    clock = "; its clock began anew" if gap.new_clock else ""
    return f"camera found again after {gap.lost_s:.1f} s without events ({gap.reason}){clock}"
