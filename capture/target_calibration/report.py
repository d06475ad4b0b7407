"""Output of a calibration: `lens.toml` with the residuals as comments, and a figure of the fits."""

from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..atomic import PartialFile
from ..reporting.figures import save_figure
from .procedure import GOOD_MAGNIFICATION, Calibrated


def save_calibration(result: Calibrated, path: str | Path, *, force: bool = False) -> Path:
    """Write `path` (TOML) and a figure with the same name (.png); returns the figure's path.

    Raises:
        RecordingError: one of them exists and `force` is not given, or cannot be written.
    """
    path = Path(path)
    picture = path.with_suffix(".png")
    files = [PartialFile(path, force, "calibration"), PartialFile(picture, force, "picture")]
    try:
        files[0].path.write_text(describe(result) + result.calibration.to_toml(), encoding="utf-8")
        save_figure(calibration_figure(result), files[1].path)
        for file in files:
            file.commit()
    finally:
        for file in files:
            file.discard()
    return picture


def describe(result: Calibrated) -> str:
    """The verdict and all residuals, as comments of a TOML file."""
    settings = result.calibration.sweep
    lines = [f"verdict: {result.verdict}", ""]
    lines.append(f"focus: {'a line' if result.fit.order == 1 else f'a polynomial of order {result.fit.order}'} through")
    for target, sighting, residual in zip(result.targets, result.sightings, result.fit.residuals, strict=True):
        lines.append(
            f"  {target}: in focus at {sighting.position:.4f} ± {sighting.spread:.4f} of the range, residual "
            f"{residual:+.4f} 1/m ({residual / settings.range_diopters:+.2%} of the range), "
            f"grows by {sighting.growth:+.3%}"
        )
    lines.append(f"  ends certain to {result.fit.end_spread:.4f} 1/m")
    if result.lateness is not None:
        late = result.lateness
        lines.append(
            f"delay: the lens turns {late.mean_us / 1000:.2f} ± {late.spread_us / 1000:.2f} ms later than expected "
            f"({late.turns} turning points), pixel latency included"
        )
    lines.append(f"breathing: magnification at the near end certain to {result.magnification_spread:.3%}")
    if result.rest is not None:
        rest = result.rest
        lines.append(
            f"at rest: {rest.noise_hz:.3g} events a second and pixel ({rest.on_share:.0%} ON), "
            f"{len(rest.hot_pixels)} hot pixels, in {rest.seconds:.1f} s"
        )
    lines += result.notes
    return "".join(f"# {line}".rstrip() + "\n" for line in lines) + "\n"


def calibration_figure(result: Calibrated) -> Figure:
    """The focus curve with the targets, residuals, image growth, and the sensor at rest."""
    panels = 3 if result.rest is None else 4
    figure = Figure(figsize=(4.2 * panels, 3.8), layout="constrained")
    axes = figure.subplots(1, panels)
    settings = result.calibration.sweep
    position = np.array([s.position for s in result.sightings])
    diopters = np.array([t.diopters for t in result.targets])
    along = np.linspace(0, 1, 101)
    axes[0].plot(along, result.fit.at(along), color="0.6")
    axes[0].plot(position, diopters, "o", color="tab:purple")
    _label(axes[0], "Focus", "in focus at (of the sweep's range)", "target (1/m)")
    error = [s.spread for s in result.sightings]
    axes[1].axhspan(-1, 1, color="0.93")
    axes[1].errorbar(
        diopters,
        100 * result.fit.residuals / settings.range_diopters,
        100 * np.array(error),
        fmt="o",
        color="tab:purple",
    )
    _label(axes[1], "Residuals", "target (1/m)", "measured less fitted (% of the range)")
    growth = 100 * float(np.median([s.growth for s in result.sightings]))
    axes[2].axhspan(growth - 100 * GOOD_MAGNIFICATION, growth + 100 * GOOD_MAGNIFICATION, color="0.93")
    axes[2].axhline(growth, color="0.6")
    axes[2].plot(diopters, [100 * s.growth for s in result.sightings], "o", color="tab:purple")
    _label(axes[2], "Breathing", "target (1/m)", "growth of the image over the sweep (%)")
    if result.rest is not None:
        rate = np.sort(result.rest.rate_hz.ravel())[::-1]
        axes[3].loglog(np.arange(1, rate.size + 1), np.maximum(rate, 0.1 / result.rest.seconds), color="tab:purple")
        axes[3].axvline(len(result.rest.hot_pixels) + 0.5, color="0.6")
        _label(axes[3], "At rest", "pixels, the busiest first (grey: hot to the left)", "events per second")
    figure.suptitle(result.grade)
    return figure


def _label(axis: Axes, title: str, x: str, y: str) -> None:
    axis.set_title(title)
    axis.set_xlabel(x)
    axis.set_ylabel(y)
