"""Binning events into a stack: the kernel, its NumPy reference, the usual NumPy voxel grid, and the memory limit."""

import argparse
import time
from collections.abc import Callable

import numba
import numpy as np
from rich.console import Console
from rich.table import Table

from sweepdepth import Calibration, EventFocalStack
from sweepdepth.capture.events import make_events
from sweepdepth.capture.stack import Polarity, kernel
from sweepdepth.capture.sweeps import Direction, Sweep

LENS = """
camera = {{ width = 640, height = 480, pixel_pitch_um = 9.0, fx = 1333.0, fy = 1333.0, cx = 320.0, cy = 240.0 }}
lens = {{ focal_length_mm = 12.0, f_number = 1.4 }}
sweep = {{ waveform = "{waveform}", frequency_hz = 2.5, far_diopters = 0.5, near_diopters = 2.5, sync = "trigger" }}
breathing = {{ scale_per_diopter = {breathing}, center = [320.0, 240.0] }}
"""
START = 1_763_000_000_000_000
DURATION_US = 200_000


def np_add_at_voxel_grid(events: np.ndarray, bins: int, width: int, height: int) -> np.ndarray:
    """The voxel grid of E2VID (Rebecq et al., CVPR 2019) as commonly written: bilinear in time, `np.add.at`."""
    t = events["timestamp"]
    scaled = (bins - 1) * (t - t[0]) / (t[-1] - t[0])
    lower = scaled.astype(int)
    share = scaled - lower
    x, y = events["x"].astype(int), events["y"].astype(int)
    sign = np.where(events["polarity"] == 0, -1.0, 1.0)
    grid = np.zeros(bins * height * width, np.float32)
    at = x + y * width
    np.add.at(grid, at + lower * width * height, sign * (1 - share))
    valid = lower + 1 < bins
    np.add.at(grid, at[valid] + (lower[valid] + 1) * width * height, (sign * share)[valid])
    return grid.reshape(bins, height, width)


@numba.njit(nogil=True)
def random_adds(index: np.ndarray, plane: int, out: np.ndarray) -> None:
    """Only two additions per event at given places: the limit set by memory."""
    for i in range(index.size):
        out[index[i]] += np.float32(0.5)
        out[index[i] + plane] += np.float32(0.5)


def random_events(n: int, seed: int) -> np.ndarray:
    """Uniformly random events, the worst case for the cache, since real ones cluster at edges."""
    rng = np.random.default_rng(seed)
    return make_events(
        np.sort(rng.integers(START, START + DURATION_US, n)),
        rng.integers(0, 640, n),
        rng.integers(0, 480, n),
        rng.integers(0, 2, n),
    )


def rate(work: Callable[[], object], n: int, repeats: int) -> float:
    """Best of several runs, in millions of events per second."""
    work()
    best = np.inf
    for _ in range(repeats):
        begin = time.perf_counter()
        work()
        best = min(best, time.perf_counter() - begin)
    return n / best / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000_000)
    parser.add_argument("--bins", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    n, bins = options.events, options.bins
    events = random_events(n, seed=0)
    fewer = events[: n // 5]

    def sweep(waveform: str, breathing: float) -> Sweep:
        calibration = Calibration.parse(LENS.format(waveform=waveform, breathing=breathing))
        return Sweep(START, START + DURATION_US, Direction.FAR_TO_NEAR, calibration)

    def stack(waveform: str, breathing: float, polarity: Polarity, of: np.ndarray) -> float:
        at = sweep(waveform, breathing)
        return rate(lambda: EventFocalStack.build(of, at, bins, polarity).data, len(of), options.repeats)

    def twin() -> None:
        EventFocalStack.empty(sweep("triangle", 0.0), bins)._add(fewer, kernel.accumulate_numpy)

    add_at = rate(lambda: np_add_at_voxel_grid(fewer, bins, 640, 480), len(fewer), 2)
    scaled = (bins - 1) * (events["timestamp"] - START) / DURATION_US
    index = (scaled.astype(int) * 480 + events["y"]) * 640 + events["x"]
    limit = rate(lambda: random_adds(index, 640 * 480, np.zeros(bins * 640 * 480, np.float32)), n, options.repeats)
    rows = {
        "voxel grid with np.add.at": add_at,
        "NumPy twin of our kernel": rate(twin, len(fewer), 1),
        "ours: triangle": stack("triangle", 0.0, "signed", events),
        "ours: triangle, breathing undone": stack("triangle", 0.015, "signed", events),
        "ours: sine, breathing undone": stack("sine", 0.015, "signed", events),
        "ours: ON and OFF apart": stack("triangle", 0.0, "split", events),
        "ours: interpolated": stack("triangle", 0.0, "interpolated", events),
        "ours: interpolated, breathing undone": stack("triangle", 0.015, "interpolated", events),
        "memory: the additions alone": limit,
    }
    table = Table(title=f"{n / 1e6:g} M random events into 640×480×{bins}, one core, best of {options.repeats}")
    for column in ("", "M events/s", "× np.add.at", "of the memory's limit"):
        table.add_column(column, justify="left" if not column else "right")
    for name, value in rows.items():
        table.add_row(name, f"{value:.1f}", f"{value / add_at:.1f}", f"{value / limit:.0%}")
    Console(width=110).print(table)


if __name__ == "__main__":
    main()
