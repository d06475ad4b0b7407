"""Writes commands.md, the reference of the command line, from what --help prints: `python docs/commands.py`."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from typer.testing import CliRunner

from sweepdepth.cli.main import app

PAGE = Path(__file__).with_name("commands.md")

_HEAD = """# Commands

What `--help` says of each. Whatever goes wrong is one line on standard error and exit status 1 (`--debug` shows where
it came from); wrong usage exits with 2, Ctrl-C and SIGTERM with 130. A command with several inputs exits with 3 if some
of them failed and the others are written, and with 1 if nothing is. Results go to standard output, as JSON with
`--json`; progress and notes to standard error.
"""


def reference() -> str:
    """The page, in Markdown."""
    parts = [_HEAD]
    for words, _ in commands():
        text = help_of(words)
        parts.append(f"## sweepdepth {' '.join(words)}".rstrip() + f"\n\n```text\n{text}\n```\n")
    return "\n".join(parts)


def help_of(words: tuple[str, ...]) -> str:
    """What a command prints on a terminal of 80 columns."""
    text = CliRunner().invoke(app, [*words, "--help"], prog_name="sweepdepth", env={"COLUMNS": "80"}).stdout
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).strip()


def commands(command: Any = None, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The words of every command, and the command; of groups only the first."""
    command = command or typer.main.get_command(app)
    if not words or not hasattr(command, "commands"):
        yield words, command
    for name, below in getattr(command, "commands", {}).items():
        yield from commands(below, (*words, name))


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
