"""Fuzzing with many thousand damaged files and messages: `./run fuzz [CASES]`."""

import os
import sys
from pathlib import Path

import pytest


def main() -> None:
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    os.environ["SWEEPDEPTH_FUZZ_CASES"] = str(cases)
    folder = Path(__file__).parents[1] / "tests" / "fuzz"
    # Each test runs its share of cases, longer than the usual time limit of a test.
    sys.exit(pytest.main([str(folder), "--timeout", "0"]))


if __name__ == "__main__":
    main()
