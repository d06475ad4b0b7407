"""Drivers of focus-sweeping lenses: one protocol, the Optotune Lens Driver 4, and lenses that something else drives."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .external import ExternalLens as ExternalLens
    from .lens import Lens as Lens
    from .lens import LensLimits as LensLimits
    from .lens import LensStatus as LensStatus
    from .make import make_lens as make_lens
    from .optotune import OptotuneLens as OptotuneLens

_PUBLIC = {
    "ExternalLens": ".external",
    "Lens": ".lens",
    "LensLimits": ".lens",
    "LensStatus": ".lens",
    "OptotuneLens": ".optotune",
    "make_lens": ".make",
}
__all__ = [*_PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Import public names when they are first asked for: the keeper's process needs none of them."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
