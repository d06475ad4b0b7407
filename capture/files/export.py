"""One depth map in other formats: pictures, images of numbers, point clouds, arrays."""

from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..atomic import write_whole
from ..errors import RecordingError
from ..formats.kinds import Kind
from ..optics import undistorted

_KINDS: dict[str, Kind] = {
    ".png": "picture",
    ".tif": "picture",
    ".tiff": "picture",
    ".exr": "picture",
    ".ply": "point cloud",
    ".npy": "array",
}
STILL_SUFFIXES = tuple(_KINDS)
SUFFIXES = (".png", ".ply", ".npy")
"""Formats that the live page offers."""

MOST_MILLIMETRES = 65_535


class Pinhole(Protocol):
    """The pinhole geometry that point clouds need; a calibration's camera has it, and so does a frame's header."""

    @property
    def fx(self) -> float: ...
    @property
    def fy(self) -> float: ...
    @property
    def cx(self) -> float: ...  # pixel centres lie at +0.5
    @property
    def cy(self) -> float: ...
    @property
    def distortion(self) -> tuple[float, ...] | None: ...  # k1, k2, p1, p2, k3


def export_depth(
    path: str | Path,
    depth: np.ndarray,  # (H, W) metres, NaN where unknown
    camera: Pinhole,
    far_diopters: float,
    near_diopters: float,
    colour_map: str | None = None,
    *,
    millimetres: bool = False,
) -> None:
    """Write one depth map in the format of the suffix.

    PNG is a picture with colours uniform in diopters or, with `millimetres`, depth as 16-bit integers, 0 where unknown
    (as in ROS, REP 118). TIFF and EXR (channel Z) hold metres as 32-bit floating point, NaN where unknown. PLY is a
    binary point cloud in metres (x right, y down, z forward, as in OpenCV and ROS's optical frames) with the colours of
    the picture. NPY holds the array.

    Args:
        path: .png, .tif, .tiff, .exr, .ply or .npy.
        depth: (H, W) metres, NaN where unknown.
        camera: `fx`, `fy`, `cx`, `cy` in pixels and `distortion`: a `Calibration`'s camera, or that of a frame.
        far_diopters: 1/m at the far end of the colours.
        near_diopters: 1/m at the near end of the colours.
        colour_map: name of a matplotlib colour map; `reporting.figures.DEPTH_COLOURS` by default.
        millimetres: write a PNG of 16-bit numbers.

    Raises:
        RecordingError: another suffix, the file cannot be written, or the library that writes it is not installed.

    Examples:
        >>> from sweepdepth import read_depth_file
        >>> frames = read_depth_file("depth.h5")
        >>> sweep = frames.calibration.sweep
        >>> camera = frames.calibration.camera
        >>> export_depth("depth.png", frames.depth[0], camera, sweep.far_diopters, sweep.near_diopters)
    """
    from ..reporting.figures import DEPTH_COLOURS, depth_image

    path = Path(path)
    suffix = path.suffix.lower()
    if suffix not in _KINDS:
        raise RecordingError(
            f"{path}: one depth map can be written as {', '.join(STILL_SUFFIXES)}, not as {suffix or 'no suffix'}"
        )
    if millimetres and suffix != ".png":
        raise RecordingError(f"{path}: millimetres are for .png, whose numbers are whole; {suffix} holds metres")

    def fill(partial: Path) -> None:
        if suffix == ".exr":
            _write_exr(partial, depth)
            return
        with partial.open("wb") as file:
            if suffix in (".tif", ".tiff"):
                _image(np.asarray(depth, np.float32)).save(file, format="TIFF")
            elif suffix == ".npy":
                np.save(file, depth)
            elif millimetres:
                _image(to_millimetres(depth)).save(file, format="PNG")
            else:
                colours = depth_image(depth, far_diopters, near_diopters, colour_map or DEPTH_COLOURS)
                if suffix == ".png":
                    _image(colours).save(file, format="PNG")
                else:
                    file.write(_ply(points(depth, camera), colours[np.isfinite(depth)]))

    write_whole(path, fill, _KINDS[suffix])


def to_millimetres(depth: np.ndarray) -> np.ndarray:
    """Metres as uint16 millimetres, same shape: 0 where unknown, 65535 for that depth and beyond."""
    rounded = np.rint(1000 * np.nan_to_num(np.asarray(depth, np.float64), nan=0.0))
    return np.clip(rounded, 0, MOST_MILLIMETRES).astype(np.uint16)


def points(
    depth: np.ndarray,  # (H, W) metres along Z, NaN where unknown
    camera: Pinhole,
    step: int = 1,
) -> np.ndarray:
    """Point cloud of the pixels with known depth, or every `step`-th of them: (N, 3) float32, metres, in row order.

    The ray of pixel (x, y) is ((x + ½ − cx)/fx, (y + ½ − cy)/fy, 1), corrected for lens distortion.
    """
    at = np.flatnonzero(np.isfinite(depth))[::step]
    y, x = np.divmod(at, depth.shape[1])
    z = depth.reshape(-1)[at]
    ray_x, ray_y = undistorted((x + 0.5 - camera.cx) / camera.fx, (y + 0.5 - camera.cy) / camera.fy, camera.distortion)
    return np.stack((ray_x * z, ray_y * z, z), axis=1).astype(np.float32)


def _image(values: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(values)


def _write_exr(path: Path, depth: np.ndarray) -> None:
    try:
        import OpenEXR
    except ModuleNotFoundError as error:
        raise RecordingError("EXR needs OpenEXR: pip install 'sweepdepth[export]'") from error
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {"Z": np.ascontiguousarray(depth, np.float32)}) as file:
        file.write(str(path))


def _ply(
    xyz: np.ndarray,  # (N, 3) float32
    colours: np.ndarray,  # (N, 4) uint8
) -> bytes:
    vertex = np.dtype([("xyz", "<f4", 3), ("rgb", "u1", 3)])
    data = np.empty(len(xyz), vertex)
    data["xyz"], data["rgb"] = xyz, colours[:, :3]
    names = [f"property float {axis}" for axis in "xyz"] + [f"property uchar {c}" for c in ("red", "green", "blue")]
    head = ["ply", "format binary_little_endian 1.0", f"element vertex {len(xyz)}", *names, "end_header", ""]
    return "\n".join(head).encode() + data.tobytes()
