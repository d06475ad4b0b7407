"""Event recordings in every format the field uses, read and written as one stream of checked batches."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ..sources.sanitizer import Repairs as Repairs
    from .hints import TableHints as TableHints
    from .recorder import LiveRecorder as LiveRecorder
    from .recorder import RecorderStatus as RecorderStatus
    from .recording import Recording as Recording
    from .recording import open_recording as open_recording
    from .writer import RecordingWriter as RecordingWriter
    from .writer import write_recording as write_recording

_PUBLIC = {
    "LiveRecorder": ".recorder",
    "RecorderStatus": ".recorder",
    "Recording": ".recording",
    "RecordingWriter": ".writer",
    "Repairs": "..sources.sanitizer",
    "TableHints": ".hints",
    "open_recording": ".recording",
    "write_recording": ".writer",
}
__all__ = [*_PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Import public names when they are first asked for: a worker process needs none of them, and starts sooner."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
