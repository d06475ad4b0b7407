"""Shared HDF5 helpers: compression settings, output that survives a full disk, and checks of untrusted files."""

import io
import mmap
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import hdf5plugin
from h5py import h5d, h5l, h5o  # pyright: ignore[reportAttributeAccessIssue] (compiled modules)

from ..errors import RecordingError

COMPRESSION: dict[str, Any] = dict(hdf5plugin.Blosc(cname="zstd", clevel=3, shuffle=hdf5plugin.Blosc.BITSHUFFLE))
"""Keyword arguments of `create_dataset` for events: DSEC's filter with bit shuffling, which is smaller and faster."""

IMAGE_COMPRESSION: dict[str, Any] = {"compression": "gzip", "compression_opts": 1, "shuffle": True}
"""The same for floating-point images, with filters built into every HDF5 library, so that depth files open in MATLAB,
HDFView and plain h5py. docs/formats.md has the cost."""


_MOST_OBJECTS = 10_000
"""Files of sweepdepth and of DSEC have a few dozen objects."""


def refuse_references(file: h5py.File) -> None:
    """Check that a file opened for reading refers to no other files; call this before reading anything.

    HDF5 has links to objects in other files, external datasets and virtual datasets. An untrusted file could thus make
    its reader disclose other files on this machine, or block forever on a pipe.

    Raises:
        RecordingError: it refers to another file, or has too many objects to check.
    """
    names: list[bytes] = []

    def see(name: bytes, link: Any) -> bytes | None:
        names.append(name)
        own = link.type in (h5l.TYPE_HARD, h5l.TYPE_SOFT)
        return None if own and len(names) <= _MOST_OBJECTS else name

    external = file.id.links.visit(see, info=True)
    if external is not None and len(names) > _MOST_OBJECTS:
        raise RecordingError(f"it holds more than {_MOST_OBJECTS:,} objects; it is damaged, or no file of this kind")
    for name in names if external is None else ():
        with suppress(KeyError, OSError, RuntimeError):  # objects that cannot be opened cannot be read either
            found = h5o.open(file.id, name)
            if not isinstance(found, h5d.DatasetID):
                continue
            settings = found.get_create_plist()
            if settings.get_layout() == h5d.VIRTUAL or settings.get_external_count():
                external = name
                break
    if external is not None:
        raise RecordingError(
            f"its {external.decode(errors='backslashreplace')} is in another file, which is not "
            "read; copy all data into one file"
        )


_HEAP, _HEAP_HEADER_BYTES = b"GCOL\1", 16


def refuse_endless_heaps(file: h5py.File) -> None:
    """Check a file for damage that makes HDF5 loop forever; call this before reading attributes in this process.

    HDF5 stores strings in global heaps (HDF5 File Format Specification 3.0, III.E) and walks all objects of a heap to
    read one. An object damaged to have size zero makes that walk endless.

    Raises:
        RecordingError: there is such a heap, or there are too many objects to check.
    """
    _, length_bytes = file.id.get_create_plist().get_sizes()
    seen = 0
    with open(file.filename, "rb") as raw, mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ) as content:

        def length(at: int) -> int:
            return int.from_bytes(content[at : at + length_bytes], "little")

        start = content.find(_HEAP)
        while start >= 0:
            at, end = start + _HEAP_HEADER_BYTES, start + length(start + 8)
            while at + _HEAP_HEADER_BYTES <= end <= len(content):
                room = length(at + 8)
                if content[at : at + 2] != b"\0\0":  # no free space: a header comes before it, padding after
                    room = _HEAP_HEADER_BYTES + -(-room // 8) * 8
                seen += 1
                if not 0 < room <= end - at or seen > _MOST_OBJECTS:
                    raise RecordingError("is damaged: one of its heaps does not end; copy it again")
                at += room
            start = content.find(_HEAP, start + 1)


class Output(io.RawIOBase):
    """A new file for `h5py.File(output, "w")` that reports no write errors to HDF5, which crashes at exit after one.

    The first error is stored, later writes are discarded, and `check` raises the error: call it after every important
        write, and after closing the HDF5 file.
    """

    def __init__(self, path: str | Path) -> None:
        self._file = open(path, "w+b", buffering=0)  # noqa: SIM115
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the first `OSError`, if there was one."""
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
