"""Charts of the tables in the pages: each reads the table that it stands above, so there is one copy of the numbers."""

import hashlib
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

DOCS = Path(__file__).parent

INK, SECOND, THIRD, QUIET = "#440154", "#21908c", "#b8860b", "0.55"
LINES = {
    "network": (INK, "o-"),
    "four sweeps fused": (SECOND, "s--"),
    "classical": (THIRD, "^-."),
    "a constant": (QUIET, "x:"),
}

Row = dict[str, str]


def read_table(page: str, *columns: str) -> list[Row]:
    """The rows of a page's first table with these columns, each as texts by column."""
    text = (DOCS / page).read_text(encoding="utf-8")
    for head, body in re.findall(r"^(\|.*\|)\n\|[-|: ]+\|\n((?:\|.*\|\n)+)", text, re.MULTILINE):
        names = _cells(head)
        if set(columns) <= set(names):
            return [dict(zip(names, _cells(line), strict=True)) for line in body.splitlines()]
    raise SystemExit(f"{page}: has no table with the columns {', '.join(columns)}")


def _cells(line: str) -> list[str]:
    return [re.sub(r"[*`]", "", cell).strip() for cell in line.strip().strip("|").split("|")]


def number(text: str) -> float:
    """The first number in a cell; NaN where there is none."""
    found = re.search(r"[−-]?\d[\d,]*(?:\.\d+)?", text)
    return float(found[0].replace(",", "").replace("−", "-")) if found else float("nan")


def column(rows: Sequence[Row], name: str) -> np.ndarray:
    """The numbers of a column."""
    return np.array([number(row[name]) for row in rows])


def digest(figure: Figure) -> str:
    """Hash of all numbers in a chart, stored in the picture, so that outdated charts are detected."""
    shown = hashlib.sha256()
    for axis in figure.axes:
        for line in axis.lines:
            shown.update(np.round(np.asarray(line.get_xydata(), float), 6).tobytes())
        for patch in axis.patches:
            assert isinstance(patch, Rectangle)  # bars
            shown.update(np.round((*patch.get_xy(), patch.get_width(), patch.get_height()), 6).tobytes())
    return shown.hexdigest()[:16]


def _show(axis: Axes, x: str, y: str, title: str = "") -> None:
    axis.set(xlabel=x, ylabel=y)
    axis.set_title(title, fontsize=10)
    axis.grid(alpha=0.3)


def _finished(figure: Figure) -> Figure:
    """Let all axes start at 0, and add a legend to the first that has labels."""
    for axis in figure.axes:
        axis.set_ylim(bottom=0)
    next(axis for axis in figure.axes if axis.get_legend_handles_labels()[0]).legend(fontsize=8)
    return figure


def risk() -> Figure:
    """Mean error of the surest pixels against how many of them are kept, for each method."""
    shares = {"surest 75 %": 75, "50 %": 50, "25 %": 25}
    rows = read_table("training.md", *shares)
    starts = [number for number, row in enumerate(rows) if ":" in row[""]] + [len(rows)]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = np.atleast_1d(figure.subplots(1, len(starts) - 1, sharey=True))
    for axis, begin, end in zip(axes, starts[:-1], starts[1:], strict=True):
        for row in rows[begin:end]:
            name = row[""].partition(":")[2].strip() or row[""]
            colour, style = LINES[name]
            axis.plot(list(shares.values()), [number(row[share]) for share in shares], style, color=colour, label=name)
        _show(
            axis,
            "surest part of the pixels that is kept (%)",
            "mean error, of the range",
            rows[begin][""].partition(":")[0],
        )
    return _finished(figure)


def recordings() -> Figure:
    """RMSE and error at events of each recording, one sweep and four fused."""
    rows = read_table("training.md", "at events", "fused: RMSE", "fused: at events")
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(rows))
    for shift, name, colour in ((-0.2, "RMSE", SECOND), (0.2, "at events", INK)):
        axis.barh(places + shift, column(rows, name), 0.36, color=colour, label=f"{name}, one sweep")
        label = "four sweeps fused" if shift > 0 else None
        axis.plot(column(rows, f"fused: {name}"), places + shift, "k|", markersize=9, label=label)
    axis.set_yticks(places, [row[""].partition(":")[0] for row in rows])
    axis.invert_yaxis()
    axis.set(xlabel="of the range", xlim=(0, None))
    axis.grid(alpha=0.3, axis="x")
    axis.legend(fontsize=8, loc="lower right")
    return figure


def rates() -> Figure:
    """Age of depth, depths a second and losses against the rate of events, for each camera of the table."""
    rows = read_table("live.md", "camera", "M events/s", "age, median", "age, p99", "depths/s", "lost")
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    age, depths, lost = figure.subplots(1, 3)
    colours = dict(
        zip(dict.fromkeys(row["camera"] for row in rows), (INK, SECOND, THIRD, QUIET, "#c03a76"), strict=False)
    )
    for camera, colour in colours.items():
        chosen = [row for row in rows if row["camera"] == camera]
        rate = column(chosen, "M events/s")
        age.plot(rate, column(chosen, "age, median"), "o-", color=colour)
        age.plot(rate, column(chosen, "age, p99"), ":", color=colour)
        depths.plot(rate, column(chosen, "depths/s"), "o-", color=colour, label=camera)
        lost.plot(rate, np.nan_to_num(column(chosen, "lost")), "o-", color=colour)
    _show(age, "million events per second", "ms", "age of depth; dotted: 99th percentile")
    _show(depths, "million events per second", "depths per second", "depths of five sweeps per second")
    _show(lost, "million events per second", "%", "events lost")
    return _finished(figure)


def turning() -> Figure:
    """Accuracy of turning points found in the events, by sensor and by jitter and drift."""
    own, found = "depth error with true turning points", "with found ones"
    rows = read_table("tuning.md", "sensor", "jitter", own, found)
    steady = [row for row in rows if row["jitter"] == "0" and row["drift of the period per sweep"] == "0"]
    shaken = [row for row in rows if row["sensor"] == "davis346" and row["drift of the period per sweep"] == "0"]
    drifting = [row for row in rows if row["sensor"] == "davis346" and row["jitter"] == "0"]
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    error, jitter, drift = figure.subplots(1, 3, width_ratios=[1.5, 1, 1])
    places = np.arange(len(steady))
    error.barh(places - 0.2, column(steady, own), 0.36, color=QUIET, label="true")
    error.barh(places + 0.2, column(steady, found), 0.36, color=INK, label="found in the events")
    error.set_yticks(places, [row["sensor"] for row in steady])
    error.invert_yaxis()
    error.set(xlabel="median error of depth, of the range")
    error.set_title("depth error by turning points", fontsize=10)
    error.legend(fontsize=8)
    error.grid(alpha=0.3, axis="x")
    jitter.plot(column(shaken, "jitter"), column(shaken, "scatter"), "o-", color=INK)
    _show(jitter, "jitter of the lens (ms)", "scatter of found ones (ms)", "jitter is passed on")
    order = np.argsort(column(drifting, "drift of the period per sweep"))
    drift.plot(
        column(drifting, "drift of the period per sweep")[order], column(drifting, "delay")[order], "o-", color=INK
    )
    _show(drift, "drift of the period (% per sweep)", "delay (ms)", "drift is followed")
    for axis in (jitter, drift):
        axis.set_ylim(bottom=0)
    return figure


def rolling() -> Figure:
    """Depth error at the sweep rate and the bin rate, against the speed of the scene."""
    rows = read_table("tuning.md", "oscillation, Hz", "rate", "own error", "error now")
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for axis, name, title in zip(
        figure.subplots(1, 2, sharey=True),
        ("own error", "error now"),
        ("at the mean time of its events", "of the latest frame, at the current time"),
        strict=True,
    ):
        for rate, colour, style in (("sweep", INK, "o-"), ("bin", THIRD, "s--")):
            chosen = [row for row in rows if row["rate"] == rate]
            axis.plot(column(chosen, "oscillation, Hz"), column(chosen, name), style, color=colour, label=f"per {rate}")
        _show(axis, "oscillation over half of the range (Hz)", "median error, of the range", title)
    return _finished(figure)


def light() -> Figure:
    """Error and coverage in flickering light, with and without averaging, by sensor."""
    rows = read_table("tuning.md", "sensor", "depth", "error without averaging", "error with averaging")
    return _by_sensor(
        rows,
        "depth",
        "amplitude of the flicker",
        {
            "error without averaging": ("without averaging", THIRD, "^-."),
            "error with averaging": ("with averaging", INK, "o-"),
        },
        "median error, of the range",
    )


def motion() -> Figure:
    """Error and quality against motion, by sensor."""
    rows = read_table("tuning.md", "sensor", "px per sweep", "RMSE", "quality factor")
    return _by_sensor(
        rows,
        "px per sweep",
        "motion (px per sweep)",
        {
            "error": ("median error", INK, "o-"),
            "RMSE": ("RMSE", SECOND, "s--"),
            "quality factor": ("quality factor", QUIET, "x:"),
        },
        "of the range; quality from 0 to 1",
    )


def _by_sensor(
    rows: Sequence[Row], x: str, x_label: str, lines: dict[str, tuple[str, str, str]], y_label: str
) -> Figure:
    sensors = list(dict.fromkeys(row["sensor"] for row in rows))
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    for axis, sensor in zip(figure.subplots(1, len(sensors), sharey=True), sensors, strict=True):
        chosen = [row for row in rows if row["sensor"] == sensor]
        for name, (label, colour, style) in lines.items():
            at = np.nan_to_num(column(chosen, x))  # "none" is 0
            known = np.isfinite(column(chosen, name))
            axis.plot(at[known], column(chosen, name)[known], style, color=colour, label=label)
        _show(axis, x_label, y_label, sensor)
    return _finished(figure)


def fuzz() -> Figure:
    """Outcomes of damaged input: read or refused."""
    rows = [row for row in read_table("robustness.md", "input", "cases", "read", "refused") if row["input"] != "all"]
    cases, read = column(rows, "cases"), column(rows, "read")
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    axis = figure.subplots()
    places = np.arange(len(rows))
    axis.barh(places, 100 * read / cases, color=SECOND, label="read")
    axis.barh(places, 100 - 100 * read / cases, left=100 * read / cases, color="#d8c8e0", label="refused")
    axis.set_yticks(places, [f"{row['input']} ({row['cases']})" for row in rows], fontsize=8)
    axis.invert_yaxis()
    axis.set(xlabel="% of the cases", xlim=(0, 100))
    axis.legend(fontsize=8, loc="lower right")
    return figure


def throughput() -> Figure:
    """Time of each part of an answer, for two sizes of frame."""
    sizes = ("346×260, ms", "640×480, ms")
    rows = [
        row for row in read_table("training.md", *sizes) if "eager" not in row[""] and row[""] != "evidence to depth"
    ]
    figure = Figure(figsize=(10, 2.0), layout="constrained")
    axis = figure.subplots()
    left = np.zeros(len(sizes))
    for row, colour in zip(rows, (THIRD, INK, SECOND), strict=False):
        wide = np.array([number(row[size]) for size in sizes])
        axis.barh(np.arange(len(sizes)), wide, 0.6, left=left, color=colour, label=row[""])
        left += wide
    axis.set_yticks(np.arange(len(sizes)), [size.partition(",")[0] for size in sizes])
    axis.invert_yaxis()
    axis.set(xlabel="ms per depth")
    axis.legend(fontsize=8)
    axis.grid(alpha=0.3, axis="x")
    return figure


CHARTS: dict[str, tuple[Callable[[], Figure], str]] = {
    "chart_risk": (risk, "training.md"),
    "chart_recordings": (recordings, "training.md"),
    "chart_inference": (throughput, "training.md"),
    "chart_rates": (rates, "live.md"),
    "chart_turning": (turning, "tuning.md"),
    "chart_rolling": (rolling, "tuning.md"),
    "chart_light": (light, "tuning.md"),
    "chart_motion": (motion, "tuning.md"),
    "chart_fuzz": (fuzz, "robustness.md"),
}
"""The function that draws each chart, and the page of its table."""
