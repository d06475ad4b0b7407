"""Depth files in other formats: pictures, point clouds, arrays."""

from pathlib import Path
from typing import Protocol

import numpy as np

from .errors import RecordingError
from .optics import undistorted
from .recordings.atomic import PartialFile
from .recordings.kinds import Kind

_KINDS: dict[str, Kind] = {".png": "picture", ".ply": "point cloud", ".npy": "array"}
SUFFIXES = tuple(_KINDS)


class Pinhole(Protocol):
    """What points need of a camera: a calibration has it, and so has the header of a frame."""

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
) -> None:
    """Write one depth map; the suffix picks the format.

    PNG is a picture, coloured evenly in diopters (in `colour_map`, or that of all our pictures); PLY a binary point
    cloud in metres (x right, y down, z forward, as OpenCV and ROS's optical frames have it) with the same colours; NPY
    the array itself.

    Raises:
        RecordingError: the suffix is none of these, or the file cannot be written.
    """
    from .pictures import DEPTH_COLOURS, depth_image

    path = Path(path)
    colours = depth_image(depth, far_diopters, near_diopters, colour_map or DEPTH_COLOURS)
    partial = PartialFile(path, force=True, kind=_KINDS.get(path.suffix))
    try:
        with partial.path.open("wb") as file:
            if path.suffix == ".png":
                from matplotlib.image import imsave

                imsave(file, colours, format="png")
            elif path.suffix == ".ply":
                file.write(_ply(points(depth, camera), colours[np.isfinite(depth)]))
            elif path.suffix == ".npy":
                np.save(file, depth)
            else:
                raise RecordingError(f"{path}: depth can be written as {', '.join(SUFFIXES)}, not as {path.suffix!r}")
        partial.commit()
    except OSError as error:
        raise RecordingError(f"{path}: cannot be written: {error.strerror or error}") from error
    finally:
        partial.discard()


def points(
    depth: np.ndarray,  # (H, W) metres along Z, NaN where unknown
    camera: Pinhole,
) -> np.ndarray:
    """(N, 3) float32 points in metres of the known pixels, in row order.

    The ray of pixel (x, y) is ((x + ½ − cx)/fx, (y + ½ − cy)/fy, 1), with the lens's distortion undone.
    """
    y, x = np.nonzero(np.isfinite(depth))
    z = depth[y, x]
    ray_x, ray_y = undistorted((x + 0.5 - camera.cx) / camera.fx, (y + 0.5 - camera.cy) / camera.fy, camera.distortion)
    return np.stack((ray_x * z, ray_y * z, z), axis=1).astype(np.float32)


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
