"""The point cloud of all known pixels, viewed from the camera or from anywhere else."""

import numpy as np
import viser

from ...capture.files.export import points
from ..wire.messages import DepthFrame, StreamInfo

MAX_POINTS = 80_000
"""Most points sent, at 15 bytes each per frame; more are subsampled."""

_STAND = (0.2, -0.3, -0.9)
"""Initial viewpoint, in units of the distance to the middle of the sweep: right, above and behind the camera."""

_POINT_SIZE = 0.9  # of a pixel, at the middle of the sweep


class Cloud:
    """The 3-D scene of the page, in the camera's frame: metres, x right, y down, z forward."""

    def __init__(self, server: viser.ViserServer) -> None:
        self._server = server
        self._info: StreamInfo | None = None
        server.scene.set_up_direction("-y")
        self._points: viser.PointCloudHandle | None = None

    def show(
        self,
        frame: DepthFrame,
        depth: np.ndarray,  # (H, W) metres, NaN where not shown
        colours: np.ndarray,  # (H, W, 3) uint8
    ) -> None:
        """Show the points of a depth map."""
        if frame.info != self._info:
            self._info = frame.info
            self._stand(frame.info)
        known = np.isfinite(depth)
        step = max(1, -(-np.count_nonzero(known) // MAX_POINTS))
        xyz, rgb = points(depth, frame.info.camera, step), colours[known][::step]
        if self._points is not None:
            self._points.visible = len(xyz) > 0
        if not len(xyz):
            return
        if self._points is None:
            self._points = self._server.scene.add_point_cloud(
                "/depth", xyz, rgb, precision="float32", point_shading="flat"
            )
        self._points.points, self._points.colors = xyz, rgb
        self._points.point_size = _POINT_SIZE * _middle_m(frame.info) / frame.info.camera.fx

    def _stand(self, info: StreamInfo) -> None:
        """Draw the camera, and point the view at the middle of the sweep."""
        camera, middle_m = info.camera, _middle_m(info)
        half = float(np.arctan(camera.height / 2 / camera.fy))
        self._server.scene.add_camera_frustum(
            "/camera",
            fov=2 * half,
            aspect=camera.width / camera.height,
            scale=0.03 * middle_m,
            thickness=1.0,
            thickness_units="screen",
            color=(90, 90, 90),
        )
        place, look = middle_m * np.array(_STAND), (0.0, 0.0, middle_m)
        view = self._server.initial_camera
        view.position, view.look_at, view.near = place, look, 0.01
        view.fov = float(np.clip(2.5 * half, 0.3, 1.2))
        for client in self._server.get_clients().values():
            with client.atomic():
                client.camera.position, client.camera.look_at, client.camera.fov = place, look, view.fov


def _middle_m(info: StreamInfo) -> float:
    return 2 / (info.far_diopters + info.near_diopters)
