"""Live sources: cameras, network streams and pipes, each read by its own process, as a stream of checked batches."""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .address import CameraAddress as CameraAddress
    from .address import parse_address as parse_address
    from .camera import Camera as Camera
    from .camera import open_camera as open_camera
    from .settings import CameraSettings as CameraSettings
    from .status import CameraStatus as CameraStatus
    from .status import Gap as Gap
    from .status import Loss as Loss

__getattr__, __dir__, __all__ = lazily(  # pyright: ignore[reportUnsupportedDunderAll]
    __name__,
    {
        "Camera": ".camera",
        "CameraAddress": ".address",
        "CameraSettings": ".settings",
        "CameraStatus": ".status",
        "Gap": ".status",
        "Loss": ".status",
        "open_camera": ".camera",
        "parse_address": ".address",
    },
)
