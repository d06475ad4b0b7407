"""iniVation cameras on USB, through dv-processing: the DVXplorer family, DAVIS and DVS128."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from ..errors import CameraError
from ..events import TRIGGER_DTYPE, join
from ..recordings.aedat4 import external_edges
from ..sources.chunks import NO_EVENTS, NO_TRIGGERS, Chunk, Header, Source
from .settings import CameraSettings

FLUSH_S = 0.005
_IDLE_S = 0.001
_RETRY_S = 0.3
_FILTER_STEP_US = 250

Order = tuple[str, tuple[Any, ...]]
"""A method of the camera object, and its arguments."""


def decode(serial_number: str | None, patience_s: float, settings: dict) -> Source:
    """Open the camera with a serial number, or the only one, retrying for `patience_s`."""
    import dv_processing as dv

    checked = CameraSettings(**settings)
    serial_number = _find(serial_number, time.monotonic() + patience_s)
    try:
        camera = dv.io.camera.open(serial_number)
    except (RuntimeError, IndexError) as error:
        text = (str(error).splitlines() or [""])[0]
        raise CameraError(f"{serial_number} cannot be opened ({text}); does another program use it?") from error
    sensor = camera.getSensorModel().name if isinstance(camera, dv.io.camera.DAVIS) else ""
    for method, arguments in orders(type(camera), checked, sensor):
        getattr(camera, method)(*arguments)
    resolution = camera.getEventResolution() or (0, 0)
    return Source(Header(camera.getCameraName(), int(resolution[0]), int(resolution[1])), _chunks(camera), FLUSH_S)


def _find(wanted: str | None, deadline: float) -> str:
    """The serial number of the wanted camera, once it is plugged in."""
    import dv_processing as dv

    while True:
        found = dv.io.camera.discover()
        numbers = [camera.serialNumber for camera in found]
        if wanted in numbers:
            return str(wanted)
        if wanted is None and len(numbers) == 1:
            return numbers[0]
        if time.monotonic() + _RETRY_S > deadline:
            break
        time.sleep(_RETRY_S)
    listed = ", ".join(f"{camera.cameraModel.name} {camera.serialNumber}" for camera in found)
    if not found:
        raise CameraError(
            "no camera is plugged in, or none that this user may open (dv-processing's udev rules allow it)"
        )
    if wanted is None:
        raise CameraError(f"several cameras are plugged in: {listed}; say which with dv:SERIAL")
    raise CameraError(f"no camera {wanted} is plugged in; found {listed}")


def _chunks(camera: Any) -> Iterator[Chunk]:
    """Merged chunks: events are held back until the triggers, which the camera delivers separately, were polled
    again."""
    held = NO_EVENTS
    while True:
        running = camera.isRunning()
        store = camera.getNextEventBatch()
        triggers = []
        while (packet := camera.getNextTriggerBatch()) is not None:
            if len(packet):
                triggers.append(external_edges(packet)[1])
        yield Chunk(held, join(triggers, TRIGGER_DTYPE) if triggers else NO_TRIGGERS)
        held = NO_EVENTS if store is None else store.numpy()
        if store is None:
            if not running:
                raise CameraError("it was unplugged, or stopped sending")
            time.sleep(_IDLE_S)


def orders(kind: type, settings: CameraSettings, sensor: str = "") -> list[Order]:
    """The calls on a camera of `dv_processing.io.camera` that apply the settings; `sensor` is a DAVIS's model.

    Raises:
        CameraError: this kind of camera does not have one of the settings.
    """
    s = settings
    found: list[Order] = [("setTimeInterval", (timedelta(microseconds=s.time_interval_us),))]
    if hasattr(kind, "setFramesRunning"):
        found.append(("setFramesRunning", (False,)))
    if s.external_trigger is not False and hasattr(kind, "setDetectorRunning"):
        found += [("setDetectorRisingEdges", (True,)), ("setDetectorFallingEdges", (True,))]
        found.append(("setDetectorRunning", (True,)))
    elif s.external_trigger:
        raise _lacks(kind, "external_trigger")
    simple: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
        ("roi", s.roi, ("setCropAreaEvents", "setCropArea")),
        ("flip_horizontal", s.flip_horizontal, ("setFlipHorizontalEvents", "setFlipHorizontal")),
        ("flip_vertical", s.flip_vertical, ("setFlipVerticalEvents", "setFlipVertical")),
        ("contrast_threshold_on", s.contrast_threshold_on, ("setContrastThresholdOn",)),
        ("contrast_threshold_off", s.contrast_threshold_off, ("setContrastThresholdOff",)),
        ("global_hold", s.global_hold, ("setGlobalHold",)),
        ("background_activity_filter_us", _steps(s.background_activity_filter_us), ("setBackgroundActivityFilter",)),
        ("refractory_period_us", _steps(s.refractory_period_us), ("setRefractoryPeriodFilter",)),
    )
    for key, value, methods in simple:
        if value is not None:
            method = next((method for method in methods if hasattr(kind, method)), None)
            if method is None:
                raise _lacks(kind, key)
            found.append((method, (value,)))
    if s.readout is not None:
        found.append(_readout(kind, s.readout))
    return found + [_bias(kind, name, value, sensor) for name, value in s.biases.items()]


def _readout(kind: type, name: str) -> Order:
    import dv_processing as dv

    if not hasattr(kind, "setReadoutFPS"):
        raise _lacks(kind, "readout")
    members = dv.io.camera.DVXplorer.ReadoutFPS.__members__
    if name not in members:
        raise CameraError(f"camera_settings: readout ({name!r}) must be one of {', '.join(members)}")
    return "setReadoutFPS", (members[name],)


def _bias(kind: type, name: str, value: tuple[int, int] | int, sensor: str) -> Order:
    """The call that sets a bias: names depend on the sensor; values are two numbers on a DAVIS, one on a DVS128."""
    if hasattr(kind, "setBias"):
        names, method, n = kind.Bias, "setBias", 1  # pyright: ignore[reportAttributeAccessIssue]
    elif hasattr(kind, "setDavis346BiasCoarseFine"):
        family = "Davis240" if sensor.startswith("DAVIS240") else "CDavis" if sensor == "CDAVIS" else "Davis346"
        names, method, n = getattr(kind, f"{family}BiasCF"), f"set{family}BiasCoarseFine", 2
    else:
        raise _lacks(kind, "biases")
    if name not in names.__members__:
        raise CameraError(f"camera_settings: biases.{name} is unknown; it has {', '.join(names.__members__)}")
    values = value if isinstance(value, tuple) else (value,)
    if len(values) != n:
        expected = "[coarse, fine]" if n == 2 else "one number"
        raise CameraError(f"camera_settings: biases.{name} ({value}) must be {expected}")
    return method, (names.__members__[name], *values)


def _steps(microseconds: int | None) -> int | None:
    return None if microseconds is None else round(microseconds / _FILTER_STEP_US)


def _lacks(kind: type, key: str) -> CameraError:
    return CameraError(f"camera_settings: a {kind.__name__} has no setting {key}; leave it out")
