"""Number of cases, and the table of their outcomes. By default a few hundred, always the same. `./run fuzz` tries many
more, at random, and prints the table.
"""

import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

from .readers import Trial

CASES = int(os.environ.get("SWEEPDEPTH_FUZZ_CASES", "0"))
"""Cases of a long run, divided among the tests; 0 by default."""

LIMIT_S = 60.0
"""Time limit of one case: for a busy machine, and including the 2 s after which a decoder counts as hanging."""


def cases(usual: int, share: float) -> settings:
    """Settings of Hypothesis for one test: the number of cases by default, and the fraction of them in a long run."""
    return settings(
        max_examples=max(1, round(CASES * share)) if CASES else usual,
        derandomize=not CASES,
        database=None,
        deadline=None,
        phases=[Phase.explicit, Phase.generate],
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
    )


@dataclass
class Row:
    outcomes: Counter[str] = field(default_factory=Counter)
    slowest_s: float = 0.0


ROWS: dict[str, Row] = {}


class Fuzzer:
    """Tries file contents with a reader; any outcome except a result or one of our errors fails the test."""

    def __init__(self, folder: Path, trial: Trial) -> None:
        self._folder, self._trial = folder, trial

    def __call__(self, name: str, reader: str, content: bytes, suffix: str) -> str:
        path = self.file(content, suffix)
        return self.try_file(name, reader, path)

    def file(self, content: bytes, suffix: str) -> Path:
        path = self._folder / f"case{suffix}"
        path.write_bytes(content)
        return path

    def try_file(self, name: str, reader: str, path: Path) -> str:
        row = ROWS.setdefault(name, Row())
        started = time.monotonic()
        outcome, text = self._trial.run(reader, path)
        row.outcomes[outcome] += 1
        row.slowest_s = max(row.slowest_s, time.monotonic() - started)
        if outcome not in ("result", "error"):
            folder = Path(os.environ.get("SWEEPDEPTH_FUZZ_KEEP", self._folder))
            kept = folder / f"{reader}_{row.outcomes.total()}{path.suffix}"
            kept.write_bytes(path.read_bytes())
            pytest.fail(f"{kept}: {outcome}: {text}")
        return outcome
