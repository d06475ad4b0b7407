"""Atomic output files, and checks against overwriting other files."""

import os
import platform
import re
import time
import weakref
from collections.abc import Callable
from itertools import count
from pathlib import Path
from types import TracebackType

from .errors import RecordingError
from .formats.kinds import Kind, kind_of

_ABANDONED_AFTER_S = 86_400.0
_counter = count()
_open: set[Path] = set()


class PartialFile:
    """A file under a temporary name beside its target, which it replaces on `commit`.

    The name, `.TARGET.HOST-PID-N.partial.SUFFIX`, identifies the writing process, so the next run that writes the same
    target can delete what a killed run left behind. Missing parent folders are created. A `with` block gets the
    temporary path; at its end the file is committed, or after an exception discarded. Garbage collection and exit
    discard it, too.

    Args:
        force: replace a file that is there.
        kind: what the file will be; one of another kind is not replaced, `force` or not.

    Raises:
        RecordingError: the target exists and may not be replaced, or its folder cannot be made or written.
    """

    def __init__(self, target: str | Path, force: bool, kind: Kind | None = None) -> None:
        self.target = Path(target)
        refuse_replacing(self.target, force, kind)
        make_folder(self.target.parent)
        self.path = self.target.with_name(
            f".{self.target.name}.{_host()}-{os.getpid()}-{next(_counter)}.partial{self.target.suffix}"
        )
        _open.add(self.path)
        self.discard = weakref.finalize(self, _discard, os.getpid(), self.path)
        """Remove the file, if it is still there."""
        try:
            _remove_abandoned(self.target)
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
        except OSError as error:
            self.discard()
            raise RecordingError(f"{self.target}: cannot be written: {error.strerror or error}") from error

    def commit(self) -> None:
        """Rename the complete, closed file to its target.

        Raises:
            RecordingError: renaming fails; the temporary file is deleted then, too.
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

    def __enter__(self) -> Path:
        return self.path

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


def write_whole(path: Path, fill: Callable[[Path], object], kind: Kind | None = None) -> None:
    """Write a file atomically, replacing one of the same kind: `fill` writes a temporary file, renamed when complete.

    Raises:
        RecordingError: it cannot be written.
    """
    try:
        with PartialFile(path, force=True, kind=kind) as partial:
            fill(partial)
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written: {error.strerror or error}") from error


def make_folder(folder: str | Path) -> Path:
    """Create an output folder and its parents unless they exist.

    Raises:
        RecordingError: it cannot be created, or is not writable.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RecordingError(f"{folder}: the folder cannot be made: {error.strerror or error}") from error
    if not os.access(folder, os.W_OK | os.X_OK):
        raise RecordingError(f"{folder}: nothing can be written in this folder; choose another, or change its rights")
    return folder


def refuse_replacing(target: str | Path, force: bool, kind: Kind | None = None) -> None:
    """Check that a target may be written: it does not exist or, with `force`, is a file of the same or of an unknown
    kind.

    Raises:
        RecordingError: it may not.
    """
    target = Path(target)
    if target.is_dir():
        raise RecordingError(f"{target}: is a folder; give the name of a file")
    if not target.exists():
        return
    found = None if kind is None else kind_of(target)
    if found not in (None, kind):
        raise RecordingError(
            f"{target}: holds a {found}, and would be replaced by a {kind}; choose another name, or delete it yourself"
        )
    if not force:
        raise RecordingError(f"{target}: exists; give --force to replace it, or another name")


def refuse_inputs(target: str | Path, *inputs: str | Path | None) -> None:
    """Check that a target is not one of the input files, also through links or another spelling of the path.

    Raises:
        RecordingError: it is one of them.
    """
    for path in inputs:
        if path is not None and _is_same(Path(target), Path(path)):
            also = "" if str(target) == str(path) else f" (it is the same file as {path})"
            raise RecordingError(f"{target}: is read by this command{also}; choose another name to write to")


def check_target(target: str | Path, kind: Kind, *inputs: str | Path | None, force: bool) -> None:
    """Check that a file can be written before doing the work that fills it; see `PartialFile` and `refuse_inputs`.

    Raises:
        RecordingError: it cannot.
    """
    refuse_inputs(target, *inputs)
    PartialFile(target, force, kind).discard()


def _is_same(a: Path, b: Path) -> bool:
    try:
        return a.samefile(b)
    except OSError:  # one of them is not there
        return False


def _discard(owner: int, path: Path) -> None:
    if os.getpid() == owner:  # a fork inherits the object, not the file
        path.unlink(missing_ok=True)
        _open.discard(path)


def _remove_abandoned(target: Path) -> None:
    name = re.compile(rf"\.{re.escape(target.name)}\.(.*)-(\d+)-\d+\.partial{re.escape(target.suffix)}")
    for path in target.parent.iterdir():
        match = name.fullmatch(path.name)
        if match and path not in _open and _is_abandoned(path, match[1], int(match[2])):
            path.unlink(missing_ok=True)


def _is_abandoned(path: Path, host: str, pid: int) -> bool:
    """Whether the writer has ended; on another machine, whether the file has not been written to for a day."""
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
