"""Event recordings in all common formats, read and written as a stream of checked batches."""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from ..sources.sanitizer import Repairs as Repairs
    from .hints import TableHints as TableHints
    from .recorder import LiveRecorder as LiveRecorder
    from .recorder import RecorderStatus as RecorderStatus
    from .recording import Recording as Recording
    from .recording import open_recording as open_recording
    from .writer import RecordingWriter as RecordingWriter
    from .writer import write_recording as write_recording

__getattr__, __dir__, __all__ = lazily(  # pyright: ignore[reportUnsupportedDunderAll]
    __name__,
    {
        "LiveRecorder": ".recorder",
        "RecorderStatus": ".recorder",
        "Recording": ".recording",
        "RecordingWriter": ".writer",
        "Repairs": "..sources.sanitizer",
        "TableHints": ".hints",
        "open_recording": ".recording",
        "write_recording": ".writer",
    },
)
