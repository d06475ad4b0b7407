"""Checks for optional dependencies before a command starts."""

from importlib.util import find_spec

from ..capture.errors import SweepdepthError


def require(extra: str, *modules: str) -> None:
    """Check that the modules of an extra are installed.

    Raises:
        SweepdepthError: some are missing; the message says how to install them.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise SweepdepthError(f"this needs {', '.join(missing)}: pip install 'sweepdepth[{extra}]'")
