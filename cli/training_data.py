"""Training data of `train`: what --data names, as sources of samples."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from .output import progress_bar, say

if TYPE_CHECKING:
    from ..net.representation import EvidenceRepresentation, Representation
    from ..net.training import SweepSource


def find_training_data(
    folders: list[Path], shown: "Representation | EvidenceRepresentation", as_recorded: bool
) -> tuple[list["SweepSource"], int]:
    """The sources of samples, ideal focal stacks if a dataset has them, else recordings; and the number of recordings
    that could not be read.

    Args:
        folders: datasets, packs, or folders of recordings with depth; one that is repeated has more weight.
        shown: the network's input.
        as_recorded: use a dataset's recordings even if it has ideal focal stacks.

    Raises:
        RecordingError: a folder holds no training data, or lacks photographs that the network needs.
    """
    sources: list[SweepSource] = []
    unread = 0
    for folder, times in Counter(folders).items():
        ideal = not as_recorded and _has_ideal_stacks(folder)
        found, skipped = (_resimulated(folder, shown), 0) if ideal else _recorded(folder, shown)
        sources += times * found
        unread += skipped
    return sources, unread


def describe_training_data(folders: list[Path]) -> dict[str, str]:
    """Descriptions of the training datasets by name, stored in the weights."""
    from ..capture.files.dataset import MANIFEST, open_dataset

    found = {}
    for folder in folders:
        if (folder / MANIFEST).exists():
            dataset = open_dataset(folder)
            found[folder.name] = f"seed {dataset.manifest.seed}, {len(dataset.indices):,} scenes"
        else:
            found[folder.name] = "recordings with their depth" if folder.is_dir() else _describe_file(folder)
    return found


def _describe_file(path: Path) -> str:
    from ..capture.files.stack_pack import StackPack

    return f"{len(StackPack(path)):,} packed scenes" if _is_pack(path) else "one file"


def _resimulated(folder: Path, shown: "Representation | EvidenceRepresentation") -> list["SweepSource"]:
    """Sources that simulate new sweeps from the focal stacks of a dataset or a pack."""
    from ..capture.errors import RecordingError
    from ..capture.files.dataset import open_dataset
    from ..capture.files.stack_pack import StackPack
    from ..net.training import SweepSource, images_wanted
    from ..synth.resimulate import lively, load_ideal_scenes, load_packed_scenes, resimulated

    with progress_bar("reading", None, "scenes") as advance:
        if _is_pack(folder):
            there, remedy = load_packed_scenes(folder, advance), "a pack has none: use its dataset"
            rendered = not StackPack(folder).patches
        else:
            there, remedy = load_ideal_scenes(folder, advance), "render with intensity.photographs = true"
            rendered = open_dataset(folder).manifest.configuration.get("render") != "patches"
    scenes = lively(there)
    frames, photographs = images_wanted(shown)
    if missing := next((n for n in photographs for scene in scenes if n not in scene.photographs), None):
        raise RecordingError(f"{folder}: holds no photographs {missing!r}; {remedy}")
    drawn = resimulated(scenes, frames=frames, photographs=photographs)
    say(f"{folder}: {len(scenes):,} scenes with resimulated sweeps")
    if len(scenes) < len(there):
        say(f"{folder}: {len(there) - len(scenes):,} more are skipped, since their brightness hardly changes")
    return [
        SweepSource(f"{folder}/{scene.name}", draw, validates=rendered, renewed=True)
        for scene, draw in zip(scenes, drawn, strict=True)
    ]


def _recorded(folder: Path, shown: "Representation | EvidenceRepresentation") -> tuple[list["SweepSource"], int]:
    """Sources that give the sweeps of a folder's recordings, and how many of these could not be read."""
    from ..net.cases import find_sources
    from ..net.training import load_cases, recorded

    files, skipped = find_sources(folder), list[str]()
    with progress_bar("reading", len(files), "recordings") as advance:
        cases = load_cases(
            files,
            shown,
            on_source=advance,
            on_skip=lambda source, reason: skipped.append(f"skipped {source.name}: {reason}"),
        )
    for line in skipped:
        say(line)
    say(f"{folder}: {len(cases):,} sweeps of {len(files) - len(skipped):,} recordings")
    return recorded(cases), len(skipped)


def _has_ideal_stacks(folder: Path) -> bool:
    """Whether a folder is a dataset whose focal stacks are free of noise, or a pack of those."""
    from ..capture.files.dataset import MANIFEST, open_dataset

    if _is_pack(folder):
        return True
    if not (folder / MANIFEST).exists():
        return False
    intensity = open_dataset(folder).manifest.configuration.get("intensity", {})
    return bool(intensity.get("frames")) and not intensity.get("noise", True)


def _is_pack(path: Path) -> bool:
    from ..capture.files.stack_pack import SUFFIX

    return path.suffix == SUFFIX and path.is_file()
