"""Figure of the evidence of a pixel over the candidate distances."""

import numpy as np
from matplotlib.figure import Figure

from ..distribution import Distribution
from ..evidence import CANDIDATES, Evidence

_BANDS = ("0.5–1 px", "1–2 px", "2–4 px", "4–8 px")


def pixel_figure(evidence: Evidence, x: int, y: int, distribution: Distribution | None = None) -> Figure:
    """Evidence around a pixel, over the position in the sweep range.

    Args:
        evidence: of a sweep.
        x: column of the pixel.
        y: row of the pixel.
        distribution: a network's prediction, drawn below if given.

    Returns:
        A figure with the fractions of the events' energy explained by blur (odd) and motion (even) in each frequency
        band, and the energy matched by both.

    Raises:
        ValueError: the pixel is not on the sensor.
    """
    height, width = evidence.size
    if not (0 <= x < width and 0 <= y < height):
        raise ValueError(f"pixel ({x}, {y}) is not on a sensor of {width}×{height}")
    ordered = evidence.in_range_order
    half, quarter = ordered.half[:, :, y // 2, x // 2], ordered.quarter[:, :, y // 4, x // 4]
    panels = {
        "explained by blur (odd)": [half[2], half[3], quarter[2], quarter[3]],
        "explained by motion (even)": [half[4], half[5], quarter[4], quarter[5]],
    }
    figure = Figure(figsize=(6.4, 7.2), layout="constrained")
    axes = figure.subplots(3 + (distribution is not None), 1, sharex=True)
    for axis, (title, curves) in zip(axes, panels.items(), strict=False):
        for name, curve in zip(_BANDS, curves, strict=True):
            axis.plot(CANDIDATES, 100 * curve, label=name)
        axis.set_title(title, fontsize=9)
        axis.set_ylabel("of the energy, %")
        axis.set_ylim(bottom=0)
    axes[0].legend(fontsize=7, title="detail", title_fontsize=7)
    axes[2].plot(CANDIDATES, half[7], color="black")
    axes[2].set_title("matched by both, all bands, relative to the best", fontsize=9)
    axes[2].set_ylim(0, 1.05)
    if distribution is not None:
        axes[3].bar(CANDIDATES, distribution.at(x, y), width=0.8 * float(CANDIDATES[1] - CANDIDATES[0]))
        axes[3].set_title("probability predicted by the network", fontsize=9)
    for axis in axes:
        axis.axvspan(-0.2, 0, color="0.92", zorder=0)
        axis.axvspan(1, 1.2, color="0.92", zorder=0)
        axis.grid(alpha=0.3)
    axes[-1].set_xlabel("position in the sweep's range: 0 far, 1 near")
    axes[-1].set_xlim(float(CANDIDATES[0]) - 0.03, float(CANDIDATES[-1]) + 0.03)
    axes[-1].set_xticks(np.linspace(0, 1, 6))
    return figure
