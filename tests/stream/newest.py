"""Frames for clients that use only the newest one, and a check of what they received."""

import re
import time
from collections.abc import Callable
from pathlib import Path

from sweepdepth.stream.wire.messages import DepthFrame
from sweepdepth.stream.wire.publisher import Publisher

FRAMES = 40
WIRE = Path(__file__).parents[2] / "docs" / "wire.md"


def publish_slowly(publisher: Publisher, make_frame: Callable[..., DepthFrame]) -> None:
    """Send many frames in a second: more than a client with 0.4 s of work per frame takes, and than its queues hold."""
    for number in range(FRAMES):
        publisher.publish(make_frame(number))
        time.sleep(0.03)


def assert_newest(lines: list[str]) -> None:
    """Check a client's output: few frames, in order, most skipped, and the newest one last."""
    seen = [int(line.split()[1]) for line in lines if line.startswith("depth")]
    assert seen == sorted(set(seen))
    assert seen[-1] == FRAMES - 1
    assert 2 <= len(seen) <= FRAMES // 3


def block_of_wire(kind: str, holding: str) -> str:
    """The code block of docs/wire.md that contains a word."""
    blocks = re.findall(rf"^```{kind}\n(.*?)^```", WIRE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    (block,) = [block for block in blocks if holding in block]
    return block
