"""Blender as a library: the only place where `bpy` is imported, with its output silenced and its data freed.

Blender is global to a process: it has one open file at a time, and is used from one thread.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from ...capture.errors import SweepdepthError


class RenderError(SweepdepthError):
    """Blender is missing, or a scene cannot be rendered."""


def is_installed() -> bool:
    """Whether Blender's Python module is installed."""
    return importlib.util.find_spec("bpy") is not None


def load() -> Any:
    """Import the module `bpy`; the first call starts Blender (0.7 s).

    Raises:
        RenderError: it is not installed, or the system lacks libraries that it links to.
    """
    known = list(sys.path)
    try:
        import bpy
    except ModuleNotFoundError as error:
        if error.name != "bpy":
            raise RenderError(
                f"Blender cannot start: {error}; reinstall it: pip install 'sweepdepth[blender]'"
            ) from error
        raise RenderError("Blender is missing: pip install 'sweepdepth[blender]' (needs Python 3.11)") from error
    except ImportError as error:
        raise RenderError(f"Blender cannot start: {error}; ./run setup installs the libraries it needs") from error
    # Blender puts its scripts first, where another module `bpy` is, which child processes would import.
    sys.path.sort(key=lambda entry: entry not in known)
    return bpy


@contextmanager
def quiet() -> Iterator[None]:
    """Silence Blender, which writes to the process's standard output, bypassing Python."""
    sys.stdout.flush()
    kept = os.dup(1)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 1)
        yield
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(nowhere)


def empty_file() -> Any:
    """Start a new, empty Blender file, freeing the previous one. Returns `bpy`."""
    bpy = load()
    with quiet():
        bpy.ops.wm.read_factory_settings(use_empty=True)
    return bpy


def open_file(path: os.PathLike[str]) -> Any:
    """Open a user's Blender file with scripts and Python drivers disabled. Returns `bpy`.

    Raises:
        RenderError: it cannot be read.
    """
    bpy = empty_file()
    bpy.context.preferences.filepaths.use_scripts_auto_execute = False
    try:
        with quiet():
            bpy.ops.wm.open_mainfile(filepath=os.fspath(path), load_ui=False, use_scripts=False)
    except RuntimeError as error:
        reason = str(error).strip().removeprefix("Error: ").splitlines()[0]
        raise RenderError(f"{path}: cannot be opened as a Blender file: {reason}") from error
    return bpy
