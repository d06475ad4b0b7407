"""Repeated fault tests (kills, full disks, clock jumps, hostile peers and files): `./run faults [ROUNDS]`."""

import os
import sys
import time
from pathlib import Path

import pytest


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 20
    os.environ["SWEEPDEPTH_FAULT_ROUNDS"] = str(rounds)
    os.environ.setdefault("SWEEPDEPTH_FAULT_SEED", str(time.time_ns()))
    print(f"seed {os.environ['SWEEPDEPTH_FAULT_SEED']} (SWEEPDEPTH_FAULT_SEED repeats it)")
    tests = Path(__file__).parents[1] / "tests"
    sys.exit(pytest.main([str(tests / "faults"), str(tests / "test_supply.py"), "--timeout", "900", *sys.argv[2:]]))


if __name__ == "__main__":
    main()
