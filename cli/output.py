"""Output of commands: messages and progress on standard error, results on standard output."""

import json
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import (
    BarColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_errors = Console(stderr=True, highlight=False, soft_wrap=True)


def say(text: str) -> None:
    """Print a message for the user to standard error."""
    _errors.print(text, markup=False)


def print_json(values: dict[str, Any]) -> None:
    """Print a JSON object on one line, with null for unknown numbers."""
    print(json.dumps(_plain(values), ensure_ascii=False), flush=True)


def print_tables(sections: dict[str, dict[str, Any]]) -> None:
    """Print named sections of names and values."""
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    for title, rows in sections.items():
        table = Table(title=title, title_justify="left", show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column()
        table.add_column(overflow="fold")  # a path that is too long goes on in the next line
        for name, value in rows.items():
            table.add_row(escape(name), escape(_text(value)))
        console.print(table)
        console.print()


class _Done(ProgressColumn):
    """Percentage if the total is known, else the number done."""

    def __init__(self, unit: str) -> None:
        super().__init__()
        self._unit = unit

    def render(self, task: Task) -> Text:
        return Text(f"{task.percentage:>3.0f} %" if task.total else f"{task.completed:,.0f} {self._unit}")


@contextmanager
def progress_bar(title: str, total: float | None, unit: str) -> Iterator[Callable[..., None]]:
    """A progress bar on standard error; yields a function that sets the amount done and, if it becomes known later, the
    total. `total` None: unknown."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        _Done(unit),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_errors, transient=True, disable=not _errors.is_terminal) as progress:
        task = progress.add_task(title, total=total)

        def advance(done: float, of: float | None = None) -> None:
            progress.update(task, completed=done)
            if of is not None:
                progress.update(task, total=of)

        yield advance


@contextmanager
def status_line() -> Iterator[Callable[[str], None]]:
    """A status line at the bottom of the terminal, on standard error; yields the function that sets its text. Messages
    appear above it. Does nothing without a terminal."""
    if not _errors.is_terminal:
        yield lambda _: None
        return
    with Live(console=_errors, auto_refresh=False, transient=True) as shown:
        yield lambda text: shown.update(Text(text, overflow="ellipsis"), refresh=True)


def _text(value: Any) -> str:
    if isinstance(value, float):
        return "unknown" if math.isnan(value) else f"{value:,.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, (list, tuple)):
        return "\n".join(map(str, value)) or "none"
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
