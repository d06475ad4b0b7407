"""Options of a run, the same for a recording and a camera."""

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
    """How events become depth.

    Args:
        estimator: "net" or "polarity"; None: the network where it can be run.
        weights: for the network, in place of those that come with the package.
        fuse: so many sweeps are answered together, or "auto": as many as motion allows.
        rate: a depth each "sweep", or each time the lens has passed a "bin".
        filling: fill pixels without evidence.
        suppressing: average flickering light away, where the events show much of it.
        first_direction: of the first whole sweep, where nothing else determines it (`sync = "events"`).
        trigger_channel: camera input that the lens's trigger is on; None: as the calibration says, or the one that
            keeps the lens's rhythm.
    """

    estimator: str | None = None
    weights: str | Path | None = None
    fuse: Fuse | None = None
    rate: Rate = "sweep"
    filling: bool = False
    suppressing: bool = True
    first_direction: Direction | None = None
    trigger_channel: int | None = None

    def make_estimator(self) -> Estimator:
        """The estimator that these options name.

        Returns:
            Something to be called with the `EventFocalStack` of a sweep.

        Raises:
            WeightsError: `weights` cannot be used.
        """
        return make_estimator(self.estimator, weights=self.weights, fuse=self.fuse)


@dataclass(frozen=True)
class Callbacks:
    """Callbacks of a run. Each is called from one of its threads, and must not block for long.

    Args:
        on_frame: every depth frame.
        on_status: a status a second.
        on_address: where depth is published, as soon as that is known.
        on_progress: sensor time done, in seconds; of a recording.
        on_notice: sentences when camera or lens go or come back; of a live run.
        on_start: the camera is there; of a live run.
    """

    on_frame: Callable[[DepthFrame], None] | None = None
    on_status: Callable[[StatusFrame], None] | None = None
    on_address: Callable[[str], None] | None = None
    on_progress: Callable[[float], None] | None = None
    on_notice: Callable[[str], None] | None = None
    on_start: Callable[[], None] | None = None


DEFAULT_OPTIONS = RunOptions()
NO_CALLBACKS = Callbacks()
