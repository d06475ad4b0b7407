"""Pages of benchmarks contain the complete printed output and data of the machine."""

import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

from sweepdepth.capture.reporting import html

ROOT = Path(__file__).parents[1]


class Tables(HTMLParser):
    """The cells of all tables of a page, and the external resources that it would load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: list[list[list[str]]] = []
        self.bars = 0
        self.loads: list[str] = []
        self._cell: list[str] | None = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.loads += [str(attributes[name]) for name in ("src", "href") if name in attributes]
        if tag == "script":
            self.loads.append("script")
        if tag == "table":
            self.tables.append([])
        elif tag == "tr":
            self.tables[-1].append([])
        elif tag in ("th", "td"):
            self._cell = []
            self.bars += attributes.get("class") == "bar"

    def handle_endtag(self, tag):
        if tag in ("th", "td") and self._cell is not None:
            self.tables[-1][-1].append("".join(self._cell))
            self._cell = None

    def handle_data(self, data):
        if self._cell is not None:
            self._cell.append(data)


@pytest.fixture
def bench_page():
    """The module of the pages."""
    from bench import _page

    return _page


def test_tables_of_rich_and_of_markdown_and_text_are_caught_in_order(bench_page, capsys):
    table = Table(title="rates of [bold]all[/bold]")
    for column in ("what", "MB/s"):
        table.add_column(column)
    table.add_row("a very long name " * 12, "[green]1,024[/green]")
    caught = bench_page.Caught()
    with bench_page.catching(caught):
        print("before")
        Console(width=40).print(table)
        print("### Long run\n\n| rate | lost |\n|---|---|\n| 5 | 0 |\n| **7** | 2 |\nafter")
    printed = capsys.readouterr().out
    assert printed.startswith("before\n")
    assert "1,024" in printed
    first, rich, between, markdown, last = caught.parts
    assert (first, between, last) == ("before", "### Long run", "after")
    assert (rich.title, rich.columns) == ("rates of all", ("what", "MB/s"))
    assert rich.rows == (("a very long name " * 12, "1,024"),)  # nothing is cut, however narrow the terminal
    assert (markdown.columns, markdown.rows) == (("rate", "lost"), (("5", "0"), ("7", "2")))
    print("not caught")
    assert caught.parts[-1] == "after"


@pytest.mark.parametrize(
    "cells,bars",
    [
        (["1.5 ms", "3 ms", "0.3 ms"], 3),
        (["1,000", "250", "500"], 3),
        (["1 ms", "2 s", "3 ms"], 0),  # other units
        (["1", "–", "3"], 0),
        (["1", "−2", "3"], 0),
        (["7", "7", "7"], 0),
        (["1", "2"], 0),
    ],
)
def test_columns_of_one_unit_have_bars(cells, bars):
    found = Tables(html.page("t", [html.table(["name", "value"], [["x", cell] for cell in cells], bars=True)]))
    assert found.bars == bars
    assert found.tables == [[["name", "value"], *(["x", cell] for cell in cells)]]


def test_the_longest_bar_fills_its_cell():
    text = html.table(["name", "value"], [["a", "1 px"], ["b", "4 px"], ["c", "2 px"]], bars=True)
    assert [f"--share:{share}%" in text for share in ("25.0", "100.0", "50.0")] == [True] * 3


def test_text_on_a_page_is_escaped():
    text = html.page("<b>", [html.paragraph("<script>x</script>"), html.preformatted("a < b & c")])
    assert "<script>" not in text
    assert "&lt;b&gt;" in text
    assert "a &lt; b &amp; c" in text


def run_bench(*words: object, expect: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "bench", *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert done.returncode == expect, done.stderr
    return done.stdout + done.stderr


@pytest.mark.slow
def test_a_benchmark_writes_a_self_contained_page(tmp_path):
    target = tmp_path / "recordings.html"
    said = run_bench("recordings", "--page", target, "--events", "5000", "--repetitions", "1")
    assert f"written {target}" in said
    page = Tables(target.read_text())
    measured, machine = page.tables
    assert [row[0] for row in measured[1:3]] == ["AEDAT4", "HDF5"]
    assert page.bars > 0
    facts = dict(machine)
    assert facts["command"] == f"./run bench recordings --page {target} --events 5000 --repetitions 1"
    assert "cores" in facts["machine"]
    assert "numpy 1." in facts["versions"]
    assert not page.loads
    assert [path.name for path in tmp_path.iterdir()] == ["recordings.html"]

    again = run_bench("recordings", "--page", target, expect=1)
    assert "exists; give --force" in again
    wrong = run_bench("recordings", "--page", tmp_path / "other.html", "--no-such-option", expect=2)
    assert "--no-such-option" in wrong
    assert [path.name for path in tmp_path.iterdir()] == ["recordings.html"]
