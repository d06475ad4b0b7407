"""Memory that a step has freed stays with the process for the next one, which needs the same again."""

import ctypes

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4  # mallopt(3)


def keep_freed_memory() -> None:
    """Ask the C library not to hand large blocks back to the system: to get them anew, page by page, costs a sixth of
    a step of training on processors. Does nothing where the C library is not glibc."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, 2**31 - 1)
        mallopt(_TOP_PAD, 64 << 20)
