"""Plots of rates, latencies and drops over the last minutes."""

import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import viser
from viser import uplot

from .feed import StreamState

SPAN_S = 120
"""Time span of the plots in seconds, with one point per second."""

_RATE_OVER_S = 3
"""Window for rates, since a single second has too few frames."""

_BLUE, _ORANGE, _GREEN, _PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"  # Okabe and Ito's palette
_PLOTS = (
    ("Rates", (("frames/s", "frames/s", _BLUE), ("M events/s", "M events/s", _ORANGE))),
    (
        "Latency, median",
        (("bin", "ms", _BLUE), ("queue", "ms", _ORANGE), ("estimate", "ms", _GREEN), ("wire", "ms", _PURPLE)),
    ),
    (
        "Drops since the start",
        (("lost in transit", "messages", _BLUE), ("dropped by the publisher", "messages", _ORANGE)),
    ),
)
"""Title and lines of each plot, as (name, unit, axis colour)."""

_NAMES = tuple(name for _, lines in _PLOTS for name, _, _ in lines)
_FONT, _HEIGHT_PX = "10px sans-serif", 210
_UPWARDS = uplot.Scale(range={"min": {"soft": 0, "mode": 1, "pad": 0}, "max": {"soft": 1, "mode": 1, "pad": 0.1}})


@dataclass
class History:
    """One row per second; old rows are discarded."""

    _rows: deque[tuple[float, ...]] = field(default_factory=lambda: deque(maxlen=SPAN_S + 1))
    _counts: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=_RATE_OVER_S + 1))

    def add(self, now_s: float, state: StreamState) -> None:
        """Add the state at a time in seconds."""
        self._counts.append((now_s, state.n_depth))
        seconds, frames = (new - old for new, old in zip(self._counts[-1], self._counts[0], strict=True))
        status = state.status if state.connected else None
        latency_ms = {} if status is None else {stage: p.p50 for stage, p in status.latency_ms.items()}
        values = (
            frames / seconds if seconds else 0.0,
            0.0 if status is None else status.events_per_s * 1e-6,
            *(latency_ms.get(stage, math.nan) for stage in ("bin", "queue", "estimate")),
            state.wire_ms,
            state.missed,
            math.nan if state.status is None else sum(state.status.drops.values()),
        )
        # Unknown values repeat the previous one, since the plots have no gaps.
        before = self._rows[-1][1:] if self._rows else (0.0,) * len(values)
        self._rows.append((now_s, *(b if math.isnan(v) else v for v, b in zip(values, before, strict=True))))

    def columns(self, names: Iterable[str]) -> tuple[np.ndarray, ...]:
        """Seconds before now, at most 0, and one array for each name."""
        rows = np.array(self._rows or [(0.0,) * (1 + len(_NAMES))])
        return (rows[:, 0] - rows[-1, 0], *(rows[:, 1 + _NAMES.index(name)] for name in names))


class Plots:
    """The plots on the page."""

    def __init__(self, gui: viser.GuiApi) -> None:
        self._plots = [(_add(gui, title, lines), [name for name, _, _ in lines]) for title, lines in _PLOTS]

    def show(self, history: History) -> None:
        """Update the plots."""
        for handle, names in self._plots:
            handle.data = history.columns(names)


def _add(gui: viser.GuiApi, title: str, lines: tuple[tuple[str, str, str], ...]) -> viser.GuiUplotHandle:
    """Add a plot over seconds, with one axis per unit, the first on the left."""
    units = list(dict.fromkeys(unit for _, unit, _ in lines))
    fonts = {"font": _FONT, "labelFont": _FONT, "labelSize": 14}
    axes = [uplot.Axis(scale="x", label="seconds before now", size=30, **fonts)]
    for side, unit in zip((3, 1), units, strict=False):
        axes.append(uplot.Axis(scale=unit, side=side, label=unit, size=46, grid={"show": side == 3}, **fonts))
    series = [uplot.Series(label=name, scale=unit, stroke=colour, width=1.5) for name, unit, colour in lines]
    return gui.add_uplot(
        tuple(np.zeros(1) for _ in range(1 + len(lines))),
        (uplot.Series(label="s"), *series),
        title=title,
        scales={"x": uplot.Scale(time=False, range=(-SPAN_S, 0)), **dict.fromkeys(units, _UPWARDS)},
        axes=tuple(axes),
        legend=uplot.Legend(show=True, live=False),
        height=_HEIGHT_PX,
        padding=(4, 8 if len(units) == 1 else 0, 0, 0),
    )
