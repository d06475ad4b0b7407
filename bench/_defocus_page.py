"""Page and pictures of `./run bench defocus`, made only from its results."""

import math
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator

BEGIN, END = "<!-- results: written by ./run bench defocus -->", "<!-- end of the results -->"
PAGE = Path(__file__).parents[1] / "docs" / "defocus.md"

COLUMNS = ("method", "RMSE", "where it answers", "answers", "near edges", "calibration", "within 1 σ", "ms", "kB")
ALIKE = 0.05
"""Errors that differ by less, relative to the smaller one, count as equal."""

_KINDS = {"events": "events", "frames": "frames of the sweep", "images": "a few images"}
_MARKS = ("o-", "s--", "^-.", "v:", "D-", "P--")
_COLOURS = {"events": "tab:red", "frames": "tab:blue", "images": "tab:green", "prior": "tab:gray"}


def write_page(results: dict, folder: Path, images: str = ".") -> None:
    """Write defocus.md and its pictures; the text outside the results is taken from docs/defocus.md.

    Args:
        results: as `defocus.run` gives them.
        folder: where the page goes.
        images: where the pictures go, from there.
    """
    (folder / images).mkdir(exist_ok=True)
    prefix = "" if images == "." else f"{images}/"
    names = {}
    for name, figure in _figures(results).items():
        names[name] = f"{prefix}defocus-{name}.png"
        figure.savefig(folder / names[name], dpi=110)
    text = PAGE.read_text(encoding="utf-8")
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    written = f"{text[:begin]}\n\n{_section(results, names)}\n{text[end:]}"
    (folder / "defocus.md").write_text(written, encoding="utf-8")


def reference_rows(results: dict) -> list[tuple[str, ...]]:
    """The table at the reference light and speed, a row for each method, in COLUMNS."""
    return [
        (
            name,
            _percent(row["rmse"]),
            _percent(row["answered_mae"]),
            _percent(row["coverage"], 0),
            _percent(row["edges_mae"]),
            _percent(row["calibration"]),
            _percent(row["within_one"], 0),
            f"{row['milliseconds']:.0f}",
            f"{row['bytes'] / 1000:.0f}",
        )
        for name, row in _reference(results)["rows"].items()
    ]


def verdict(condition: dict) -> str:
    """A sentence on the best methods under a condition, derived from the rows."""
    rows = condition["rows"]
    best = {
        kind: min((name for name, row in rows.items() if row["sees"] == kind), key=lambda name: rows[name]["rmse"])
        for kind in {row["sees"] for row in rows.values()}
    }
    error = {kind: rows[name]["rmse"] for kind, name in best.items()}
    floor = error.pop("prior", math.inf)
    order = sorted(error, key=lambda kind: error[kind])
    listed = ", ".join(f"{_KINDS[kind]} {_percent(error[kind])} ({best[kind]})" for kind in order)
    first = error[order[0]]
    if first > floor * (1 - ALIKE):
        said = f"neither: nothing measured is better than what measures nothing ({best['prior']}, {_percent(floor)})"
    else:
        alike = [_KINDS[kind] for kind in order if error[kind] <= first * (1 + ALIKE)]
        said = f"{' and '.join(alike)} alike" if len(alike) > 1 else f"{alike[0]}"
    return f"{said}. Best of each: {listed}"


def _reference(results: dict) -> dict:
    lux, seconds = results["reference"]
    return next(c for c in results["conditions"] if (c["lux"], c["seconds"]) == (lux, seconds))


def _section(results: dict, pictures: dict[str, str]) -> str:
    scenes, (lux, seconds) = results["scenes"], results["reference"]
    trained = results["trained"].values()
    steps = sorted({row["steps"] for row in trained})
    parameters = [row["parameters"] for row in trained]
    begin = (
        f"A run with {scenes['training']} rendered and patch scenes for training and {scenes['judged']} other rendered "
        f"ones for evaluation; {_span(steps)} steps of {results['batch']} samples per learned method. Networks have "
        f"{min(parameters) / 1e6:.2f} to {max(parameters) / 1e6:.2f} million parameters. Errors in % of the sweep "
        f"range. At {lux:g} lux, with sweeps of {seconds:g} s:"
    )
    table = ["| " + " | ".join(COLUMNS) + " |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
    table += ["| " + " | ".join(row) + " |" for row in reference_rows(results)]
    verdicts = ["| light, sweep | events a pixel | best |", "|---|---:|---|"]
    verdicts += [
        f"| {c['lux']:g} lux, {c['seconds']:g} s | {c['events_per_pixel']:.2g} | {verdict(c)} |"
        for c in results["conditions"]
    ]
    shown = [f"![{_ALT[name]}]({path})" for name, path in pictures.items()]
    parts = ["## Results", begin, "\n".join(table), _LEGEND, *shown, "### When which is best", _ALIKE_SAID]
    return "\n\n".join([*parts, "\n".join(verdicts)]) + "\n"


_LEGEND = """RMSE: at all pixels, gaps filled. Where it answers, near edges: mean absolute error. Calibration: mean
difference of stated and actual error. Within 1 σ: 68 % for normally distributed errors. ms: median, on the machine of
the run. kB: from the sensor per depth map, for events of 4 bytes or images of 12 bits per pixel."""

_ALIKE_SAID = "By RMSE at all pixels. Errors within 5 % of each other are called alike."

_ALT = {
    "light": "Error against light, for every method",
    "speed": "Error against the time of a sweep, for every method",
    "bandwidth": "Error against bytes from the sensor, for every method",
}


def _figures(results: dict) -> dict[str, Figure]:
    lux, seconds = results["reference"]
    found = results["conditions"]
    return {
        "light": _curves([c for c in found if c["seconds"] == seconds], "lux", "light on the scene, lux"),
        "speed": _curves([c for c in found if c["lux"] == lux], "seconds", "time of a sweep, s"),
        "bandwidth": _cloud(_reference(results)),
    }


def _curves(conditions: list[dict], key: str, label: str) -> Figure:
    """A panel for each kind of input, each with what measures nothing for comparison."""
    conditions = sorted(conditions, key=lambda condition: condition[key])
    figure = Figure(figsize=(9.6, 4.4), layout="constrained")
    panels = figure.subplots(1, len(_KINDS), sharey=True)
    at = [c[key] for c in conditions]
    for axis, (kind, title) in zip(panels, _KINDS.items(), strict=True):
        count = 0
        for name, row in conditions[0]["rows"].items():
            errors = [100 * c["rows"][name]["rmse"] for c in conditions]
            if row["sees"] == kind:
                axis.plot(at, errors, _MARKS[count], color=f"C{count}", label=name.removeprefix(f"{kind}: "))
                count += 1
            elif row["sees"] == "prior":
                axis.plot(at, errors, "-" if name == "constant" else ":", color="tab:gray", label=name, zorder=1)
        axis.set_xscale("log")
        axis.set_title(title, fontsize=10)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), fontsize=8, ncols=2)
        _finish(axis, label)
    return figure


def _cloud(condition: dict) -> Figure:
    figure = Figure(figsize=(8, 4.6), layout="constrained")
    axis = figure.subplots()
    columns: dict[float, list[tuple[float, str, str]]] = {}
    for name, row in condition["rows"].items():
        if row["bytes"]:
            columns.setdefault(row["bytes"] / 1000, []).append((100 * row["rmse"], name, _COLOURS[row["sees"]]))
    errors = [error for column in columns.values() for error, _, _ in column]
    gap = 0.045 * (max(errors) - min(errors))  # between the lines of labels
    for kilobytes, column in columns.items():
        above = -math.inf
        for error, name, colour in sorted(column):
            above = max(error, above + gap)
            axis.plot(kilobytes, error, "o", color=colour)
            axis.annotate(
                name,
                (kilobytes, error),
                (1.06 * kilobytes, above),
                fontsize=8,
                color=colour,
                verticalalignment="center",
                arrowprops={"arrowstyle": "-", "color": colour, "lw": 0.5},
            )
    axis.set_xscale("log")
    axis.set_xlim(0.8 * min(columns), 1.8 * max(columns))
    axis.margins(y=0.1)
    axis.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.xaxis.set_minor_locator(NullLocator())
    _finish(axis, "kB from the sensor for one depth map")
    return figure


def _finish(axis: Axes, label: str) -> None:
    axis.set_xlabel(label)
    axis.xaxis.set_major_formatter("{x:g}")
    if axis.get_subplotspec().colspan.start == 0:  # pyright: ignore[reportOptionalMemberAccess]
        axis.set_ylabel("RMSE, % of the sweep range")
    axis.grid(alpha=0.3)


def _span(numbers: list[int]) -> str:
    return f"{numbers[0]:,}" if len(numbers) == 1 else f"{numbers[0]:,} to {numbers[-1]:,}"


def _percent(value: float | None, digits: int = 1) -> str:
    return "–" if value is None or not math.isfinite(value) else f"{100 * value:.{digits}f}"
