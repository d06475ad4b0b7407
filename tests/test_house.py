"""The rules of the house: which folder may import which."""

import ast
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


def imported_folders(path: Path) -> set[str]:
    """Our top-level folders that a module imports, at any depth of its code."""
    depth = len(path.relative_to(ROOT).parts)
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level == depth and node.module:
            found.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == depth:
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and (node.module or "").startswith("sweepdepth."):
            found.add((node.module or "").split(".")[1])
        elif isinstance(node, ast.Import):
            found |= {a.name.split(".")[1] for a in node.names if a.name.startswith("sweepdepth.")}
    return found & MAY_IMPORT.keys()


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_imports_follow_the_arrows(folder):
    for path in (ROOT / folder).rglob("*.py"):
        strangers = imported_folders(path) - MAY_IMPORT[folder] - {folder}
        assert not strangers, f"{path.relative_to(ROOT)} imports {sorted(strangers)}"


def test_blender_is_imported_in_one_place():
    places = [p for f in MAY_IMPORT for p in (ROOT / f).rglob("*.py") if "import bpy" in p.read_text()]
    assert [str(p.relative_to(ROOT)) for p in places] == ["synth/blender/session.py"]


def test_every_folder_is_linked_into_the_package():
    for folder in MAY_IMPORT:
        link = ROOT / "src" / "sweepdepth" / folder
        assert link.is_symlink()
        assert link.resolve() == ROOT / folder
