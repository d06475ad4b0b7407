"""What is installed here: what an installation of sweepdepth needs of it, and the same by links for another one."""

from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def needed(extras: set[str]) -> dict[str, str]:
    """All that the installed project needs, and all that these need in turn, with the versions installed."""
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


def link_needed(folder: Path, extras: set[str]) -> None:
    """Fill a folder of packages with links to all that sweepdepth with these extras needs, and nothing else."""
    folder.mkdir(exist_ok=True)
    for name in needed({"", *extras}):
        there = metadata.distribution(name)
        for top in {file.parts[0] for file in there.files or ()} - {"..", "__pycache__"}:
            link = folder / top
            if not link.exists() and not link.is_symlink() and not top.endswith(".pth"):
                link.symlink_to(Path(str(there.locate_file(top))))
