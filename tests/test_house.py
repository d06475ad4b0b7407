"""Rules of the layout: which folders and modules may import which."""

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "capture": set(),
    "synth": {"capture"},
    "net": {"capture"},
    "stream": {"capture", "net"},
    "cli": {"capture", "synth", "net", "stream"},
}
LAYERS = {
    "capture": (
        "closing errors events findings lazy optics validation",
        "calibration child formats",
        "atomic sensor_window sources sweeps",
        "lenses recordings reporting tracking",
        "cameras disturbances stack",
        "files target_calibration",
    ),
    "synth": (
        "optics scenes sensor",
        "blender patches simulate",
        "generation photographs",
        "resimulate",
    ),
    "net": (
        "blur breathing evidence_kernel exported_graph lag metrics",
        "evidence",
        "distribution motion representation",
        "architecture estimate",
        "cases evidence_net fill polarity unet",
        "evaluation weights",
        "engines",
        "network",
        "fusion training",
        "estimators",
    ),
    "stream": (
        "binner follower overload pacing wire",
        "intake telemetry listening",
        "pipeline",
        "run_options",
        "metrics outputs",
        "live replay",
        "demo frames loop replays view",
        "examples installation",
    ),
    "cli": (
        "extras help interruption output training_options",
        "options training_data",
        "calibrate convert doctor evaluation examples info keys lens listen live new_lens replay",
        "synth train view weights",
        "demo",
        "main",
    ),
}
"""The subfolders and modules of each folder, in rows; each may import only from the rows above its own."""


def modules(folder: str) -> dict[str, Path]:
    """Modules of a top-level folder by name, such as capture.stack.kernel, including packages."""
    found = {}
    for path in (ROOT / folder).rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(name: str, path: Path, *, at_run_time: bool = False) -> Iterator[str]:
    """Everything that a module imports from sweepdepth, also within functions, such as capture.stack.kernel.accumulate.

    Args:
        at_run_time: leave out imports for type checking.
    """
    package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    waiting: list[ast.AST] = [ast.parse(path.read_text())]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef) and node.name == "_repr_png_":
            continue  # imports the drawing code when a notebook displays the object
        if at_run_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        waiting += ast.iter_child_nodes(node)
        names = [alias.name for alias in getattr(node, "names", ())] if isinstance(node, ast.ImportFrom) else []
        if isinstance(node, ast.ImportFrom) and node.level:
            base = [*package[: len(package) - node.level + 1], *([node.module] if node.module else [])]
            yield from (".".join([*base, n]) for n in names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("sweepdepth."):
            yield from (f"{node.module}.{n}".removeprefix("sweepdepth.") for n in names)
        elif isinstance(node, ast.Import):
            yield from (a.name.removeprefix("sweepdepth.") for a in node.names if a.name.startswith("sweepdepth."))


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_follow_the_arrows(folder):
    for name, path in modules(folder).items():
        forbidden = {other.split(".")[0] for other in imported(name, path)} & MAY_IMPORT.keys()
        forbidden -= MAY_IMPORT[folder] | {folder}
        assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}"


@pytest.mark.parametrize("folder", LAYERS)
def test_imports_inside_a_folder_follow_the_arrows(folder):
    row = {part: number for number, parts in enumerate(LAYERS[folder]) for part in parts.split()}
    inside = {name.split(".")[1] for name in modules(folder) if "." in name}
    assert inside == set(row), "a folder or module without a place in LAYERS, or a place without one"
    for name, path in modules(folder).items():
        if name == folder:
            continue
        own = name.split(".")[1]
        for other in imported(name, path):
            parts = other.split(".")
            if parts[0] == folder and parts[1:2] != [own]:
                assert row[parts[1]] < row[own], (
                    f"{path.relative_to(ROOT)} imports {other}, which does not lie above it"
                )


def test_no_modules_import_each_other():
    known = {name: path for folder in MAY_IMPORT for name, path in modules(folder).items()}
    needs = {
        name: {
            other if other in known else other.rpartition(".")[0] for other in imported(name, path, at_run_time=True)
        }
        - {name}
        for name, path in known.items()
    }
    TopologicalSorter(needs).prepare()  # raises CycleError


def test_blender_is_imported_in_one_place():
    places = [p for f in MAY_IMPORT for p in (ROOT / f).rglob("*.py") if "import bpy" in p.read_text()]
    assert [str(p.relative_to(ROOT)) for p in places] == ["synth/blender/session.py"]


def test_every_folder_is_linked_into_the_package():
    for folder in MAY_IMPORT:
        link = ROOT / "src" / "sweepdepth" / folder
        assert link.is_symlink()
        assert link.resolve() == ROOT / folder
