"""Lens drivers: their protocol, the Optotune Lens Driver 4, and externally driven lenses."""

from typing import TYPE_CHECKING

from ..lazy import lazily

if TYPE_CHECKING:
    from .external import ExternalLens as ExternalLens
    from .lens import Lens as Lens
    from .lens import LensLimits as LensLimits
    from .lens import LensStatus as LensStatus
    from .make import make_lens as make_lens
    from .optotune import OptotuneLens as OptotuneLens

__getattr__, __dir__, __all__ = lazily(  # pyright: ignore[reportUnsupportedDunderAll]
    __name__,
    {
        "ExternalLens": ".external",
        "Lens": ".lens",
        "LensLimits": ".lens",
        "LensStatus": ".lens",
        "OptotuneLens": ".optotune",
        "make_lens": ".make",
    },
)
