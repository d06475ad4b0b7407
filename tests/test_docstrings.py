"""Docstrings of the Python reference describe all parameters, and their examples run."""

import doctest
import inspect
import re
import shutil
from collections.abc import Iterable
from enum import Enum
from importlib import import_module
from pathlib import Path

import pytest

from sweepdepth import Calibration, open_recording, write_recording
from sweepdepth.capture.recordings import Recording
from sweepdepth.stream.demo import recording_path

from .pages import described

ROOT = Path(__file__).parents[1]
OLDER = ROOT / "tests" / "data" / "older"
FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE


def reference() -> dict[str, object]:
    """The objects that docs/api.md documents, by full name."""
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    return {f"{module}.{name}": getattr(import_module(module), name) for module, name in described(text)}


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


def classes() -> list[tuple[str, type]]:
    """The documented classes that users construct, or whose attributes they read."""
    return [
        (name, value)
        for name, value in REFERENCE.items()
        if inspect.isclass(value)
        and not issubclass(value, Enum | Exception)
        and value is not Recording  # `open_recording` makes them
    ]


def undocumented(names: Iterable[str], text: str, section: str) -> list[str]:
    """Names without an entry in a section of a docstring."""
    listed = text.partition(f"{section}:\n")[2].partition("\n\n")[0]
    return [name for name in names if not re.search(rf"^ +(\w+, )*{name}(, \w+)*:", listed, re.MULTILINE)]


@pytest.mark.parametrize("name, function", functions(), ids=[name for name, _ in functions()])
def test_functions_of_the_reference_document_parameters_and_results(name, function):
    text = inspect.getdoc(function) or ""
    signature = inspect.signature(function)
    parameters = [p for p in signature.parameters if p not in ("self", "cls")]
    assert text, f"{name} has no docstring"
    assert not undocumented(parameters, text, "Args")
    if signature.return_annotation not in (None, "None"):
        assert re.search("^(Returns|Yields):", text, re.MULTILINE)


@pytest.mark.parametrize("name, kind", classes(), ids=[name for name, _ in classes()])
def test_classes_of_the_reference_document_their_parameters(name, kind):
    text = f"{inspect.getdoc(kind)}\n\n{inspect.getdoc(kind.__init__)}"
    described = {name for name, value in getattr(kind, "model_fields", {}).items() if value.description}  # pydantic's
    parameters = [name for name in inspect.signature(kind).parameters if name not in described]
    assert not undocumented(undocumented(parameters, text, "Args"), text, "Attributes")


def test_a_missing_parameter_is_detected():
    text = "Sum.\n\nArgs:\n    a, b: numbers.\n    c: another one.\n\nReturns:\n    d: nothing."
    assert undocumented(["a", "b", "c", "d"], text, "Args") == ["d"]


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
