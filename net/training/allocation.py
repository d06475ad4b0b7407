"""Keeps freed memory in the process for the next training step."""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # mallopt(3)


def keep_freed_memory() -> None:
    """Tell the C library not to return large blocks to the system: allocating them again, page by page, takes a sixth
    of a training step on CPUs. Does nothing unless the C library is glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_TOP_PAD, 64 << 20)
