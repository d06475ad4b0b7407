"""The controls on the page."""

from dataclasses import dataclass

import numpy as np
import viser

from ..wire.messages import DepthFrame, StreamInfo
from .colours import DEPTH_MAPS

_FARTHEST_M = 1000.0


@dataclass(frozen=True)
class Settings:
    """The current settings."""

    paused: bool
    colour_map: str
    range_diopters: tuple[float, float] | None  # far and near end of the colours, 1/m; None: those of the sweep
    max_deviation: float  # as a fraction of the sweep range; 1 hides nothing
    pictures_per_s: float
    receive_stack: bool
    play_bins: bool
    bin: int  # counted from 0

    def diopters(self, info: StreamInfo) -> tuple[float, float]:
        """Far and near end of the colours, 1/m."""
        return self.range_diopters or (info.far_diopters, info.near_diopters)

    def shown(self, frame: DepthFrame) -> np.ndarray:
        """(H, W) metres: the depth of a frame, NaN where unknown or above the largest deviation."""
        if self.max_deviation >= 1:
            return frame.depth
        limit = self.max_deviation * (frame.info.near_diopters - frame.info.far_diopters)
        return np.where(frame.std > limit, np.float32(np.nan), frame.depth)


class Controls:
    """The controls on the page and their values."""

    def __init__(self, gui: viser.GuiApi) -> None:
        self._paused = gui.add_checkbox("Pause", initial_value=False, hint="Freeze the pictures.")
        self._rate = gui.add_slider(
            "Max pictures/s",
            min=1,
            max=30,
            step=1,
            initial_value=10,
            hint="Lower values need less CPU time and bandwidth.",
        )
        self._map = gui.add_dropdown("Colour map", DEPTH_MAPS, initial_value=DEPTH_MAPS[0])
        self._auto = gui.add_checkbox("Sweep range", initial_value=True, hint="Colours span the sweep range.")
        self._near, self._far = (
            gui.add_number(name, initial_value=metres, min=0.01, max=_FARTHEST_M, step=0.01, disabled=True)
            for name, metres in (("Nearest (m)", 0.4), ("Farthest (m)", 2.0))
        )
        self._deviation = gui.add_slider(
            "Deviation ≤ (%)",
            min=1,
            max=100,
            step=1,
            initial_value=100,
            hint="Hide pixels with a larger standard deviation, in % of the sweep range; 100 hides none.",
        )

    def add_stack(self, gui: viser.GuiApi) -> None:
        """Add the controls of the event focal stack, elsewhere on the page."""
        self._receive = gui.add_checkbox(
            "Receive", initial_value=True, hint="The publisher sends stacks only to subscribers."
        )
        self._play = gui.add_checkbox("Play", initial_value=True, hint="Step through the bins.")
        self._bin = gui.add_slider("Bin", min=1, max=10, step=1, initial_value=1)

    def hide_those_of_streams(self, events: bool) -> None:
        """Of a file there is nothing to hold or to receive, and of one without events nothing to step through."""
        for control in (self._paused, self._rate, self._receive, *(() if events else (self._play, self._bin))):
            control.visible = False

    def read(self) -> Settings:
        """The current settings."""
        ends = sorted((1 / self._far.value, 1 / self._near.value))
        own = not self._auto.value
        for end in (self._near, self._far):
            if end.disabled == own:
                end.disabled = not own
        return Settings(
            self._paused.value,
            self._map.value,
            (ends[0], ends[1]) if own and ends[0] < ends[1] else None,
            self._deviation.value / 100,
            self._rate.value,
            self._receive.value,
            self._play.value,
            self._bin.value - 1,
        )

    def fit(self, info: StreamInfo) -> None:
        """Set the limits to a stream's sweep range."""
        if self._auto.value:
            self._near.value = round(1 / info.near_diopters, 3)
            self._far.value = round(min(1 / info.far_diopters, _FARTHEST_M), 3) if info.far_diopters else _FARTHEST_M

    def set_bins(self, bins: int, bin_: int | None) -> None:
        """Set the number of bins and, while playing, the one shown, counted from 0."""
        if self._bin.max != bins:
            self._bin.max = bins
        if bin_ is not None:
            self._bin.value = bin_ + 1
