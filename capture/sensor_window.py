"""The part of a sensor that depth is made of, and how many of its pixels, to a side, make one of depth's."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import numpy as np
from numba import njit
from pydantic import ValidationError

from .calibration import Calibration
from .errors import CalibrationError
from .events import EVENT_DTYPE, Batch
from .validation import explain_invalid

DOWNSAMPLE_MOST = 16


class SensorWindow:
    """Turns a sensor's events into those of the window: `[camera] roi` of the calibration, its pixels taken together.

    Pixel (x, y) of the sensor becomes ((x − x₀) // n, (y − y₀) // n), and everything behind the window speaks of a
    camera that has no others: `calibration` is the one of that camera. A point at (u, v) on the sensor, in pixels, is
    at ((u − x₀)/n, (v − y₀)/n) in the window, so the focal lengths in pixels are divided by n, the pitch of the pixels
    multiplied. Events of known hot pixels are left out here, while they are still apart from their neighbours.

    Args:
        calibration: of the whole sensor.
        downsample: n, pixels to a side of those that are taken together; 1 leaves them as they are.

    Attributes:
        calibration: of what comes out, without `roi`; the one given where the window is the whole sensor.
        n_left_out: events so far that lay outside the window.

    Raises:
        CalibrationError: no pixel would be left, or too little blur to see the focus by.
    """

    def __init__(self, calibration: Calibration, downsample: int = 1) -> None:
        if not 1 <= downsample <= DOWNSAMPLE_MOST:
            raise CalibrationError(f"--downsample {downsample}: expected a whole number from 1 to {DOWNSAMPLE_MOST}")
        camera = calibration.camera
        self.calibration = calibration
        self.n_left_out = 0
        self._is_whole = camera.roi is None and downsample == 1
        if self._is_whole:
            return
        x, y, width, height = camera.roi or (0, 0, camera.width, camera.height)
        self.calibration = _calibration_of(calibration, (x, y, width, height), downsample)
        self._columns = _places(camera.width, x, width, downsample)
        self._rows = _places(camera.height, y, height, downsample)
        self._hot = np.zeros((camera.height, camera.width) if camera.hot_pixels else (0, 0), bool)
        for column, row in camera.hot_pixels:
            self._hot[row, column] = True
        keep_window(np.empty(0, EVENT_DTYPE), self._columns, self._rows, self._hot)  # compiled before events wait

    def apply(self, batch: Batch) -> Batch:
        """The events of a batch that lie in the window, with their places there.

        Args:
            batch: of the whole sensor; its events' memory is written to.

        Returns:
            A batch in the same memory; the one given where the window is the whole sensor.
        """
        if self._is_whole:
            return batch
        n, outside = keep_window(batch.events, self._columns, self._rows, self._hot)
        self.n_left_out += outside
        return replace(batch, events=batch.events[:n])

    def through(self, batches: Iterable[Batch]) -> Iterator[Batch]:
        """All of some batches, as `apply` leaves each."""
        return map(self.apply, batches)


@njit(nogil=True, cache=True)
def keep_window(
    events: np.ndarray,  # (N,) EVENT_DTYPE, on the sensor; written to
    columns: np.ndarray,  # (W,) int16: column in the window of each of the sensor, −1 outside
    rows: np.ndarray,  # (H,) int16
    hot: np.ndarray,  # (H, W) bool: pixels left out; (0, 0) for none
) -> tuple[int, int]:
    """Move the events of the window to the front, with their places in it.

    Returns:
        How many these are, and how many lay outside.
    """
    n = outside = 0
    any_hot = hot.size > 0
    for i in range(len(events)):
        t, x, y, polarity = events[i].timestamp, events[i].x, events[i].y, events[i].polarity
        column, row = columns[x], rows[y]
        # Written in any case and counted where it stays: which do is a matter of chance, and a branch would cost more.
        events[n].timestamp = t
        events[n].x = column
        events[n].y = row
        events[n].polarity = polarity
        inside = (column | row) >= 0  # a negative one leaves the sign bit
        outside += not inside
        n += inside and not (any_hot and hot[y, x])
    return n, outside


def keep_window_plainly(
    events: np.ndarray, columns: np.ndarray, rows: np.ndarray, hot: np.ndarray
) -> tuple[np.ndarray, int]:
    """The readable reference of `keep_window`; returns the events of the window, and how many lay outside."""
    inside = (columns[events["x"]] >= 0) & (rows[events["y"]] >= 0)
    kept = events[inside & ~hot[events["y"], events["x"]]] if hot.size else events[inside]
    kept["x"], kept["y"] = columns[kept["x"]], rows[kept["y"]]
    return kept, int(np.count_nonzero(~inside))


def _places(length: int, start: int, count: int, downsample: int) -> np.ndarray:
    """(length,) int16: where each column (or row) of the sensor is in the window, −1 outside. Of the last ones, what
    makes no whole pixel is outside."""
    places = np.full(length, -1, np.int16)
    whole = count // downsample
    places[start : start + whole * downsample] = np.repeat(np.arange(whole, dtype=np.int16), downsample)
    return places


def _calibration_of(calibration: Calibration, roi: tuple[int, int, int, int], downsample: int) -> Calibration:
    """That of a camera whose sensor is the window."""
    x, y, width, height = roi
    n, camera, breathing = downsample, calibration.camera, calibration.breathing
    if width < n or height < n:
        raise CalibrationError(f"--downsample {n}: leaves no pixel of {width}×{height}; give a smaller number")
    camera = camera.model_copy(
        update={
            "width": width // n,
            "height": height // n,
            "pixel_pitch_um": n * camera.pixel_pitch_um,
            "fx": camera.fx / n,
            "fy": camera.fy / n,
            "cx": (camera.cx - x) / n,
            "cy": (camera.cy - y) / n,
            "hot_pixels": (),
            "roi": None,
        }
    )
    if breathing is not None:
        u, v = breathing.center
        breathing = breathing.model_copy(update={"center": ((u - x) / n, (v - y) / n)})
    parts = {name: getattr(calibration, name) for name in Calibration.model_fields}
    try:
        return Calibration(**(parts | {"camera": camera, "breathing": breathing}))
    except ValidationError as error:
        raise CalibrationError(f"--downsample {n}: {explain_invalid(error)}") from error
