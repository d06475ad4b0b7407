"""Code blocks of README and docs by section, and checks of commands that are not run."""

import re
import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

OUT_OF_REACH = {
    "./run": "sets up the checkout itself",
    "ssh": "another machine",
    "sudo": "the system's packages",
    "pip install": "packages of others",
    "python3 -m venv": "creates an environment",
    "docker": "Docker",
    "dask": "other machines",
    "source /opt/ros": "ROS 2",
    "python3 examples/ros2_bridge.py": "ROS 2",
    "sweepdepth live --camera dv": "a camera and a lens",
    "sweepdepth convert camera.bag": "a bag",
    "sweepdepth cameras": "a camera and a lens",
    "sweepdepth lens": "a lens",
    "sweepdepth calibrate": "a camera, a lens and a target",
    "sweepdepth synth render --scheduler": "other machines",
}
"""Beginnings of commands, or a command with an option, that are checked and not run."""


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    kind: str  # sh, python, toml
    text: str

    @property
    def commands(self) -> list[str]:
        """The commands of a shell block, with continued lines joined."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line.strip() for line in lines if shlex.split(line, comments=True)]


def blocks_of(page: Path, heading: str | None = None) -> list[Block]:
    """The blocks of a page, or of the section under one of its headings, in order."""
    text = page.read_text(encoding="utf-8")
    fences = [(match.start(), match.end()) for match in re.finditer(r"^```.*?^```", text, re.DOTALL | re.MULTILINE)]
    heads = [
        head
        for head in re.finditer(r"^#+ (.*)$", text, re.MULTILINE)
        if not any(start < head.start() < end for start, end in fences)
    ]
    if heading is not None:
        (found,) = [number for number, head in enumerate(heads) if head[1] == heading]
        text = text[heads[found].end() : heads[found + 1].start() if found + 1 < len(heads) else None]
    blocks = re.findall(r"^```(\w+)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [Block(kind, text) for kind, text in blocks]


def described(text: str) -> list[tuple[str, str]]:
    """The module and name of each object that the Python reference, or a part of it, describes."""
    found = []
    for path, options in re.findall(r"^::: ([\w.]+)\n((?: {4}.*\n)*)", text, re.MULTILINE):
        module, _, name = path.rpartition(".")
        members = re.search(r"members: \[(.*)\]", options)
        found += [(module, name)] if members is None else [(path, member) for member in members[1].split(", ")]
    return found


def name_of(words: list[str]) -> str:
    """The name of a command: `synth render` for `sweepdepth synth render --out …`; for other programs the first
    word."""
    if words[0] != "sweepdepth":
        return words[0]
    names = [word for word in words[1:3] if re.fullmatch(r"[a-z][a-z-]*", word)]
    return " ".join(names if names[:1] in (["synth"], ["keys"], ["lens"]) else names[:1])


def out_of_reach(words: list[str]) -> bool:
    return any(
        shlex.join(words).startswith(first)
        or ("--" in first and name_of(words) in first and first.split()[-1] in words)
        for first in OUT_OF_REACH
    )


def parse(words: list[str]) -> None:
    """Parse a sweepdepth command with the real command line, without calling it."""
    import typer

    from sweepdepth.cli.main import app

    command, rest = typer.main.get_command(app), words[1:]
    while hasattr(command, "commands"):
        found = command.commands.get(rest[0])  # pyright: ignore[reportAttributeAccessIssue]
        assert found is not None, f"{shlex.join(words)}: there is no {rest[0]}"
        command, rest = found, rest[1:]
    read_options(command, rest, words)


def read_options(command: Any, rest: list[str], words: list[str]) -> None:
    """Parse the options of a click command."""
    try:
        command.make_context(words[0], rest)
    except Exception as error:
        # Typer has its own copy of click, so the class of a usage error does not identify it.
        explain = getattr(error, "format_message", None)
        if explain is None:
            raise
        raise AssertionError(f"{shlex.join(words)}: {explain()}") from error


def read_only(words: list[str]) -> None:
    """Check a command that cannot be run here."""
    match words:
        case ["sweepdepth", *_]:
            parse(words)
        case ["./run", job, *rest]:
            assert re.search(rf"^{job}\)", (ROOT / "run").read_text(), re.MULTILINE), f"./run {job}"
            if job == "bench":
                check_bench(rest)
        case ["dask", job, *rest]:
            from distributed.cli import dask_scheduler, dask_worker

            read_options({"scheduler": dask_scheduler, "worker": dask_worker}[job].main, rest, words)
        case ["python3", script, *rest]:
            for option in (word for word in rest if word.startswith("--")):
                assert f'"{option}"' in (ROOT / script).read_text(), f"{script} {option}"
        case ["pip", "install", *rest]:
            for named in re.findall(r"^(?:sweepdepth|\.)\[([\w,]+)\]", "\n".join(rest), re.MULTILINE):
                assert set(named.split(",")) <= extras().keys(), named
        case ["python3", "-m", "venv", _]:
            pass
        case ["docker", *rest]:
            read_docker(rest)
        case ["ssh" | "sudo" | "source", *_]:
            pass
        case _:
            raise AssertionError(f"{shlex.join(words)}: nobody knows how to check this")


def extras() -> dict[str, list[str]]:
    """The extras of the package, and the requirements of each."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def read_docker(words: list[str]) -> None:
    """Check that the files named in a docker command exist, and that the container runs a sweepdepth command."""
    if "-f" in words:
        assert (ROOT / words[words.index("-f") + 1]).is_file(), words
    match words:
        case ["run", *rest]:
            image = next(k for k, word in enumerate(rest) if word.partition(":")[0] == "sweepdepth")
            read_only(["sweepdepth", *rest[image + 1 :]])
        case ["build", *_] | ["compose", *_]:
            pass
        case _:
            raise AssertionError(f"docker {shlex.join(words)}: nobody knows how to check this")


def check_bench(words: list[str]) -> None:
    """Check that a benchmark of this name exists, and that its source has the options."""
    if not words or words[0].isupper():
        return  # the list of them, or a word that stands for any
    name, *options = words
    source = (ROOT / "bench" / f"{name}.py").read_text() + (ROOT / "bench" / "__main__.py").read_text()
    for option in options:
        if option.startswith("--"):
            assert f'"{option}"' in source, f"./run bench {name} {option}"
