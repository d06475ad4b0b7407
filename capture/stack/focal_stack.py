"""The event focal stack: the events of one sweep, binned by where the focus was."""

from bisect import bisect_left
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import TypeAdapter

from ..calibration import Calibration
from ..errors import RecordingError, SweepdepthError, one_line
from ..sweeps import Direction, Sweep
from . import kernel
from .interpolated import Interpolation

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Polarity = Literal["signed", "split", "interpolated"]

TABLE_CELLS = 1024
"""Resolution of the time → bin table; a sine's error from linear interpolation is below 1e-6 of the range."""

LATE_SHARE = 0.02
"""Events in this first share of a sweep are left out of an interpolated stack. Pixels respond late, so right after the
focus turned they still report the sweep before, and a wrong first event spoils the interpolation up to the second."""


class EventFocalStack:
    """Events of one sweep in bins uniform in diopters, in canonical far→near order.

    Bin b is centred at φ_b = far + b·Δ/(B−1), and an event at focus φ adds to its two neighbouring bins with weight
    max(0, 1 − |b − b*|), b* = (B−1)(φ − far)/Δ; for a linear lens that is the voxel grid of "Dense Depth from Event
    Focal Stack" (WACV 2025), §3. A near→far sweep is time-reversed: its bins are filled from the near end and its
    polarities swapped. Lens breathing is undone, nearest pixel: event by event, in an "interpolated" stack bin by bin.

    Attributes:
        sweep: when the focus was where.
        polarity: what `data` holds.
        data: float32. "signed" (B, H, W): ON adds 1 and OFF −1. "split" (2, B, H, W): ON counts and OFF counts.
            "interpolated" (B, H, W): signed, each event spread over the time since the same pixel's event before it, so
            that brightness is interpolated between threshold crossings (`interpolated`); there events must come in
            time order, those of the first `LATE_SHARE` of the sweep are left out, and `data` is written when it is
            first asked for after an `add`.
        n_events: events added so far.
        n_off_sensor: events among them that undoing the breathing moved off the sensor.

    Examples:
        >>> from sweepdepth import find_sweeps, open_recording
        >>> with open_recording("sweep.aedat4") as recording:
        ...     events, _ = recording.read()
        ...     sweep = find_sweeps(recording, recording.calibration)[0]
        >>> inside = events[(events["timestamp"] >= sweep.start_us) & (events["timestamp"] < sweep.end_us)]
        >>> stack = EventFocalStack.build(inside, sweep, bins=10)
        >>> stack.data.shape, stack.diopters.shape
        ((10, 180, 240), (10,))
    """

    def __init__(
        self,
        sweep: Sweep,
        polarity: Polarity,
        data: np.ndarray,
        n_events: int = 0,
        n_off_sensor: int = 0,
    ) -> None:
        self.sweep = sweep
        self.polarity: Polarity = polarity
        self.n_events = n_events
        self.n_off_sensor = n_off_sensor
        self._data = data
        self._growing: Interpolation | None = None  # of an "interpolated" stack, once it was added to
        self._is_written = True  # whether `_data` is up to date with it
        start_us, end_us = self.sweep.start_us, self.sweep.end_us
        self._from_us = start_us + round(LATE_SHARE * (end_us - start_us))  # earlier events are left out of one
        settings = self.sweep.calibration.sweep
        times = np.linspace(self.sweep.start_us, self.sweep.end_us, TABLE_CELLS + 1)
        focus = self.sweep.diopters_at(times)
        scaled = (self.bins - 1) * (focus - settings.far_diopters) / settings.range_diopters
        # Strictly below the last bin, so that the kernel always has a bin above to share with.
        self._table = np.clip(scaled, 0.0, (self.bins - 1) * (1 - 1e-9))

    @classmethod
    def empty(cls, sweep: Sweep, bins: int = 10, polarity: Polarity = "signed") -> Self:
        """A stack without events, to be filled by `add`.

        Args:
            sweep: when the focus was where.
            bins: B, at least 2.
            polarity: what `data` holds; see the class.

        Returns:
            The stack.

        Raises:
            ValueError: fewer than 2 bins.
        """
        if bins < 2:
            raise ValueError(f"an event focal stack needs at least 2 bins, not {bins}")
        camera = sweep.calibration.camera
        shape = (bins, camera.height, camera.width)
        return cls(sweep, polarity, np.zeros((2, *shape) if polarity == "split" else shape, np.float32))

    @classmethod
    def build(
        cls,
        events: np.ndarray,  # (N,) EVENT_DTYPE, any time order; the caller chooses those of the sweep
        sweep: Sweep,
        bins: int = 10,
        polarity: Polarity = "signed",
    ) -> Self:
        """The stack of all given events at once.

        Args:
            events: (N,) `EVENT_DTYPE`, those of the sweep, in any order (in time order for "interpolated").
            sweep: when the focus was where.
            bins: B, at least 2.
            polarity: what `data` holds; see the class.

        Returns:
            The stack.

        Raises:
            ValueError: fewer than 2 bins.
        """
        stack = cls.empty(sweep, bins, polarity)
        stack.add(events)
        return stack

    @property
    def data(self) -> np.ndarray:
        """What is in the bins; see the class."""
        if self._growing is not None and not self._is_written:
            per_bin, *center = self._breathing()
            self._growing.write(self._data, self._backward, per_bin, *center)
            self._is_written = True
        return self._data

    @property
    def bins(self) -> int:
        """B, the number of bins."""
        return self._data.shape[-3]

    @property
    def diopters(self) -> np.ndarray:
        """Focus at the bin centres, (B,) 1/m, from far to near."""
        settings = self.sweep.calibration.sweep
        return np.linspace(settings.far_diopters, settings.near_diopters, self.bins)

    def bin_at(self, timestamp_us: np.ndarray) -> np.ndarray:
        """Position among the bins at sensor times.

        Args:
            timestamp_us: sensor times in µs, any shape.

        Returns:
            b* = (B−1)(φ − far)/Δ, same shape, in [0, B−1).
        """
        cell = (timestamp_us - self.sweep.start_us) * (TABLE_CELLS / (self.sweep.end_us - self.sweep.start_us))
        return np.interp(cell, np.arange(TABLE_CELLS + 1), self._table)

    def time_at(self, position: np.ndarray) -> np.ndarray:
        """When the lens passes positions among the bins: the inverse of `bin_at`.

        Args:
            position: b* in [0, B−1], any shape.

        Returns:
            Sensor time in µs, float64, same shape.
        """
        times = np.linspace(self.sweep.start_us, self.sweep.end_us, TABLE_CELLS + 1)
        order = slice(None, None, int(self.sweep.direction))
        return np.interp(position, self._table[order], times[order])

    def add(self, events: np.ndarray) -> None:  # (N,) EVENT_DTYPE
        """Bin more events of the sweep; batch after batch gives the same stack, to the bit, as all at once.

        Args:
            events: (N,) `EVENT_DTYPE`.
        """
        if self.polarity == "interpolated":
            self._add_interpolated(events)
        else:
            self._add(events, kernel.accumulate)
        self.n_events += len(events)

    def carry_on(self, before: Self) -> None:
        """Continue an "interpolated" stack of the sweep just before, where it left each pixel, the lens having turned.

        A pixel's brightness retraces its path when the focus turns, so the event before the turn stands at the same
        focus with the opposite sign; without it nothing is known before a pixel's first event of the sweep. Only true
        of a scene that stands still. Call it before the first `add`.

        Args:
            before: the stack of the sweep that ended where this one begins.
        """
        if before._growing is not None:
            self._growing = Interpolation(*self._data.shape)
            self._growing.carry_on(before._growing)
            self._from_us = self.sweep.start_us

    def _add(self, events: np.ndarray, kernel: Callable[..., int]) -> None:
        if self.polarity == "signed":
            channel = np.zeros(2, np.int64)
            weight = np.array([1, -1] if self._backward else [-1, 1], np.float32)
        else:
            channel = np.array([0, 1] if self._backward else [1, 0])
            weight = np.ones(2, np.float32)
        self.n_off_sensor += kernel(
            events["timestamp"],
            events["x"],
            events["y"],
            events["polarity"],
            *self._time_cells(),
            self._table,
            channel,
            weight,
            *self._breathing(),
            self._data if self.polarity == "split" else self._data[None],
        )

    def _add_interpolated(self, events: np.ndarray) -> None:
        events = events[bisect_left(events["timestamp"], self._from_us) :]  # np.searchsorted would copy all times
        if self._growing is None:
            self._growing = Interpolation(*self._data.shape)
        per_bin, *center = self._breathing()
        last = self.bins - 1
        if self._backward:
            places, rise, magnification = last - self._table, -1, (1 + last * per_bin, -per_bin)
        else:
            places, rise, magnification = self._table, 1, (1.0, per_bin)
        self.n_off_sensor += self._growing.add(events, *self._time_cells(), places, rise, magnification, *center)
        self._is_written = False

    @property
    def _backward(self) -> bool:
        return self.sweep.direction == Direction.NEAR_TO_FAR

    def _time_cells(self) -> tuple[int, float]:
        """Start of the sweep in µs, and cells of the table per µs."""
        return self.sweep.start_us, TABLE_CELLS / (self.sweep.end_us - self.sweep.start_us)

    def _breathing(self) -> tuple[float, float, float]:
        """Magnification per bin and centre, as the kernels take them."""
        calibration = self.sweep.calibration
        if calibration.breathing is None:
            return 0.0, 0.0, 0.0
        per_bin = calibration.breathing.scale_per_diopter * calibration.sweep.range_diopters / (self.bins - 1)
        return per_bin, *calibration.breathing.center

    def signed(self) -> np.ndarray:
        """ON minus OFF.

        Returns:
            (B, H, W) float32, events.
        """
        return self.data[0] - self.data[1] if self.polarity == "split" else self.data

    def picture(self, path: str | Path) -> None:
        """Save a picture of all bins.

        Args:
            path: .png, .pdf, .svg or .jpg.

        Raises:
            RecordingError: the suffix is another, or the file cannot be written.
        """
        from ..reporting.figures import save_figure

        save_figure(self._figure(), path)

    def __repr__(self) -> str:
        direction = self.sweep.direction.name.lower().replace("_to_", "→")
        shape = "×".join(map(str, self.data.shape))
        return f"EventFocalStack({shape}, {self.polarity}, {self.n_events:,} events, {direction})"

    def _repr_png_(self) -> bytes:
        """What notebooks show."""
        from ..reporting.figures import figure_png

        return figure_png(self._figure())

    def _figure(self) -> "Figure":
        from ..reporting.figures import stack_figure

        direction = self.sweep.direction.name.lower().replace("_", " ")
        title = f"Event focal stack: {self.n_events:,} events, {direction}"
        return stack_figure(self.signed(), self.diopters, title)

    def save(self, path: str | Path) -> None:
        """Write the stack, its sweep and its calibration to a compressed NumPy file.

        Args:
            path: ends in .npz.

        Raises:
            OSError: it cannot be written.
        """
        np.savez_compressed(
            path,
            data=self.data,
            sweep=np.array([self.sweep.start_us, self.sweep.end_us, self.sweep.direction]),
            counts=np.array([self.n_events, self.n_off_sensor]),
            polarity=np.array(self.polarity),
            calibration=np.array(self.sweep.calibration.to_toml()),
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Args:
            path: of the .npz file.

        Returns:
            The stack.

        Raises:
            RecordingError: the file is not a saved stack.
        """
        try:
            with np.load(path, allow_pickle=False) as file:
                data, counts = file["data"], file["counts"]
                start_us, end_us, direction = map(int, file["sweep"])
                polarity = TypeAdapter(Polarity).validate_python(str(file["polarity"]))
                calibration = Calibration.parse(str(file["calibration"]), name=str(path))
            sweep = Sweep(start_us, end_us, Direction(direction), calibration)
            bins, size = data.shape[-3], (calibration.camera.height, calibration.camera.width)
            shape = (2, bins, *size) if polarity == "split" else (bins, *size)
            if data.shape != shape or data.dtype != np.float32 or bins < 2 or end_us <= start_us:
                raise ValueError(f"{data.dtype} {data.shape} from {start_us} to {end_us} µs")
            return cls(sweep, polarity, data, int(counts[0]), int(counts[1]))
        except SweepdepthError:
            raise
        except Exception as error:  # NumPy and zipfile answer damage with nearly every class there is
            raise RecordingError(f"{path}: is not a saved event focal stack ({one_line(error)})") from error
