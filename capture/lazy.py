"""Public names of a package that are imported when they are first asked for.

A worker process imports one module of `cameras`, `lenses` or `recordings` and needs none of the others, so it starts
sooner.
"""

from collections.abc import Callable, Mapping
from importlib import import_module


def lazily(
    package: str, names: Mapping[str, str]
) -> tuple[Callable[[str], object], Callable[[], list[str]], list[str]]:
    """`__getattr__`, `__dir__` and `__all__` of a package.

        __getattr__, __dir__, __all__ = lazily(__name__, {"Camera": ".camera"})

    Args:
        package: its name.
        names: the public names, and the module of each, relative to the package.
    """

    def find(name: str) -> object:
        if name in names:
            return getattr(import_module(names[name], package), name)
        raise AttributeError(f"module {package!r} has no attribute {name!r}")

    return find, lambda: sorted(names), list(names)
