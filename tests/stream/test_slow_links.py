"""Twenty subscribers, one of them over a slow link, in a network namespace with shaped traffic."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]
SECONDS, RATE, SIZE = 4, 15, "240x180"
LINK_BITS_PER_S = 10e6


@pytest.fixture(scope="module")
def phases() -> list[dict]:
    """What was received without the slow subscriber, with it, and after it had left."""
    from bench.subscribers import why_not

    why = why_not()
    if why:
        pytest.skip(why)
    words = ["--json", "--seconds", str(SECONDS), "--rate", str(RATE), "--size", SIZE]
    words += ["--link", f"{LINK_BITS_PER_S / 1e6:g}mbit"]
    done = subprocess.run(
        [sys.executable, "-m", "bench", "subscribers", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    (found,) = json.loads(done.stdout).values()
    return found


def test_other_subscribers_miss_no_frame(phases):
    for phase in phases:
        assert len(phase["fast"]) == 19
        assert phase["published"] == SECONDS * RATE
        for heard in phase["fast"]:
            assert heard["lost"] == 0
            assert len(heard["ages_ms"]) >= phase["published"] - 1  # the last may still be on its way


def test_the_slow_subscriber_gets_fewer_but_recent_frames_and_misses_are_counted(phases):
    _, phase, _ = phases
    slow = phase["slow"]
    transit_s = 8 * phase["frame_bytes"] / LINK_BITS_PER_S
    could_get = SECONDS / transit_s
    assert could_get < SECONDS * RATE, "the link is not slow"
    assert 0.5 * could_get < len(slow["ages_ms"]) < 1.5 * could_get + 2
    # One in transit, the waiting ones, and those in the sending socket.
    assert np.max(slow["ages_ms"]) < 1e3 * (5 * transit_s + 2)
    assert slow["lost"] > 0
    assert phase["drops"]["slow_subscriber"] > 0
