"""Options of a run, shared by replay and live."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..capture.sweeps import Direction
from ..net.estimate import Estimator
from ..net.estimators import Fuse, make_estimator
from .pipeline import Rate
from .wire.messages import DepthFrame, StatusFrame


@dataclass(frozen=True)
class RunOptions:
    """Options for computing depth from events.

    Args:
        estimator: "net" or "polarity"; None: the network if installed.
        weights: for the network; None: the shipped ones.
        fuse: number of sweeps to fuse, or "auto": as many as motion allows.
        rate: one depth frame per "sweep", or per "bin" that the lens passes.
        filling: fill pixels without evidence.
        suppressing: remove strong flicker by averaging.
        first_direction: of the first complete sweep, if nothing else determines it (`sync = "events"`).
        trigger_channel: camera input of the lens's trigger; None: from the calibration, or the one with the lens's
            rhythm.
        downsample: n, to bin n×n pixels (`capture.sensor_window`).
    """

    estimator: str | None = None
    weights: str | Path | None = None
    fuse: Fuse | None = None
    rate: Rate = "sweep"
    filling: bool = False
    suppressing: bool = True
    first_direction: Direction | None = None
    trigger_channel: int | None = None
    downsample: int = 1

    def make_estimator(self) -> Estimator:
        """Make the estimator that these options select.

        Returns:
            An estimator, called with the `EventFocalStack` of a sweep.

        Raises:
            WeightsError: `weights` are invalid.
        """
        return make_estimator(self.estimator, weights=self.weights, fuse=self.fuse)


@dataclass(frozen=True)
class Callbacks:
    """Callbacks of a run. Each is called from one of its threads and must not block for long.

    Args:
        on_frame: every depth frame.
        on_status: every status, once a second.
        on_address: the address where depth is published, once known.
        on_progress: sensor time processed, in seconds; for recordings.
        on_notice: sentences when camera or lens disconnect or reconnect; for live runs.
        on_start: the camera is open; for live runs.
    """

    on_frame: Callable[[DepthFrame], None] | None = None
    on_status: Callable[[StatusFrame], None] | None = None
    on_address: Callable[[str], None] | None = None
    on_progress: Callable[[float], None] | None = None
    on_notice: Callable[[str], None] | None = None
    on_start: Callable[[], None] | None = None


DEFAULT_OPTIONS = RunOptions()
NO_CALLBACKS = Callbacks()
