"""What a command needs besides the core, said before it does anything."""

from importlib.util import find_spec

from ..capture.errors import SweepdepthError


def require(extra: str, *modules: str) -> None:
    """Find out whether the modules of an extra are there.

    Raises:
        SweepdepthError: some are not; the message says how to install them.
    """
    missing = [module for module in modules if find_spec(module) is None]
    if missing:
        raise SweepdepthError(f"this needs {', '.join(missing)}: pip install 'sweepdepth[{extra}]'")
