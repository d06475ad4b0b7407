"""Event and trigger dtypes, and the batches that carry both between modules."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

EVENT_DTYPE = np.dtype(
    [("timestamp", "<i8"), ("x", "<i2"), ("y", "<i2"), ("polarity", "i1")],
    align=True,
)
"""One event: sensor time in µs, pixel, polarity (1 ON, 0 OFF). 16 bytes, as dv-processing lays it out."""

RISING, FALLING = 1, 2
TRIGGER_DTYPE = np.dtype([("timestamp", "<i8"), ("edge", "u1"), ("channel", "u1")], align=True)
"""One external edge: sensor time in µs, RISING or FALLING, and the number of the camera's trigger input (0 in formats
with only one input). 16 bytes."""


@dataclass(frozen=True)
class Batch:
    """Events and triggers of one interval of sensor time.

    Invariant: both arrays are sorted by timestamp and lie in [end of the previous batch, `end_us`), and every event
        lies on the sensor. So after a batch, everything before `end_us` is known.

    Attributes:
        events: (N,) `EVENT_DTYPE`.
        triggers: (M,) `TRIGGER_DTYPE`.
        end_us: end of the interval, sensor time in µs; later batches have nothing before it.
    """

    events: np.ndarray  # (N,) EVENT_DTYPE
    triggers: np.ndarray  # (M,) TRIGGER_DTYPE
    end_us: int

    def __repr__(self) -> str:
        return f"Batch({len(self.events):,} events, {len(self.triggers)} triggers, up to {self.end_us} µs)"


def make_events(
    timestamp: np.ndarray,  # (N,) int64, µs
    x: np.ndarray,  # (N,) int, pixels
    y: np.ndarray,  # (N,) int, pixels
    polarity: np.ndarray,  # (N,) bool or {0, 1}
) -> np.ndarray:
    """Gather separate columns into one array of `EVENT_DTYPE`.

    Args:
        timestamp: (N,) integers, sensor time in µs.
        x: (N,) integers, column in pixels, 0 at the left.
        y: (N,) integers, row in pixels, 0 at the top.
        polarity: (N,) bool or {0, 1}; 1 is ON, brighter.

    Returns:
        (N,) `EVENT_DTYPE`, in the order given.

    Raises:
        ValueError: lengths differ, or timestamps are floating point (float32 cannot hold camera clocks).

    Examples:
        >>> make_events(np.array([10, 25]), np.array([3, 4]), np.array([0, 0]), np.array([1, 0]))["timestamp"]
        array([10, 25])
    """
    if np.asarray(timestamp).dtype.kind == "f":
        raise ValueError("event timestamps must be integers in µs, not floating point")
    if not len(timestamp) == len(x) == len(y) == len(polarity):
        raise ValueError(f"event columns differ in length: {len(timestamp)}, {len(x)}, {len(y)}, {len(polarity)}")
    events = np.empty(len(timestamp), EVENT_DTYPE)
    events["timestamp"] = timestamp
    events["x"] = x
    events["y"] = y
    events["polarity"] = polarity
    return events


def make_triggers(
    timestamp: np.ndarray,  # (M,) int64, µs
    edge: np.ndarray,  # (M,) RISING or FALLING
    channel: np.ndarray | int = 0,  # (M,) trigger input, or one for all
) -> np.ndarray:
    """Gather separate columns into one array of `TRIGGER_DTYPE`.

    Args:
        timestamp: (M,) integers, sensor time in µs.
        edge: (M,) `RISING` or `FALLING`.
        channel: (M,) number of the camera's trigger input, or one for all.

    Returns:
        (M,) `TRIGGER_DTYPE`, in the order given.

    Raises:
        ValueError: lengths differ.
    """
    triggers = np.empty(len(timestamp), TRIGGER_DTYPE)
    triggers["timestamp"] = timestamp
    triggers["edge"] = edge
    triggers["channel"] = channel
    return triggers


def join(arrays: Sequence[np.ndarray], dtype: np.dtype = EVENT_DTYPE) -> np.ndarray:
    """Concatenate arrays of one structured dtype, keeping its alignment (`np.concatenate` repacks it).

    Args:
        arrays: (N₁,), (N₂,), … of `dtype`.
        dtype: of the arrays, and of the result where there are none.

    Returns:
        (N₁ + N₂ + …,) of `dtype`, a copy.
    """
    joined = np.empty(sum(map(len, arrays)), dtype)
    at = 0
    for array in arrays:
        joined[at : at + len(array)] = array
        at += len(array)
    return joined
