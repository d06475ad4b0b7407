"""Writes the files used in the documentation to a folder: recordings, calibration, configurations, clients."""

import shutil
from importlib.resources import as_file, files
from pathlib import Path

import h5py
import numpy as np
from scipy.ndimage import gaussian_filter

from ..capture.atomic import make_folder
from ..capture.calibration import Calibration
from ..capture.errors import RecordingError
from ..capture.optics import blur_diameter_px, to_diopters
from ..capture.recordings import open_recording, write_recording
from .demo import recording_path

PHOTOGRAPHS = 6
_LEFT_OUT = shutil.ignore_patterns("node_modules", "__pycache__", ".*", "*.o", "subscriber")


def lay_out(folder: str | Path) -> dict[str, str]:
    """Write the examples to a folder, which is created; returns a description of each by name.

    Raises:
        RecordingError: one of them exists, or the folder cannot be written.
    """
    folder = make_folder(folder)
    contents = {
        "lens.toml": "the calibration of the bundled recording",
        "sweep.h5": "the bundled recording, with its calibration and the true depth in it",
        "sweep.aedat4": "the same events and triggers",
        "stream": "the same recording, at its path in a checkout",
        "laboratory": "a recording with its calibration and depth beside it, to train on",
        "laboratory-test": "the same again, in place of a test recording",
        "photographs": f"{PHOTOGRAPHS} images of one scene, focused from far to near",
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
    shutil.copy(demo, folder / "sweep.h5")
    make_folder(folder / "stream")
    shutil.copy(demo, folder / "stream" / demo.name)
    with open_recording(demo) as recording:
        size = recording.width, recording.height
        write_recording(folder / "sweep.aedat4", recording, *size, calibration)
        for name in ("laboratory", "laboratory-test"):
            write_recording(make_folder(folder / name) / "target.h5", recording, *size)
            (folder / name / "target.toml").write_text(lens_toml, encoding="utf-8")
            np.save(folder / name / "target_depth.npy", depth)
    _photograph(folder / "photographs", sharp, depth, calibration)
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
