"""The errors a user can meet. Each message is one line that names the thing, the value and the way out."""


class SweepdepthError(Exception):
    """Base of every error that sweepdepth raises on purpose; the command line prints it as one line."""


class RecordingError(SweepdepthError):
    """A recording, dataset or depth file that cannot be opened, read or written."""


class CalibrationError(SweepdepthError):
    """A calibration (`lens.toml`) that is missing, unreadable or physically impossible."""


class SyncError(SweepdepthError):
    """Sweeps cannot be found, or their direction is unknown."""


class WireError(SweepdepthError):
    """A message or address that does not follow the wire format, or keys that do not fit."""
