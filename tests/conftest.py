"""Fixtures and marks shared by many tests."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from scipy.special import j1

from sweepdepth import Calibration
from sweepdepth.capture.events import make_events
from sweepdepth.capture.sweeps import Direction, Sweep

SLOW_FOLDERS = {"cli"}
SLOW_FILES = {
    "test_apertures",
    "test_augmentation",
    "test_bench_defocus",
    "test_calibrating",
    "test_cameras_network",
    "test_cameras_pipe",
    "test_cpp_client",
    "test_damaged_recordings",
    "test_disturbances",
    "test_docs_site",
    "test_evidence",
    "test_examples",
    "test_exported",
    "test_frames",
    "test_job",
    "test_lenses",
    "test_live",
    "test_live_recorder",
    "test_network",
    "test_node_client",
    "test_notebook",
    "test_patches",
    "test_publisher",
    "test_recordings_arrays",
    "test_recordings_processes",
    "test_recordings_ros",
    "test_recordings_text",
    "test_recordings_writing",
    "test_replay",
    "test_replays",
    "test_run_logs",
    "test_survey",
    "test_tracking_mirror",
    "test_tracking_stream",
    "test_slow_links",
    "test_training",
    "test_triggers_of_files",
    "test_unet",
    "test_view",
    "test_windowed_replay",
}
"""Tests that take seconds each: they start commands or decoder processes, load torch and Lightning, train networks, or
run live."""

BLENDER_FILES = {"test_render", "test_render_files"}
FAULT_FOLDERS = {"faults", "fuzz"}


def marks_of_file(path: Path) -> set[str]:
    """Marks that all tests of a file or folder have because of its name."""
    return {
        mark
        for mark, names in (
            ("slow", SLOW_FOLDERS | SLOW_FILES),
            ("blender", BLENDER_FILES),
            ("faults", FAULT_FOLDERS),
        )
        if path.stem in names or path.parent.name in names
    }


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Do not import files that `-m "not slow and …"` deselects as a whole; their imports take longer than the rest."""
    excluded = {
        part.removeprefix("not ") for part in str(config.getoption("-m")).split(" and ") if part.startswith("not ")
    }
    return True if excluded & marks_of_file(collection_path) else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark tests by where they are and what they use, and begin with the slow ones where several processes share them,
    so that none of these is still at work when the others are done."""
    for item in items:
        for mark in marks_of_file(item.path):
            item.add_marker(mark)
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.browser)
    if hasattr(config, "workerinput"):
        marks = ("slow", "blender", "browser", "faults")
        slow_files = {item.path for item in items if any(map(item.get_closest_marker, marks))}
        items.sort(key=lambda item: item.path not in slow_files)


LENS = """
[camera]
width = 96
height = 72
pixel_pitch_um = 18.5
fx = 700.0
fy = 700.0
cx = 48.0
cy = 36.0

[lens]
focal_length_mm = 12.0
f_number = 1.4

[sweep]
waveform = "triangle"
frequency_hz = 2.5
far_diopters = 0.5
near_diopters = 2.5
sync = "trigger"
"""


@pytest.fixture(autouse=True)
def same_environment() -> Iterator[None]:
    """Commands that tests run in this process set variables, such as the number of BLAS threads, on which the order of
    sums depends; the next test's processes must not inherit them."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys() - {"PYTEST_CURRENT_TEST"}:
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def lens() -> str:
    """The text of a small valid calibration file."""
    return LENS


@pytest.fixture(scope="session")
def calibration() -> Calibration:
    return Calibration.parse(LENS)


@pytest.fixture(scope="session")
def shared_sweeps() -> Path:
    """Independently simulated recordings with ground truth, if available."""
    folder = Path(__file__).parents[2] / "shared" / "data" / "sweeps"
    if not folder.is_dir():
        pytest.skip("the development recordings are not here")
    return folder


def random_events(sweep: Sweep, n: int, seed: int) -> np.ndarray:
    """Uniformly random events of a sweep, in time order."""
    rng = np.random.default_rng(seed)
    camera = sweep.calibration.camera
    return make_events(
        np.sort(rng.integers(sweep.start_us, sweep.end_us, n)),
        rng.integers(0, camera.width, n),
        rng.integers(0, camera.height, n),
        rng.integers(0, 2, n),
    )


def plane_events(
    sweep: Sweep,
    diopters: np.ndarray,  # (W,) 1/m: inverse depth of every column
    threshold: float = 0.2,
    seed: int = 0,
) -> np.ndarray:
    """Events of textured fronto-parallel strips through the exact thin-lens blur of a disc.

    The texture is a sum of waves, each attenuated by the disc's transfer function 2·J1(πfd)/(πfd), so every frame is
    exact wherever a strip is wider than its blur. Crossings of log brightness are interpolated between 400 frames.
    """
    calibration = sweep.calibration
    camera = calibration.camera
    rng = np.random.default_rng(seed)
    waves = 8
    frequency = np.exp(rng.uniform(np.log(0.04), np.log(0.25), waves))
    angle, shift = rng.uniform(0, 2 * np.pi, (2, waves))
    y, x = np.mgrid[: camera.height, : camera.width] + 0.5
    phase = (
        2 * np.pi * frequency[:, None, None] * (np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y)
        + shift[:, None, None]
    )
    pattern = np.cos(phase)
    pattern *= 0.9 / np.abs(pattern.sum(axis=0)).max()

    steps = 400
    times = np.linspace(sweep.start_us, sweep.end_us, steps + 1)
    columns: list[tuple[np.ndarray, ...]] = []
    reference = before = None
    for time, focus in zip(times, sweep.diopters_at(times), strict=True):
        blur = camera.fx * calibration.lens.aperture_m * np.abs(focus - diopters)
        z = np.pi * frequency[:, None] * blur + 1e-9
        image = np.log(1 + np.einsum("kw,khw->hw", 2 * j1(z) / z, pattern))
        if reference is None or before is None:
            reference, before = image.copy(), image
            reference += np.random.default_rng(seed + 1).uniform(-0.5, 0.5, image.shape) * threshold
        step = times[1] - times[0]
        for sign, polarity in ((1, 1), (-1, 0)):
            while (fired := sign * (image - reference) >= threshold).any():
                rows, cols = np.nonzero(fired)
                reference[fired] += sign * threshold
                rise = (image - before)[fired]
                share = np.divide((reference - before)[fired], rise, out=np.ones_like(rise), where=rise != 0)
                at = time - step * (1 - np.clip(share, 0, 1))
                columns.append((at, cols, rows, np.full(len(rows), polarity)))
        before = image
    t, px, py, p = (np.concatenate(c) for c in zip(*columns, strict=True))
    order = np.argsort(t, kind="stable")
    return make_events(t[order].astype(np.int64), px[order], py[order], p[order])


@pytest.fixture(scope="session")
def textured_planes() -> Callable[..., np.ndarray]:
    return plane_events


@pytest.fixture(params=list(Direction), ids=lambda d: d.name.lower())
def sweep(request: pytest.FixtureRequest, calibration: Calibration) -> Sweep:
    """One sweep in either direction, with a clock that counts from 1970."""
    start = 1_763_000_000_000_000
    return Sweep(start, start + 200_000, request.param, calibration)
