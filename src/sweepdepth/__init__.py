"""sweepdepth: dense metric depth from an event camera behind a focus-sweeping lens."""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .capture.calibration import Calibration as Calibration

__version__ = version("sweepdepth")

_PUBLIC = {
    "Calibration": ".capture.calibration",
}
__all__ = ["__version__", *_PUBLIC]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str) -> object:
    """Import public names when they are first asked for, so that `import sweepdepth` costs nothing."""
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
