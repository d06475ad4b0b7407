"""The errors that users can meet. Each message is one line that names the object, the value and the remedy."""


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


class CameraError(SweepdepthError):
    """A camera, network stream or pipe that cannot be opened, or that sends invalid data."""


class LensError(SweepdepthError):
    """A lens driver that cannot be opened, does not answer, or refuses what it is asked."""


def one_line(value: object) -> str:
    """Turn a library's exception, or a value from a file, into text for an error message.

    Args:
        value: an exception, or any other object.

    Returns:
        The first line of its text, or else the name of its class; at most 200 characters, all printable.
    """
    lines = str(value).strip().splitlines() or [type(value).__name__]
    return "".join(letter if letter.isprintable() else "?" for letter in lines[0][:200])
