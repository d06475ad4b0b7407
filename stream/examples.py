"""Writes the files used in the documentation to a folder: recordings, calibration, configurations, clients."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

import h5py
import numpy as np
from scipy.io import savemat
from scipy.ndimage import gaussian_filter

from ..capture.atomic import make_folder
from ..capture.calibration import Calibration
from ..capture.errors import RecordingError
from ..capture.optics import blur_diameter_px, to_diopters
from ..capture.recordings import open_recording, write_recording
from .demo import recording_path

PHOTOGRAPHS = 6
FEW = 5000
"""Events in the formats that are large or slow to read."""

_LEFT_OUT = shutil.ignore_patterns("node_modules", "__pycache__", ".*", "*.o", "subscriber")

_BOX = "".join(f"v {x} {y} {z}\n" for x in (0, 1) for y in (0, 1) for z in (0, 1)) + (
    "f 1 2 4 3\nf 5 6 8 7\nf 1 2 6 5\nf 3 4 8 7\nf 1 3 7 5\nf 2 4 8 6\n"
)


def lay_out(folder: str | Path) -> dict[str, str]:
    """Write the examples to a folder, which is created; returns a description of each by name.

    Raises:
        RecordingError: one of them exists, or the folder cannot be written.
    """
    folder = make_folder(folder)
    contents = {
        "lens.toml": "the calibration of the bundled recording",
        "stream": "the bundled recording, with its calibration and the true depth in it, where a checkout has it",
        "sweep.aedat4": "the same events and triggers",
        "laboratory": "a recording with its calibration and depth beside it, to train on",
        "laboratory-test": "the same again, in place of a test recording",
        "photographs": f"{PHOTOGRAPHS} images of one scene, focused from far to near",
        "edges.csv": "the recording's triggers in a separate file",
        "events.txt": "some of its events as text",
        "events.mat": "all of them for MATLAB",
        "table.h5": "all of them as a table, as v2e writes them",
        "jaer.aedat": "some of them as jAER writes them, AEDAT 2",
        "caer.aedat": "some of them as cAER writes them, AEDAT 3.1",
        "models": "a box, to drop into scenes",
        "examples": "configurations, and clients in Node and C++",
    }
    for name in contents:
        if (folder / name).exists():
            raise RecordingError(f"{folder / name}: exists; choose an empty folder")
    demo = recording_path()
    with h5py.File(demo) as file:
        lens_toml = str(file.attrs["lens_toml"])
        depth, sharp = (np.asarray(file[name], np.float32) for name in ("depth", "intensity"))
    calibration = Calibration.parse(lens_toml)
    (folder / "lens.toml").write_text(lens_toml, encoding="utf-8")
    make_folder(folder / "stream")
    shutil.copy(demo, folder / "stream" / demo.name)
    with open_recording(demo) as recording:
        size = recording.width, recording.height
        _tabulate(folder, *recording.read())
        write_recording(folder / "sweep.aedat4", recording, *size, calibration)
        for name in ("laboratory", "laboratory-test"):
            write_recording(make_folder(folder / name) / "target.h5", recording, *size)
            (folder / name / "target.toml").write_text(lens_toml, encoding="utf-8")
            np.save(folder / name / "target_depth.npy", depth)
    _photograph(folder / "photographs", sharp, depth, calibration)
    (make_folder(folder / "models") / "box.obj").write_text(_BOX)
    with as_file(files("sweepdepth") / "examples") as source:
        shutil.copytree(source, folder / "examples", ignore=_LEFT_OUT)
    return contents


def _photograph(
    folder: Path,
    sharp: np.ndarray,  # (H, W) linear, all in focus
    depth: np.ndarray,  # (H, W) metres
    calibration: Calibration,
) -> None:
    """Write a focal stack of photographs, each pixel blurred according to its depth."""
    from PIL import Image

    make_folder(folder)
    camera, lens, sweep = calibration.camera, calibration.lens, calibration.sweep
    diopters = to_diopters(depth)
    white = max(float(np.quantile(sharp, 0.99)), 1e-6)
    levels = np.arange(0, 16)
    blurred = np.stack([gaussian_filter(sharp / white, level / 2) for level in levels])  # by radius of blur
    for number, focus in enumerate(np.linspace(sweep.far_diopters, sweep.near_diopters, PHOTOGRAPHS)):
        width = blur_diameter_px(np.full_like(diopters, focus), diopters, camera.fx, lens.aperture_m)
        level = np.clip(np.rint(np.abs(width) / 2), 0, levels[-1]).astype(int)
        image = np.take_along_axis(blurred, level[None], axis=0)[0].clip(0, 1) ** (1 / 2.2)
        # Photographs have more pixels than event cameras.
        picture = Image.fromarray((255 * image).astype(np.uint8))
        picture.resize((2 * camera.width, 2 * camera.height)).save(folder / f"{number}.png")


def _tabulate(
    folder: Path,
    events: np.ndarray,  # (N,) EVENT_DTYPE
    triggers: np.ndarray,  # (M,) TRIGGER_DTYPE
) -> None:
    """The recording as other programs would have written it."""
    edges = zip(triggers["timestamp"].tolist(), triggers["edge"].tolist(), strict=True)
    (folder / "edges.csv").write_text("t_us,edge\n" + "".join(f"{t},{edge}\n" for t, edge in edges))
    columns = {name: events[name].astype(np.int64) for name in ("timestamp", "x", "y", "polarity")}
    table = np.stack(list(columns.values()), axis=1)
    savemat(folder / "events.mat", {"TD": columns})
    with h5py.File(folder / "table.h5", "w") as file:
        file["events"] = table
    np.savetxt(folder / "events.txt", table[:FEW], fmt="%d")
    t, x, y, p = table[:FEW].T
    t = t - t[0]  # their clocks have 32 bits
    words = np.stack([y << 22 | x << 12 | p << 11, t], 1).astype(">u4")
    (folder / "jaer.aedat").write_bytes(b"#!AER-DAT2.0\r\n# AEChip: DAVIS240C\r\n" + words.tobytes())
    packet = np.array([8, 0, 0, len(t), len(t), len(t)], "<i4").tobytes()
    words = np.stack([x << 17 | y << 2 | p << 1 | 1, t], 1).astype("<u4")
    head = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DAVIS240C\r\n#!END-HEADER\r\n\1\0\1\0"
    (folder / "caer.aedat").write_bytes(head + packet + words.tobytes())
