"""The notebook runs, cell by cell, and displays what its text says."""

import ast
import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

NOTEBOOK = Path(__file__).parents[2] / "examples" / "first_depth.ipynb"


def run_cells(path: Path) -> dict[str, Any]:
    """Run the code cells of a notebook in one namespace; returns the displayed value of each by its id."""
    names, shown = dict[str, Any](), dict[str, Any]()
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] != "code":
            continue
        body = ast.parse("".join(cell["source"]), cell["id"]).body
        last = body.pop()
        assert isinstance(last, ast.Expr), f"{cell['id']} shows nothing"
        exec(compile(ast.Module(body, []), cell["id"], "exec"), names)
        shown[cell["id"]] = eval(compile(ast.Expression(last.value), cell["id"], "eval"), names)
    return shown


@pytest.mark.skipif(find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_the_way_from_the_bundled_recording_to_a_depth_map_runs_and_shows_pictures():
    shown = run_cells(NOTEBOOK)
    for name in ("recording", "stack", "classical", "network"):
        assert shown[name]._repr_png_().startswith(b"\x89PNG")
    assert "ms" in shown["sweep"]
    assert 0 < shown["truth"]["classical"] < 0.1
    assert 0 < shown["truth"]["network"] < 0.1


def test_the_notebook_is_kept_without_outputs():
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert notebook["nbformat"] == 4
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
