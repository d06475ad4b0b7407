"""Many thousand damaged files and messages, and what became of them: `./run fuzz [CASES]`."""

import os
import sys
from pathlib import Path

import pytest


def main() -> None:
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else 20_000
    os.environ["SWEEPDEPTH_FUZZ_CASES"] = str(cases)
    folder = Path(__file__).parents[1] / "tests" / "fuzz"
    # Each test tries its share at one go, which takes longer than a test may take otherwise.
    sys.exit(pytest.main([str(folder), "--timeout", "0"]))


if __name__ == "__main__":
    main()
