"""Frames for clients that look at the newest one only, and what they must have seen."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from sweepdepth.stream.wire.messages import DepthFrame
from sweepdepth.stream.wire.publisher import Publisher

FRAMES = 40
WIRE = Path(__file__).parents[2] / "docs" / "wire.md"


def publish_slowly(publisher: Publisher, make_frame: Callable[..., DepthFrame]) -> None:
    """Many frames in a second, more than a client takes that works on each for 0.4 s, and than its queues hold."""
    for number in range(FRAMES):
        publisher.publish(make_frame(number))
        time.sleep(0.03)


def assert_newest(lines: list[str]) -> None:
    """From the beginnings of lines: some frames, in order, most passed over, and the last one was the newest."""
    seen = [int(line.split()[1]) for line in lines if line.startswith("depth")]
    assert seen == sorted(set(seen))
    assert seen[-1] == FRAMES - 1
    assert 2 <= len(seen) <= FRAMES // 3


def block_of_wire(kind: str, holding: str) -> str:
    """The fenced block of docs/wire.md with a word in it."""
    blocks = re.findall(rf"^```{kind}\n(.*?)^```", WIRE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if holding in block]
    return block
