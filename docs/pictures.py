"""Pictures of the documentation, each made by a command: `python docs/pictures.py NAME [DATA]` → docs/images/NAME.png

figures          all that need no data (docs/figures.py); one of them by its own name
charts           all of the tables in the pages (docs/charts.py), which they read; one of them by its own name
dataset          eight scenes of a dataset (DATA: its folder)
circuit_board    photographs focused from far to near, the events of a sweep through them, and their depth
                 (DATA: the folder of photographs)
demo             that of `sweepdepth demo` (DATA: its demo.png)
patches          eight patch scenes (DATA: the folder of a dataset with render = "patches")
light            a scene with traced and with computed light (DATA: a folder with two datasets of one seed, `traced`
                 and `computed`)
dashboard        metrics of a run over time (DATA: scrapes one after the other, from
                 `while sleep 1; do curl -s http://127.0.0.1:9100/metrics; done > scrapes.txt`)
calibration      that of `sweepdepth calibrate` (DATA: that of `./run bench calibration --picture`)
curves           that of `sweepdepth train` (DATA: the run's curves.png)
"""

import io
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
from charts import CHARTS, digest
from figures import FIGURES, favicon
from matplotlib import rc_context
from matplotlib.figure import Figure
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from sweepdepth import Calibration, EventFocalStack, estimate_depth
from sweepdepth.capture.files.dataset import open_dataset, read_scene
from sweepdepth.capture.reporting.figures import draw_depth, draw_events
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.fill import fill
from sweepdepth.synth.generation.contact_sheet import contact_sheet
from sweepdepth.synth.photographs import find_photographs, simulate_photographs
from sweepdepth.synth.sensor.presets import PRESETS

IMAGES = Path(__file__).parent / "images"
COLOURS = 256  # of a palette, so that a picture stays small
WIDEST = 1400
BANDS = 8

BOARD_LENS = """
camera = { width = 640, height = 360, pixel_pitch_um = 9.0, fx = 1333.0, fy = 1333.0, cx = 320.0, cy = 180.0 }
lens = { focal_length_mm = 12.0, f_number = 1.4 }
sweep = { waveform = "triangle", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, sync = "trigger" }
"""
"""A plausible lens for the photographs, whose true distances are unknown."""


def dataset(data: Path) -> Figure:
    """Eight scenes, spread evenly."""
    return contact_sheet(open_dataset(data), scenes=8)


def light(data: Path) -> Figure:
    """A scene with traced light and with computed light: all in focus, and the events of the middle of a sweep."""
    figure = Figure(figsize=(12, 2.5), layout="constrained")
    panels = figure.subplots(1, 4)
    for image, shown, lighting in zip(panels[::2], panels[1::2], ("traced", "computed"), strict=True):
        scene = read_scene(open_dataset(data / lighting).scenes[0])
        radiance = scene.truth.intensity
        image.imshow((radiance / np.percentile(radiance, 99)).clip(0, 1) ** 0.45, cmap="gray", vmin=0, vmax=1)
        image.set(xticks=[], yticks=[])
        image.set_title(f"{lighting} light", fontsize=9)
        start, end = scene.triggers["timestamp"][:2] + scene.truth.calibration.sweep.delay_us
        sweep = Sweep(int(start), int(end), Direction.FAR_TO_NEAR, scene.truth.calibration)
        begin, past = np.searchsorted(scene.events["timestamp"], [start, end])
        draw_events(shown, EventFocalStack.build(scene.events[begin:past], sweep, 5).data[2])
        shown.set_title(f"middle fifth of its {past - begin:,} events", fontsize=9)
    return figure


def circuit_board(data: Path) -> Figure:
    """Photographs above, the events around each one's focus below, then depth as it is, filled, and by rows."""
    calibration = Calibration.parse(BOARD_LENS)
    photographs = find_photographs(data)
    recording = simulate_photographs(photographs, calibration, PRESETS["davis346"], sweeps=1)
    start, end = recording.triggers["timestamp"]
    sweep = Sweep(int(start), int(end), Direction.FAR_TO_NEAR, calibration)
    stack = EventFocalStack.build(recording.events, sweep, len(photographs))
    estimate = estimate_depth(recording.events, sweep)
    filled = fill(estimate, stack)

    figure = Figure(figsize=(12, 5.0), layout="constrained")
    above, below = figure.subfigures(2, 1, squeeze=False, height_ratios=[2.4, 2.6])[:, 0]
    grid = above.subplots(2, len(photographs))
    for (photograph, events), path, image in zip(grid.T, photographs, stack.data, strict=True):
        with Image.open(path) as picture:
            grey = np.asarray(picture.convert("L").reduce(4))
        photograph.imshow(grey, cmap="gray", vmax=np.percentile(grey, 99))
        photograph.set_title(path.name, fontsize=8)
        photograph.axis("off")
        draw_events(events, image)
    known, dense, rows = below.subplots(1, 3)
    limits = calibration.sweep.far_diopters, calibration.sweep.near_diopters
    draw_depth(known, estimate.depth, *limits)
    known.set_title(f"depth, {np.isfinite(estimate.depth).mean():.0%} of the pixels", fontsize=9)
    colours = draw_depth(dense, filled.depth, *limits)
    dense.set_title("filled", fontsize=9)
    below.colorbar(colours, ax=dense, location="right", shrink=0.9, label="1/m")
    bands = np.array_split(np.arange(calibration.camera.height), BANDS)
    medians = [float(np.nanmedian(estimate.diopters[band])) for band in bands]
    rows.plot(medians, [band.mean() for band in bands], "o-", color="0.2")
    rows.set(xlim=limits, ylim=(calibration.camera.height, 0), xlabel="median, 1/m", ylabel="row of the image")
    rows.set_title("bands from top to bottom", fontsize=9)
    print(f"{len(recording.events):,} events; bands: {' '.join(f'{median:.2f}' for median in medians)} 1/m")
    return figure


def dashboard(data: Path) -> Figure:
    """A dashboard of a run: rates from counters, latencies, drops and memory, scraped every second."""
    from prometheus_client.parser import text_string_to_metric_families

    marker = "# HELP process_virtual_memory_bytes"
    rows: list[dict[str, float]] = []
    for text in data.read_text().split(marker)[1:]:
        samples = [sample for family in text_string_to_metric_families(marker + text) for sample in family.samples]
        rows.append(
            {
                ",".join([sample.name, *(sample.labels[k] for k in sorted(sample.labels))]): sample.value
                for sample in samples
            }
        )
    rows = [row for row in rows if "sweepdepth_events_total" in row]

    def over_time(name: str) -> np.ndarray:
        return np.array([row.get(name, np.nan) for row in rows])

    def named(prefix: str) -> list[str]:
        return sorted({name for row in rows for name in row if name.startswith(prefix + ",")})

    with rc_context({"text.color": "0.85", "axes.labelcolor": "0.85", "xtick.color": "0.7", "ytick.color": "0.7"}):
        figure = Figure(figsize=(12, 4.6), layout="constrained", facecolor="#111217")
        panels = figure.subplots(2, 3)
        for axes in panels.flat:
            axes.set_facecolor("#181b1f")
            axes.grid(color="0.25", linewidth=0.6)
            axes.spines[:].set_visible(False)
        events, depths, age, stages, dropped, memory = panels.flat
        second = np.arange(1, len(rows))
        events.plot(second, np.diff(over_time("sweepdepth_events_total")) / 1e6, color="#73bf69")
        events.set_title("M events/s", fontsize=10)
        depths.plot(second, np.diff(over_time("sweepdepth_depth_frames_total")), color="#5794f2")
        depths.set_title("depths/s", fontsize=10)
        for quantile, colour in (("0.5", "#fade2a"), ("0.99", "#ff9830")):
            name = f"sweepdepth_latency_seconds,{quantile},age"
            age.plot(1e3 * over_time(name), color=colour, label=f"quantile {quantile}")
        age.set_title("age of depth, ms", fontsize=10)
        for stage in ("bin", "queue", "estimate"):
            stages.plot(1e3 * over_time(f"sweepdepth_latency_seconds,0.5,{stage}"), label=stage)
        stages.set_title("stages, median, ms", fontsize=10)
        for name in named("sweepdepth_dropped_total"):
            if over_time(name)[-1]:
                dropped.plot(over_time(name), label=name.partition(",")[2])
        dropped.set_title("dropped since the start", fontsize=10)
        memory.plot(over_time("process_resident_memory_bytes") / 1e6, color="#b877d9")
        memory.set_title("memory of the main process, MB", fontsize=10)
        for axes in panels.flat:
            axes.set_ylim(bottom=0)
            axes.set_xlim(0, len(rows))
            if axes.get_legend_handles_labels()[1]:
                axes.legend(fontsize=8, facecolor="#181b1f", edgecolor="0.25", loc="lower right")
        for axes in panels[1]:
            axes.set_xlabel("s", fontsize=9)
        return figure


PICTURES: dict[str, tuple[Callable[[Path], Figure], int]] = {
    "dataset": (dataset, 80),
    "patches": (dataset, 80),
    "light": (light, 90),
    "dashboard": (dashboard, 100),
    "circuit_board": (circuit_board, 90),
}
"""The function that draws each picture, and its resolution in dots per inch."""


def main() -> None:
    match sys.argv[1:]:
        case ["figures"]:
            for name in FIGURES:
                draw_figure(name)
            favicon().save(IMAGES / "favicon.png", optimize=True)
        case [name] if name in FIGURES:
            draw_figure(name)
        case ["charts"]:
            for name in CHARTS:
                draw_chart(name)
        case [name] if name in CHARTS:
            draw_chart(name)
        case ["demo" | "calibration" | "curves" as name, data]:
            with Image.open(data) as picture:
                keep(name, picture)
        case [name, data] if name in PICTURES:
            draw, dpi = PICTURES[name]
            keep_figure(name, draw(Path(data)), dpi)
        case _:
            sys.exit(__doc__)


def draw_figure(name: str) -> None:
    """One that needs no data."""
    draw, dpi = FIGURES[name]
    keep_figure(name, draw(), dpi)


def draw_chart(name: str) -> None:
    """Draw a chart of a page's table, with the hash of its numbers."""
    draw, _ = CHARTS[name]
    figure = draw()
    keep_figure(name, figure, 110, {"numbers": digest(figure)})


def keep_figure(name: str, figure: Figure, dpi: int, facts: Mapping[str, str] | None = None) -> None:
    """Draw a figure into docs/images."""
    drawn = io.BytesIO()
    figure.savefig(drawn, dpi=dpi)
    keep(name, Image.open(drawn), facts)


def keep(name: str, picture: Image.Image, facts: Mapping[str, str] | None = None) -> None:
    """Write a picture to docs/images with few colours, no wider than it is shown, and with some facts in its text."""
    written = PngInfo()
    for key, value in (facts or {}).items():
        written.add_text(key, value)
    picture = picture.convert("RGB")
    if picture.width > WIDEST:
        picture = picture.resize((WIDEST, round(picture.height * WIDEST / picture.width)), Image.Resampling.LANCZOS)
    target = IMAGES / f"{name}.png"
    picture.quantize(COLOURS, method=Image.Quantize.MAXCOVERAGE, kmeans=2, dither=Image.Dither.NONE).save(
        target, optimize=True, pnginfo=written
    )
    print(f"{target}: {target.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
