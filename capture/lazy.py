"""Lazy imports: public names of a package that are imported on first use.

A worker process needs only one module of `cameras`, `lenses` or `recordings`, and starts faster without the others.
"""

from collections.abc import Callable, Mapping
from importlib import import_module


def lazily(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """Make `__getattr__`, `__dir__` and `__all__` of a package.

        __getattr__, __dir__, __all__ = lazily(__name__, {"Camera": ".camera"})

    Args:
        package: its full name.
        names: public names, each with its module relative to the package.
    """

    def find(name: str) -> object:
        if name in names:
            return getattr(import_module(names[name], package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find, lambda: sorted(names), list(names)
