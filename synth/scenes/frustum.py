"""View frustum of a calibrated camera: converts pixels and diopters to points in the scene."""

from dataclasses import dataclass

import numpy as np

from ...capture.calibration import Calibration
from .scene import Vector


@dataclass(frozen=True)
class Frustum:
    """The view of a calibrated camera between two inverse depths.

    Points are in the scene's frame: x right, y up, the camera at the origin looking along −z.
    """

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    far: float  # 1/m, smallest inverse depth of a scene; > 0
    near: float  # 1/m, largest inverse depth of a scene

    @classmethod
    def of(cls, calibration: Calibration, beyond: float, farthest_m: float) -> "Frustum":
        """The frustum of a calibration, with the sweep extended at both ends by `beyond` of its range, up to
        `farthest_m`."""
        c, s = calibration.camera, calibration.sweep
        slack = beyond * s.range_diopters
        far = max(s.far_diopters - slack, 1.0 / farthest_m)
        return cls(c.width, c.height, c.fx, c.fy, c.cx, c.cy, far, s.near_diopters + slack)

    @property
    def middle(self) -> float:
        """Middle of the inverse depths, 1/m."""
        return (self.far + self.near) / 2

    @property
    def range(self) -> float:
        """Range of inverse depths, 1/m."""
        return self.near - self.far

    def point(self, x: float, y: float, diopters: float) -> Vector:
        """The point seen at pixel (x, y) at an inverse depth."""
        z = 1.0 / diopters
        return ((x - self.cx) / self.fx * z, -(y - self.cy) / self.fy * z, -z)

    def metres(self, pixels: float, diopters: float) -> float:
        """Length in metres of a number of pixels at an inverse depth."""
        return pixels / self.fx / diopters

    def plane(self, left: float, right: float, top: float, bottom: float) -> tuple[np.ndarray, float]:
        """The plane with given inverse depths at the midpoints of the frame's left, right, top and bottom edges.

        A plane's inverse depth is linear over the image: 1/z = a + b·x' + c·y', with x' = X/z and y' = Y/z. The mean of
        the four is its value at the centre. Returns the unit normal towards the camera, and the plane's distance from
        the camera in metres.
        """
        centre = (left + right + top + bottom) / 4
        b = (right - left) * self.fx / self.width
        c = (bottom - top) * self.fy / self.height
        a = centre - b * (self.width / 2 - self.cx) / self.fx - c * (self.height / 2 - self.cy) / self.fy
        toward = np.array([b, -c, -a])  # points P of the plane have P · toward = 1
        length = float(np.linalg.norm(toward))
        return -toward / length, 1.0 / length
