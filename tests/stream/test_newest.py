"""The code in docs/wire.md that gets only the newest frame is the same as in the clients."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from sweepdepth.stream.wire.messages import DepthFrame
from sweepdepth.stream.wire.publisher import Publisher

from .newest import assert_newest, block_of_wire, publish_slowly

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_python_code_of_the_page_reads_the_newest_frame(make_frame: Callable[..., DepthFrame]):
    code = block_of_wire("python", "maxlen=1")
    assert "time.sleep(0.3)" in code
    with Publisher("tcp://127.0.0.1:*") as publisher:
        code = code.replace("tcp://127.0.0.1:5560", publisher.address)
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as process:
            try:
                assert publisher.wait_for_subscribers(1, timeout=60)
                publish_slowly(publisher, make_frame)
                publisher.close()
                out, _ = process.communicate(timeout=60)
            finally:
                process.kill()
    assert process.returncode == 0
    assert_newest([f"depth {line}" for line in out.splitlines()])


@pytest.mark.parametrize("kind,client", [("js", "node/subscriber.mjs"), ("cpp", "cpp/subscriber.cpp")])
def test_the_code_of_the_page_equals_that_of_the_clients(kind: str, client: str):
    page = block_of_wire(kind, "newest")
    assert page.rstrip() in (EXAMPLES / client).read_text(encoding="utf-8")
