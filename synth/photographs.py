"""Real photographs as a focal stack: from a folder of images at different focus to events of a whole sweep.

Images are used in natural order of their names; the first is the far end of the sweep, the last the near end, and the
others are evenly spaced in diopters between. Otherwise, a file `focus.toml` beside them lists the images and the focus
of each in 1/m:

    [diopters]
    "board_a.jpg" = 0.5
    "board_b.jpg" = 1.1

Eight-bit images are taken as sRGB (IEC 61966-2-1), decoded to linear light and converted to Rec. 709 luminance.
One-channel 16-bit and floating-point images are taken as linear, with white at the largest possible value, or 1.

Between the planes, each pixel's log radiance is interpolated over diopters by a monotone cubic (Fritsch and Butland
1984): log radiance because the sensor responds to it; smooth, so that planes cause no bursts of events; monotone, so
that extrema occur only at planes, where a pixel is sharpest and the event rate has a minimum. Details that are sharp
only between two planes are not reproduced.
"""

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator

from ..capture.calibration import Calibration
from ..capture.errors import RecordingError
from .sensor import Sensor
from .simulate import SimulatedRecording, focus_steps, simulate_sweeps

SIDECAR = "focus.toml"
SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp", ".webp")
_STEPS_PER_PLANE = 16  # least number of images between two photographs
_BLACK = 1e-3  # lower bound relative to white, about one step of eight-bit sRGB, for the logarithm
_BAND_ROWS = 32


def find_photographs(folder: str | Path) -> list[Path]:
    """The images of a folder in order of focus: those in its `focus.toml`, or else all by name.

    Raises:
        RecordingError: it is not a folder, or has fewer than two images.
    """
    folder = Path(folder)
    named = _read_sidecar(folder)
    try:
        found = [path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES]
    except OSError as error:
        raise RecordingError(f"{folder}: cannot be read as a folder of images: {error.strerror or error}") from error
    paths = (
        sorted(found, key=_natural)
        if named is None
        else [folder / name for name in sorted(named, key=named.__getitem__)]
    )
    if len(paths) < 2:
        raise RecordingError(
            f"{folder}: holds {len(paths)} images; a focal stack needs at least 2 ({', '.join(SUFFIXES)})"
        )
    return paths


def plane_diopters(photographs: Sequence[str | Path], calibration: Calibration) -> np.ndarray:
    """Focus of each photograph in 1/m, (N,): from `focus.toml` beside the first, or else evenly spaced over the sweep.

    Raises:
        RecordingError: the file does not name a photograph, or its planes do not cover the sweep.
    """
    sweep = calibration.sweep
    folder = Path(photographs[0]).parent
    named = _read_sidecar(folder)
    if named is None:
        return np.linspace(sweep.far_diopters, sweep.near_diopters, len(photographs))
    missing = [Path(path).name for path in photographs if Path(path).name not in named]
    if missing:
        raise RecordingError(f"{folder / SIDECAR}: does not name {missing[0]}; give its focus in 1/m under [diopters]")
    planes = np.array([named[Path(path).name] for path in photographs])
    if np.any(np.diff(planes) <= 0):
        raise RecordingError(
            f"{folder / SIDECAR}: photographs must come from far to near, each nearer than the one before"
        )
    if planes[0] > sweep.far_diopters or planes[-1] < sweep.near_diopters:
        raise RecordingError(
            f"{folder / SIDECAR}: the planes go from {planes[0]:g} to {planes[-1]:g} 1/m, the sweep from "
            f"{sweep.far_diopters:g} to {sweep.near_diopters:g}; narrow sweep.far_diopters and sweep.near_diopters"
        )
    return planes


def read_photograph(path: str | Path, width: int, height: int) -> np.ndarray:
    """Read an image as (height, width) float32 linear luminance, cropped at the centre to the aspect ratio and
    downsampled.

    Raises:
        RecordingError: it cannot be read, or is smaller than the sensor.
    """
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            light = _luminance(image)
    except UnidentifiedImageError as error:
        raise RecordingError(f"{path}: is not an image that can be read") from error
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read as an image: {error.strerror or error}") from error
    rows, columns = light.shape
    if rows < height or columns < width:
        raise RecordingError(f"{path}: has {columns}×{rows} pixels, fewer than the sensor's {width}×{height}")
    scale = min(columns / width, rows / height)
    left, top = (columns - scale * width) / 2, (rows - scale * height) / 2
    box = (left, top, left + scale * width, top + scale * height)
    return np.asarray(Image.fromarray(light).resize((width, height), Image.Resampling.BOX, box=box), np.float32)


def interpolate_planes(
    planes: np.ndarray,  # (N, H, W) float32, linear
    plane_focus: np.ndarray,  # (N,) 1/m, rising
    focus: np.ndarray,  # (S,) 1/m, within the planes
) -> np.ndarray:  # (S, H, W) float32, linear
    """Interpolate images between the planes; see the module."""
    logarithm = np.log(np.maximum(planes, _BLACK))
    out = np.empty((len(focus), *planes.shape[1:]), np.float32)
    for row in range(0, planes.shape[1], _BAND_ROWS):  # in bands, to limit memory
        band = PchipInterpolator(plane_focus, logarithm[:, row : row + _BAND_ROWS], axis=0)(focus)
        out[:, row : row + _BAND_ROWS] = np.exp(band)
    return out


def simulate_photographs(
    photographs: Sequence[str | Path],  # from far to near
    calibration: Calibration,
    sensor: Sensor,
    *,
    sweeps: int = 4,
    seed: int = 0,
    light: float = 1.0,
) -> SimulatedRecording:
    """Simulate the event recording of a sweep through a focal stack of photographs.

    Args:
        photographs: paths of images, from far to near; a `focus.toml` beside the first may give their focus in 1/m.
        calibration: of the camera and lens; images are cropped and scaled to its sensor.
        sensor: constants of the event sensor.
        sweeps: number of passes to record.
        seed: of noise and pixel mismatch.
        light: light on the chip, relative to full light.

    Returns:
        The events and triggers of the recording.

    Raises:
        RecordingError: a photograph or `focus.toml` is invalid.
    """
    camera = calibration.camera
    focus_of_planes = plane_diopters(photographs, calibration)
    planes = np.stack([read_photograph(path, camera.width, camera.height) for path in photographs])
    focus = focus_steps(calibration)
    fewest = _STEPS_PER_PLANE * (len(photographs) - 1)
    if len(focus) <= fewest:
        focus = calibration.focus_at(np.linspace(0, 1, fewest + 1))
    stack = interpolate_planes(planes, focus_of_planes, focus)
    return simulate_sweeps(stack, calibration, sensor, sweeps=sweeps, seed=seed, light=light)


def _read_sidecar(folder: Path) -> dict[str, float] | None:
    path = folder / SIDECAR
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))["diopters"]
        return {str(name): float(diopters) for name, diopters in values.items()}
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RecordingError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (ValueError, KeyError, AttributeError, TypeError) as error:
        raise RecordingError(f'{path}: expected a table [diopters] with lines like "image.jpg" = 0.5') from error


def _luminance(image: Any) -> np.ndarray:
    """Convert an image to luminance, (H, W) float32, linear, white is 1."""
    if image.mode.startswith("I"):
        return np.asarray(image, np.float32) / np.float32(65535)
    if image.mode == "F":
        return np.asarray(image, np.float32)
    srgb = np.asarray(image.convert("RGB"), np.float32) / np.float32(255)
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return (linear @ np.array([0.2126, 0.7152, 0.0722])).astype(np.float32)


def _natural(path: Path) -> list[Any]:
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", path.name)]
