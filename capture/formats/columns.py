"""Assigns the columns of a table to t, x, y and polarity, by their names or else by their values."""

import re
from collections.abc import Sequence

import numpy as np

from ..errors import RecordingError

Places = dict[str, int]
"""Column numbers of t, x, y and p."""

_NAMES = {
    "t": ("t", "ts", "time", "times", "timestamp", "timestamps", "stamp", "stamps"),
    "x": ("x", "xs", "col", "cols", "column", "xaddr"),
    "y": ("y", "ys", "row", "rows", "yaddr"),
    "p": ("p", "ps", "pol", "pols", "polarity", "polarities", "on", "sign"),
}
_UNITS = {
    "s": ("s", "sec", "secs", "second", "seconds"),
    "ms": ("ms", "msec", "millis", "millisecond", "milliseconds"),
    "us": ("us", "usec", "micros", "microsecond", "microseconds"),
    "ns": ("ns", "nsec", "nanos", "nanosecond", "nanoseconds"),
}
_ORDERS = ("txyp", "xytp", "xypt", "tpxy", "ptxy", "pxyt")
"""Column orders in use for tables without names, the most common first. None of them has y before x."""

_LARGEST_PIXEL = 16_384


def words_of(name: str) -> list[str]:
    """Split a column's name into words: `eventTimestamp_us` → event, timestamp, us."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name.replace("µ", "u").replace("μ", "u"))
    return re.findall(r"[a-z]+", apart.lower())


def named_columns(names: Sequence[str]) -> Places | None:
    """The four columns by name; None if one of them has no known name."""
    places: Places = {}
    for key, known in _NAMES.items():
        words = [words_of(name) for name in names]
        whole = [at for at, word in enumerate(words) if "".join(word) in known]
        first = [at for at, word in enumerate(words) if word and word[0] in known]
        some = [at for at, word in enumerate(words) if any(part in known for part in word)]
        found = [at for at in whole or first or some if at not in places.values()]
        if not found:
            return None
        places[key] = found[0]
    return places


def named_unit(name: str) -> str | None:
    """The unit in a time column's name: `timestamp_us`, `time (s)`, `t[ns]`."""
    last = words_of(name)[1:]
    return next((unit for unit, known in _UNITS.items() if last and last[-1] in known), None)


def infer_columns(
    sample: np.ndarray,  # (K, C) float64: consecutive rows of the file
) -> tuple[Places, str]:
    """The four columns by value, and an explanation.

    Times are non-decreasing up to some disorder; polarities have two values; pixels are small integers, x before y.

    Raises:
        RecordingError: no order in use fits, or several do.
    """
    n_columns = sample.shape[1]
    if n_columns < 4:
        raise RecordingError(f"it has {n_columns} columns; events have four: t, x, y and polarity")
    is_p = [_is_polarity(sample[:, k]) for k in range(n_columns)]
    is_pixel = [_is_pixel(sample[:, k]) for k in range(n_columns)]
    rising = [_rising(sample[:, k]) for k in range(n_columns)]
    fitting = []
    for order in _ORDERS:
        places = {name: order.index(name) for name in "txyp"}
        fits = is_p[places["p"]] and is_pixel[places["x"]] and is_pixel[places["y"]] and rising[places["t"]] >= 0.9
        if fits:
            fitting.append(places)
    if n_columns > 4 and len(sample) > 1:  # extra columns may hold anything but a time
        fitting = [
            f for f in fitting if not any(rising[k] >= 0.9 and np.ptp(sample[:, k]) for k in range(4, n_columns))
        ]
    if len({f["t"] for f in fitting}) > 1:  # pixel columns may rise as well, by chance or in few rows
        fitting = [f for f in fitting if rising[f["t"]] == max(rising[g["t"]] for g in fitting)]
    if not fitting:
        raise RecordingError(
            f"which of its {n_columns} columns are t, x, y and polarity is unclear from their values; "
            "say it with --columns, such as --columns t,x,y,p (- for a column that is not needed)"
        )
    places = fitting[0]
    names = sorted(places, key=places.__getitem__)
    return places, f"columns taken as {','.join(names)} by their values"


def _is_polarity(column: np.ndarray) -> bool:
    values = set(np.unique(column).tolist())
    return values <= {0.0, 1.0} or values <= {-1.0, 1.0} or values <= {-1.0, 0.0, 1.0}


def _is_pixel(column: np.ndarray) -> bool:
    # A few outliers are left to the sanitizer.
    sound = (column == np.floor(column)) & (column >= 0) & (column < _LARGEST_PIXEL)
    return bool(np.mean(sound) >= 0.9)


def _rising(column: np.ndarray) -> float:
    """Share of values that are less than 1 % of the range below the running maximum."""
    if len(column) < 2:
        return 1.0
    slack = np.subtract(*np.quantile(column, [0.99, 0.01])) / 100
    return float(np.mean(column[1:] >= np.maximum.accumulate(column)[:-1] - slack))
