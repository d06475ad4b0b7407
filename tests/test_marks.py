"""The marks that `./run test --quick` goes by are put on files that exist."""

from pathlib import Path

from .conftest import BLENDER_FILES, FAULT_FOLDERS, SLOW_FILES, SLOW_FOLDERS


def test_every_marked_file_and_folder_exists():
    here = Path(__file__).parent
    for name in SLOW_FILES | BLENDER_FILES:
        assert list(here.rglob(f"{name}.py")), name
    for name in SLOW_FOLDERS | FAULT_FOLDERS:
        assert (here / name).is_dir(), name
