"""The reference of the command line equals the output of --help, which fits a terminal of 80 columns."""

import runpy
from pathlib import Path

import pytest

_writer = runpy.run_path(str(Path(__file__).parents[1] / "docs" / "commands.py"))
PAGE, commands, help_of, reference = (_writer[name] for name in ("PAGE", "commands", "help_of", "reference"))


def test_the_page_equals_the_output_of_help():
    assert PAGE.read_text(encoding="utf-8") == reference(), "run: python docs/commands.py"


@pytest.mark.parametrize(
    "words,command", list(commands()), ids=lambda value: " ".join(value) if isinstance(value, tuple) else ""
)
def test_help_fits_80_columns_and_cuts_no_word(words, command):
    text = help_of(words)
    assert max(map(len, text.splitlines())) <= 80
    whole = " ".join(text.split())
    for parameter in command.params:
        if parameter.help:
            assert " ".join(parameter.help.split()) in whole
        for option in parameter.opts if parameter.param_type_name == "option" else ():
            assert f" {option}" in whole
    for name, below in getattr(command, "commands", {}).items():
        first = below.help.split("\n\n")[0]
        assert f"{name} {' '.join(first.split())}" in whole


def test_options_stand_in_groups():
    titles = [line for line in help_of(("replay",)).splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == [
        "Arguments:",
        "Options:",
        "Stream:",
        "Depth:",
        "Sweeps and triggers:",
        "Reading files:",
        "General:",
    ]
