"""Live sources: cameras, network streams and pipes, each in a process of its own, as one stream of checked batches."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .address import CameraAddress as CameraAddress
    from .address import parse_address as parse_address
    from .camera import Camera as Camera
    from .camera import open_camera as open_camera
    from .settings import CameraSettings as CameraSettings
    from .status import CameraStatus as CameraStatus
    from .status import Gap as Gap
    from .status import Loss as Loss

_PUBLIC = {
    "Camera": ".camera",
    "CameraAddress": ".address",
    "CameraSettings": ".settings",
    "CameraStatus": ".status",
    "Gap": ".status",
    "Loss": ".status",
    "open_camera": ".camera",
    "parse_address": ".address",
}
__all__ = [*_PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Import public names when they are first asked for: a worker process needs none of them, and starts sooner."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
