"""Lossless compression of the arrays of a message.

Depth in float32 hardly compresses as it is: neighbours are alike, but their bits differ. So the bits are taken as whole
numbers, and the one at row y and column x becomes v(y, x) − v(y, x−1) − v(y−1, x) + v(y−1, x−1) modulo 2³², with 0
beyond the border, which is small where depth continues as a plane. The sign moves to the lowest bit (zigzag, as in
Protocol Buffers). Then follow the lowest bytes of all numbers, their second bytes, and so on (the highest are nearly
constant), compressed by Zstandard (RFC 8878).

Stacks are mostly zeros, which neighbours only disturb: those go to Zstandard as they are.
"""

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import zstandard

Encoding = Literal["none", "zstd"]
ENCODINGS: tuple[Encoding, ...] = get_args(Encoding)

PLAIN, SPARSE, SMOOTH = "<f4", "<f4/zstd", "<f4/diff/zigzag/shuffle/zstd"
"""What the `dtype` of an array may be. Receivers that know only `<f4` refuse the others by their names."""

LEVEL = 1
"""Of Zstandard; higher ones take several times as long for a few per cent."""


def dtype_of(name: str, encoding: Encoding) -> str:
    """The `dtype` that an array is sent with."""
    if encoding == "none":
        return PLAIN
    return SPARSE if name == "stack" else SMOOTH


def compress(array: np.ndarray, dtype: str) -> bytes:
    """Compress one array.

    Args:
        array: float32, of any shape, C-contiguous.
        dtype: `SPARSE` or `SMOOTH`.

    Returns:
        A Zstandard frame.
    """
    if dtype == SMOOTH:
        numbers = array.view("<u4").copy()
        for axis in _axes(array.shape):
            along = np.moveaxis(numbers, axis, 0)
            along[1:] -= along[:-1].copy()
        signed = numbers.view("<i4")
        numbers = (signed << 1) ^ (signed >> 31)
        array = np.ascontiguousarray(numbers.reshape(-1).view(np.uint8).reshape(-1, 4).T)
    return zstandard.ZstdCompressor(level=LEVEL).compress(array.reshape(-1).view(np.uint8).data)


def decompress(buffer: bytes | memoryview, shape: Sequence[int], dtype: str) -> np.ndarray:
    """Decompress the array that `compress` was given.

    Args:
        buffer: from an untrusted peer; takes no more memory than `shape` says.
        shape: of the array.
        dtype: `SPARSE` or `SMOOTH`.

    Returns:
        The array, "<f4".

    Raises:
        ValueError: the buffer is damaged, or its array has another size.
    """
    n_bytes = 4 * math.prod(shape)
    try:
        claimed = zstandard.get_frame_parameters(buffer).content_size
        if claimed != n_bytes:
            raise ValueError(f"holds {claimed} bytes compressed")
        # libzstd refuses a frame whose content is larger than its header claims.
        content = zstandard.ZstdDecompressor().decompress(buffer, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise ValueError(f"is damaged: {error}") from error
    if dtype == SPARSE:
        return np.frombuffer(content, "<f4").reshape(shape)
    numbers = np.frombuffer(content, np.uint8).reshape(4, -1).T.copy().view("<u4").reshape(shape)
    numbers = (numbers >> 1) ^ -(numbers & 1)
    for axis in _axes(shape):
        numbers = np.cumsum(numbers, axis=axis, dtype="<u4")
    return numbers.view("<f4")


def _axes(shape: Sequence[int]) -> range:
    """Columns and rows: the last axes, two of them at most."""
    return range(max(0, len(shape) - 2), len(shape))
