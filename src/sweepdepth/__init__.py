"""sweepdepth: dense metric depth from an event camera behind a focus-sweeping lens."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .capture.calibration import Calibration as Calibration
    from .capture.files.dataset import open_dataset as open_dataset
    from .capture.files.dataset import read_scene as read_scene
    from .capture.files.depth_file import DepthFile as DepthFile
    from .capture.files.depth_file import open_depth_file as open_depth_file
    from .capture.files.depth_file import read_depth_file as read_depth_file
    from .capture.errors import CalibrationError as CalibrationError
    from .capture.errors import RecordingError as RecordingError
    from .capture.errors import SweepdepthError as SweepdepthError
    from .capture.errors import SyncError as SyncError
    from .capture.errors import WireError as WireError
    from .capture.recordings import open_recording as open_recording
    from .capture.recordings import write_recording as write_recording
    from .capture.stack import EventFocalStack as EventFocalStack
    from .capture.sweeps import Direction as Direction
    from .capture.sweeps import Sweep as Sweep
    from .capture.tracking import find_sweeps as find_sweeps
    from .net.estimators import make_estimator as make_estimator
    from .net.fill import fill as fill
    from .net.polarity import estimate_depth as estimate_depth
    from .stream.frames import replay as replay
    from .stream.wire.publisher import Publisher as Publisher
    from .stream.wire.subscriber import Subscriber as Subscriber

    __version__: str

_PUBLIC = {
    "Calibration": ".capture.calibration",
    "CalibrationError": ".capture.errors",
    "DepthFile": ".capture.files.depth_file",
    "Direction": ".capture.sweeps",
    "EventFocalStack": ".capture.stack",
    "Publisher": ".stream.wire.publisher",
    "RecordingError": ".capture.errors",
    "Subscriber": ".stream.wire.subscriber",
    "Sweep": ".capture.sweeps",
    "SweepdepthError": ".capture.errors",
    "SyncError": ".capture.errors",
    "WireError": ".capture.errors",
    "estimate_depth": ".net.polarity",
    "fill": ".net.fill",
    "find_sweeps": ".capture.tracking",
    "make_estimator": ".net.estimators",
    "open_dataset": ".capture.files.dataset",
    "open_depth_file": ".capture.files.depth_file",
    "open_recording": ".capture.recordings",
    "read_depth_file": ".capture.files.depth_file",
    "read_scene": ".capture.files.dataset",
    "replay": ".stream.frames",
    "write_recording": ".capture.recordings",
}
__all__ = ["__version__", *_PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Import public names when they are first asked for, so that `import sweepdepth` costs nothing."""
    if name == "__version__":
        return import_module("importlib.metadata").version("sweepdepth")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
