"""Events, triggers, and the batches that carry both through the house."""

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
"""One external edge: sensor time in µs, RISING or FALLING, and the camera's trigger input that saw it (0 where a format
has one input only). 16 bytes."""


@dataclass(frozen=True)
class Batch:
    """Events and triggers of one span of sensor time.

    Invariant: both arrays are sorted by timestamp, lie in [end of the batch before, `end_us`), and every event lies
    on the sensor. So whoever holds a batch knows all that happened before `end_us`.
    """

    events: np.ndarray  # (N,) EVENT_DTYPE
    triggers: np.ndarray  # (M,) TRIGGER_DTYPE
    end_us: int


def make_events(
    timestamp: np.ndarray,  # (N,) int64, µs
    x: np.ndarray,  # (N,) int, pixels
    y: np.ndarray,  # (N,) int, pixels
    polarity: np.ndarray,  # (N,) bool or {0, 1}
) -> np.ndarray:
    """Gather separate columns into one (N,) array of `EVENT_DTYPE`.

    Raises:
        ValueError: lengths differ, or timestamps are floating point (float32 cannot hold camera clocks).
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
    """Gather separate columns into one (M,) array of `TRIGGER_DTYPE`."""
    triggers = np.empty(len(timestamp), TRIGGER_DTYPE)
    triggers["timestamp"] = timestamp
    triggers["edge"] = edge
    triggers["channel"] = channel
    return triggers


def join(arrays: Sequence[np.ndarray], dtype: np.dtype = EVENT_DTYPE) -> np.ndarray:
    """Concatenate arrays of one structured dtype, keeping its alignment (`np.concatenate` repacks it)."""
    joined = np.empty(sum(map(len, arrays)), dtype)
    at = 0
    for array in arrays:
        joined[at : at + len(array)] = array
        at += len(array)
    return joined
