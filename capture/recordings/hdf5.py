"""What all HDF5 files written here have in common: their compression, and a file that survives a full disk."""

import io
from pathlib import Path
from typing import Any

import hdf5plugin

COMPRESSION: dict[str, Any] = dict(hdf5plugin.Blosc(cname="zstd", clevel=3, shuffle=hdf5plugin.Blosc.BITSHUFFLE))
"""Keyword arguments of `create_dataset` for events: DSEC's filter; shuffled by bits they take less room and time."""

IMAGE_COMPRESSION: dict[str, Any] = dict(hdf5plugin.Blosc(cname="zstd", clevel=1, shuffle=hdf5plugin.Blosc.SHUFFLE))
"""The same for images of floating-point numbers: smaller when shuffled by bytes, and quick enough for live use."""


class Output(io.RawIOBase):
    """A new file for `h5py.File(output, "w")` that never fails under HDF5, which crashes at exit after a failed write.

    The first failure is kept instead, what follows it is thrown away, and `check` raises it: call it after every write
    that matters, and after closing the HDF5 file.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the first `OSError` met, if there was one."""
        if self._error is not None:
            raise self._error

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._file.readinto(buffer) or 0

    def write(self, data: Any) -> int:
        view = memoryview(data)
        rest = view
        while self._error is None and rest:
            try:
                rest = rest[self._file.write(rest) :]
            except OSError as error:
                self._error = error
        return len(view)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def truncate(self, size: int | None = None) -> int:
        try:
            return self._file.truncate(size)
        except OSError as error:
            self._error = self._error or error
            return size or 0

    def close(self) -> None:
        super().close()
        self._file.close()
