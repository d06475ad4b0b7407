"""The imports with which the sections of the Python reference begin are those of what the sections describe."""

import ast
import re
from importlib import import_module
from typing import Any

import pytest

import sweepdepth

from .pages import ROOT, described

TEXT = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
SECTIONS = re.split(r"^## ", TEXT, flags=re.MULTILINE)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.partition("\n")[0].strip("# "))
def test_a_section_begins_with_the_imports_of_what_it_describes(section):
    code = re.findall(r"^```python\n(.*?)^```", section, re.DOTALL | re.MULTILINE)[0]
    imports: list[ast.stmt] = [node for node in ast.parse(code).body if isinstance(node, ast.ImportFrom)]
    scope: dict[str, Any] = {}
    exec(compile(ast.Module(imports, []), "api.md", "exec"), scope)
    del scope["__builtins__"]
    assert sorted(scope) == sorted(name for _, name in described(section))
    for module, name in described(section):
        assert scope[name] is getattr(import_module(module), name), name


def test_all_public_names_are_described():
    assert set(sweepdepth.__all__) - {"__version__"} <= {name for _, name in described(TEXT)}
