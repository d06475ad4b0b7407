"""The fuzzer for all tests here, and the table at the end of a long run."""

from collections import Counter

import pytest

from .fuzzer import CASES, LIMIT_S, ROWS, Fuzzer
from .originals import write_originals
from .readers import Trial


@pytest.fixture(scope="session")
def fuzz(tmp_path_factory):
    """Try a reader on some content: `fuzz("name in the table", "reader", content, ".suffix")`."""
    trial = Trial(LIMIT_S)
    yield Fuzzer(tmp_path_factory.mktemp("fuzz"), trial)
    trial.close()


@pytest.fixture(scope="session")
def originals(tmp_path_factory):
    """A folder with one undamaged file of each kind."""
    folder = tmp_path_factory.mktemp("originals")
    write_originals(folder)
    return folder


def pytest_terminal_summary(terminalreporter):
    if not CASES or not ROWS:
        return
    terminalreporter.write_line("\n| input | cases | read | refused | slowest, s |\n|---|---|---|---|---|")
    for name, row in ROWS.items():
        n = row.outcomes
        terminalreporter.write_line(
            f"| {name} | {n.total():,} | {n['result']:,} | {n['error']:,} | {row.slowest_s:.1f} |"
        )
    total = sum((row.outcomes for row in ROWS.values()), Counter())
    terminalreporter.write_line(f"| all | {total.total():,} | {total['result']:,} | {total['error']:,} | |")
