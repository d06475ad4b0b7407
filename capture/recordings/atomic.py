"""Files that appear whole or not at all."""

import os
import platform
import re
import time
from itertools import count
from pathlib import Path

from ..errors import RecordingError

_ABANDONED_AFTER_S = 86_400.0
_counter = count()
_open: set[Path] = set()


class PartialFile:
    """A file under a temporary name beside its target, which it replaces on `commit`.

    The name, `.TARGET.HOST-PID-N.partial.SUFFIX`, tells whose it is: what a killed run left behind is removed by the
    next one that writes the same target.

    Raises:
        RecordingError: the target exists and `force` is not given, or its folder cannot be written.
    """

    def __init__(self, target: str | Path, force: bool) -> None:
        self.target = Path(target)
        if self.target.is_dir():
            raise RecordingError(f"{self.target}: is a folder; give the name of a file")
        if not force and self.target.exists():
            raise RecordingError(f"{self.target}: exists; give --force to replace it, or another name")
        self.path = self.target.with_name(
            f".{self.target.name}.{_host()}-{os.getpid()}-{next(_counter)}.partial{self.target.suffix}"
        )
        try:
            _remove_abandoned(self.target)
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as error:
            raise RecordingError(f"{self.target}: cannot be written: {error.strerror or error}") from error
        _open.add(self.path)

    def commit(self) -> None:
        """Put the file, complete and closed, in its target's place.

        Raises:
            RecordingError: the system refuses; the file is gone then, too.
        """
        try:
            for path in (self.path, self.path.parent):
                fd = os.open(path, os.O_RDONLY)
                try:
                    os.fsync(fd)
                finally:
                    os.close(fd)
            os.replace(self.path, self.target)
        except OSError as error:
            raise RecordingError(f"{self.target}: cannot be written: {error.strerror or error}") from error
        finally:
            self.discard()

    def discard(self) -> None:
        """Remove the file, if it is still there."""
        self.path.unlink(missing_ok=True)
        _open.discard(self.path)


def _remove_abandoned(target: Path) -> None:
    name = re.compile(rf"\.{re.escape(target.name)}\.(.*)-(\d+)-\d+\.partial{re.escape(target.suffix)}")
    for path in target.parent.iterdir():
        match = name.fullmatch(path.name)
        if match and path not in _open and _is_abandoned(path, match[1], int(match[2])):
            path.unlink(missing_ok=True)


def _is_abandoned(path: Path, host: str, pid: int) -> bool:
    """Whether nobody can still be writing: its process is gone or, for another machine's, it rested for a day."""
    if host != _host():
        return time.time() - path.stat().st_mtime > _ABANDONED_AFTER_S
    if pid == os.getpid():
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        pass
    return False


def _host() -> str:
    return re.sub(r"[^\w.]", "", platform.node())[:40] or "host"
