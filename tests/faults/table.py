"""Number of repetitions of each fault, and the table of outcomes. By default each is tried about once, with fixed
random numbers. `./run faults ROUNDS` tries each many times at random moments, and prints the table.
"""

import os
from collections import Counter
from dataclasses import dataclass, field
from random import Random

import pytest

ROUNDS = int(os.environ.get("SWEEPDEPTH_FAULT_ROUNDS", "0"))
"""Rounds of a long run; 0 by default."""

SEED = os.environ.get("SWEEPDEPTH_FAULT_SEED", "usual")


def rounds(usual: int = 1, share: float = 1.0) -> pytest.MarkDecorator:
    """Parametrise a test with `chance`, a source of random numbers: the number of rounds by default, and the fraction
    of the rounds in a long run. 0 by default for faults that another test always covers."""
    n = max(1, round(ROUNDS * share)) if ROUNDS else usual
    return pytest.mark.parametrize("chance", [Random(f"{SEED} {k}") for k in range(n)], ids=map(str, range(n)))


@dataclass
class Row:
    done: str
    seen: Counter[str] = field(default_factory=Counter)


ROWS: dict[str, Row] = {}


def saw(fault: str, done: str, seen: str) -> None:
    """Record the outcome of a fault; the table has a row for each fault, with counts of the outcomes."""
    ROWS.setdefault(fault, Row(done)).seen[seen] += 1


def lines() -> list[str]:
    """The table, in Markdown."""
    table = ["| fault | injection | outcome | trials |", "|---|---|---|---|"]
    for fault, row in sorted(ROWS.items()):
        total = row.seen.total()
        seen = "; ".join(f"{what} ({n})" if n < total else what for what, n in row.seen.most_common())
        table.append(f"| {fault} | {row.done} | {seen} | {total} |")
    return table
