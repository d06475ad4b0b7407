"""`./run bench NAME --page F.html`: a benchmark's output as an HTML page, with data of the machine.

Benchmarks need no changes for this: rich and Markdown tables are captured as they are printed.
"""

import contextlib
import importlib.metadata
import os
import platform
import re
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sweepdepth.capture.reporting import html

PACKAGES = ("sweepdepth", "numpy", "numba", "h5py", "dv-processing", "pyzmq", "torch", "openvino", "bpy")
_RULE = re.compile(r"^\|(\s*:?-+:?\s*\|)+$")


@dataclass(frozen=True)
class Printed:
    """A table as text."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def from_rich(table: Table) -> Printed:
    """The cells of a rich table, without colours."""

    def plain(cell: Any) -> str:
        return Text.from_markup(cell).plain if isinstance(cell, str) else str(cell)

    columns = [[plain(cell) for cell in column.cells] for column in table.columns]
    title = "" if table.title is None else plain(table.title)
    return Printed(title, tuple(plain(c.header) for c in table.columns), tuple(zip(*columns, strict=True)))


def from_markdown(lines: list[str]) -> Printed:
    """The cells of a Markdown table: header, separator, rows."""

    def cells(line: str) -> list[str]:
        return [cell.strip().replace("**", "").replace("`", "") for cell in line.strip().strip("|").split("|")]

    columns = cells(lines[0])
    rows = [cells(line) for line in lines[2:]]
    width = len(columns)
    return Printed("", tuple(columns), tuple(tuple((row + [""] * width)[:width]) for row in rows))


@dataclass
class Caught:
    """The printed output in order: tables, and text between them."""

    parts: list[Printed | str] = field(default_factory=list)
    _text: list[str] = field(default_factory=list)

    def write(self, text: str) -> None:
        self._text.append(text)

    def add(self, table: Printed) -> None:
        self.settle()
        self.parts.append(table)

    def settle(self) -> None:
        """Split the text so far into Markdown tables and other text."""
        lines = "".join(self._text).split("\n")
        self._text.clear()
        rest: list[str] = []

        def keep() -> None:
            text = "\n".join(rest).strip("\n")
            if text:
                self.parts.append(text)
            rest.clear()

        at = 0
        while at < len(lines):
            if lines[at].startswith("|") and at + 1 < len(lines) and _RULE.match(lines[at + 1].strip()):
                end = at
                while end < len(lines) and lines[end].startswith("|"):
                    end += 1
                keep()
                self.parts.append(from_markdown(lines[at:end]))
                at = end
            else:
                rest.append(lines[at].split("\r")[-1])
                at += 1
        keep()


class _Tee:
    """Standard output with capture, except while a rich console prints, whose objects are captured directly."""

    def __init__(self, stream: TextIO, caught: Caught) -> None:
        self._stream, self._caught, self.muted = stream, caught, False

    def write(self, text: str) -> int:
        if not self.muted:
            self._caught.write(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def catching(caught: Caught) -> Iterator[None]:
    """Context in which standard output is captured as well."""
    stdout, plain_print = sys.stdout, Console.print
    tee = _Tee(stdout, caught)

    def print_and_catch(console: Console, *objects: Any, **options: Any) -> None:
        # Print normally, and capture the cells of tables, independent of the width.
        if console.stderr or console.file not in (tee, stdout):
            plain_print(console, *objects, **options)
            return
        for thing in objects:
            if isinstance(thing, Table):
                caught.add(from_rich(thing))
            elif isinstance(thing, str):
                caught.write(Text.from_markup(thing).plain + "\n")
        tee.muted = True
        try:
            plain_print(console, *objects, **options)
        finally:
            tee.muted = False

    sys.stdout, Console.print = tee, print_and_catch  # pyright: ignore[reportAttributeAccessIssue]
    try:
        yield
    finally:
        sys.stdout, Console.print = stdout, plain_print
        caught.settle()


def machine() -> dict[str, str]:
    """Hardware and software that results depend on."""
    found = {"machine": f"{_processor()}, {_cores()} cores to use, {_memory_gb():.0f} GB of memory"}
    gpus = _gpus()
    if gpus:
        found["GPU"] = gpus
    found["system"] = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    versions = []
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    found["versions"] = ", ".join(versions)
    return found


def load() -> str:
    """The system's load averages."""
    one, five, _ = os.getloadavg()
    return f"{one:.1f} in the last minute, {five:.1f} in the last five; {_cores()} cores"


def write_page(target: Path, name: str, about: str, command: str, caught: Caught, before: str, seconds: float) -> None:
    """Write the page of a finished benchmark."""
    parts = []
    for text in about.split("\n\n"):
        parts.append(html.preformatted(text) if text.startswith(" ") else html.paragraph(text))
    for part in caught.parts:
        if isinstance(part, str):
            parts.append(html.preformatted(part))
        else:
            labels = _labels(part)
            parts.append(html.table(part.columns, part.rows, part.title, labels=labels, bars=True))
    parts.append(html.paragraph("Bars: each column by its own largest value."))
    run = {
        "command": command,
        "when": time.strftime("%Y-%m-%d %H:%M %Z"),
        "took": f"{seconds:.0f} s",
        "load before": before,
        "load after": load(),
    }
    parts += [html.heading("Measured on"), html.facts(machine() | run)]
    target.write_text(html.page(f"Benchmark: {name}", parts), encoding="utf-8")


def _labels(table: Printed) -> int:
    """Number of leading columns with words."""
    count = 0
    for k in range(len(table.columns)):
        if any(re.match(r"[−-]?\d", row[k].strip()) for row in table.rows):
            break
        count += 1
    return max(1, min(count, len(table.columns) - 1))


def _processor() -> str:
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def _gpus() -> str:
    torch = sys.modules.get("torch")  # if the benchmark used it
    if torch is None or not torch.cuda.is_available():
        return ""
    return ", ".join(torch.cuda.get_device_name(k) for k in range(torch.cuda.device_count()))
