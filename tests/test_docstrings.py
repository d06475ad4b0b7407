"""Docstrings of the Python reference describe all parameters, and their examples run."""

import doctest
import inspect
import re
import shutil
from importlib import import_module
from pathlib import Path

import pytest

from sweepdepth import Calibration, open_recording, write_recording
from sweepdepth.stream.demo import recording_path

ROOT = Path(__file__).parents[1]
OLDER = ROOT / "tests" / "data" / "older"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def reference() -> dict[str, object]:
    """The objects that docs/api.md documents, by full name."""
    found = {}
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    for name, options in re.findall(r"^::: (\S+)\n((?: .*\n)*)", text, re.MULTILINE):
        members = re.search(r"members: \[(.*)\]", options)
        try:
            module = import_module(name)
        except ModuleNotFoundError:
            place, _, member = name.rpartition(".")
            found[name] = getattr(import_module(place), member)
            continue
        for member in members[1].split(", ") if members else vars(module):
            value = getattr(module, member)
            if members or (not member.startswith("_") and getattr(value, "__module__", None) == name):
                found[f"{name}.{member}"] = value
    return found


REFERENCE = {name: value for name, value in reference().items() if inspect.isclass(value) or inspect.isfunction(value)}


def functions() -> list[tuple[str, object]]:
    """The documented functions, and the documented methods of the documented classes."""
    found: list[tuple[str, object]] = []
    for name, value in REFERENCE.items():
        if inspect.isfunction(value):
            found.append((name, value))
        else:
            found += [
                (f"{name}.{method}", getattr(value, method))
                for method, member in vars(value).items()
                if (not method.startswith("_") and isinstance(member, (classmethod, staticmethod)))
                or (inspect.isfunction(member) and not method.startswith("_"))
            ]
    return found


@pytest.mark.parametrize("name, function", functions(), ids=[name for name, _ in functions()])
def test_functions_of_the_reference_document_their_parameters(name, function):
    text = inspect.getdoc(function) or ""
    taken = [p for p in inspect.signature(function).parameters if p not in ("self", "cls")]
    assert text, f"{name} has no docstring"
    if taken:
        assert "Args:" in text, f"{name} does not say what it takes"
        listed = text.partition("Args:")[2].partition("\n\n")[0]
        missing = [p for p in taken if not re.search(rf"^ +(\w+, )*{p}(, \w+)*:", listed, re.MULTILINE)]
        assert not missing, f"{name} does not say what {', '.join(missing)} is"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Files that the examples assume: a recording, calibrations, a depth file and a dataset."""
    folder = tmp_path_factory.mktemp("examples")
    with open_recording(recording_path()) as recording:
        calibration = recording.calibration
        assert calibration is not None
        write_recording(folder / "sweep.aedat4", recording, recording.width, recording.height, calibration)
    (folder / "lens.toml").write_text(calibration.to_toml())
    shutil.copy(OLDER / "lens.toml", folder / "small.toml")
    shutil.copy(OLDER / "depth.h5", folder)
    shutil.copytree(OLDER / "dataset", folder / "dataset")
    assert Calibration.load(folder / "small.toml").camera.width == 48
    return folder


MODULES = sorted({value.__module__ for value in REFERENCE.values()})  # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_docstrings_run(name, folder, monkeypatch):
    monkeypatch.chdir(folder)
    results = doctest.testmod(import_module(name), optionflags=FLAGS)
    assert results.failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder()
    tests = [test for name in MODULES for test in finder.find(import_module(name))]
    assert sum(len(test.examples) > 0 for test in tests) >= 15
