"""Installed packages: the requirements of sweepdepth, and links to them for another environment."""

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(extras: set[str]) -> dict[str, str]:
    """All direct and indirect requirements of the installed project, with their installed versions."""
    found: dict[str, str] = {}
    waiting = [("sweepdepth", frozenset(extras))]
    seen = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        try:
            there = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue  # for another system, or an extra that is not installed
        found[canonicalize_name(name)] = there.version.partition("+")[0]  # a build for CPUs alone is the same version
        for text in there.requires or ():
            need = Requirement(text)
            if need.marker is None or any(need.marker.evaluate({"extra": extra}) for extra in wanted or {""}):
                waiting.append((need.name, frozenset(need.extras) | frozenset({""})))
    found.pop("sweepdepth")
    return found


def make_python(folder: Path) -> None:
    """A Python with pip alone. The setuptools that `venv` adds before 3.12 are too old for torch, and where pip has no
    index it cannot bring newer ones; they come with what needs them."""
    subprocess.run([os.path.realpath(sys.executable), "-m", "venv", folder], check=True)
    remove = ["-m", "pip", "uninstall", "--quiet", "--disable-pip-version-check", "--yes", "setuptools"]
    subprocess.run([folder / "bin" / "python", *remove], check=True, stderr=subprocess.DEVNULL)


def link_needed(folder: Path, extras: set[str]) -> None:
    """Fill a site-packages folder with links to all requirements of sweepdepth with these extras, and nothing else."""
    folder.mkdir(exist_ok=True)
    for name in needed({"", *extras}):
        there = metadata.distribution(name)
        for top in {file.parts[0] for file in there.files or ()} - {"..", "__pycache__"}:
            link = folder / top
            if not link.exists() and not link.is_symlink() and not top.endswith(".pth"):
                link.symlink_to(Path(str(there.locate_file(top))))
