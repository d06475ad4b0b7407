"""sweepdepth: dense metric depth from an event camera behind a focus-sweeping lens."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .capture.calibration import Calibration as Calibration
    from .capture.errors import CalibrationError as CalibrationError
    from .capture.errors import RecordingError as RecordingError
    from .capture.errors import SweepdepthError as SweepdepthError
    from .capture.errors import SyncError as SyncError
    from .capture.errors import WireError as WireError
    from .capture.recordings import open_recording as open_recording
    from .capture.stack import EventFocalStack as EventFocalStack
    from .capture.tracking import find_sweeps as find_sweeps
    from .net.polarity import estimate_depth as estimate_depth
    from .stream.subscriber import Subscriber as Subscriber

__version__ = version("sweepdepth")

_PUBLIC = {
    "Calibration": ".capture.calibration",
    "CalibrationError": ".capture.errors",
    "EventFocalStack": ".capture.stack",
    "RecordingError": ".capture.errors",
    "Subscriber": ".stream.subscriber",
    "SweepdepthError": ".capture.errors",
    "SyncError": ".capture.errors",
    "WireError": ".capture.errors",
    "estimate_depth": ".net.polarity",
    "find_sweeps": ".capture.tracking",
    "open_recording": ".capture.recordings",
}
__all__ = ["__version__", *_PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Import public names when they are first asked for, so that `import sweepdepth` costs nothing."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
