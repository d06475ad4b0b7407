"""The Node.js client reads exactly the published numbers."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np
import pytest
import zmq

from sweepdepth.stream.wire.compression import ENCODINGS
from sweepdepth.stream.wire.keys import new_keys
from sweepdepth.stream.wire.messages import DepthFrame, StatusFrame, encode
from sweepdepth.stream.wire.publisher import Publisher

from .newest import assert_newest, publish_slowly

FrameMaker = Callable[..., DepthFrame]
CLIENT = Path(__file__).parents[2] / "examples" / "node" / "subscriber.mjs"
NODE = Path(sys.executable).with_name("node")

pytestmark = pytest.mark.skipif(
    not (NODE.exists() and (CLIENT.parent / "node_modules" / "zeromq").is_dir()),
    reason="Node.js or its zeromq package is missing; ./run setup installs both",
)


@contextmanager
def node_client(*arguments: str) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [str(NODE), str(CLIENT), *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_of(process: "subprocess.Popen[str]") -> list[str]:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out.splitlines()


def statistics(array: np.ndarray) -> dict[str, Any]:
    known = array[np.isfinite(array)].astype(np.float64)
    if not len(known):
        return {"finite": 0, "mean": None, "min": None, "max": None}
    return {"finite": len(known), "mean": pytest.approx(known.mean()), "min": known.min(), "max": known.max()}


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_node_reads_what_python_published(make_frame: FrameMaker, encoding) -> None:
    frames = [make_frame(0, 346, 260), make_frame(1, 346, 260), make_frame(2, 35, 27), make_frame(3, 640, 480)]
    unknown = np.full((26, 34), np.nan, np.float32)
    frames.append(DepthFrame(unknown, unknown.copy(), make_frame(0).info, 5, 6, frames[1].direction))
    with (
        Publisher("tcp://127.0.0.1:*", encoding=encoding) as publisher,
        node_client(publisher.address, "--json", "5") as node,
    ):
        assert publisher.wait_for_subscribers(1, timeout=60)
        publisher.publish(StatusFrame(frames_per_s=5.0))
        for frame in frames:
            publisher.publish(frame)
        status, *depths = map(json.loads, lines_of(node))

    assert (status["topic"], status["header"]["frames_per_s"], status["header"]["events_per_s"]) == (
        "status",
        5.0,
        None,
    )
    assert len(depths) == len(frames)
    for k, (got, sent) in enumerate(zip(depths, frames, strict=True)):
        header = got["header"]
        assert (got["topic"], got["lost"], header["seq"], header["stream"]) == ("depth", 0, k, str(publisher.stream))
        assert header["camera"] == sent.info.camera.model_dump()
        assert (header["t_start_us"], header["t_end_us"]) == (sent.t_start_us, sent.t_end_us)
        assert (header["direction"], header["far_diopters"], header["near_diopters"]) == (sent.direction, 0.5, 2.5)
        assert got["checks"] == {"depth": statistics(sent.depth), "std": statistics(sent.std)}


def test_node_stops_at_the_end_and_prints_lines_for_people(make_frame: FrameMaker) -> None:
    with Publisher("tcp://127.0.0.1:*") as publisher, node_client(publisher.address) as node:
        assert publisher.wait_for_subscribers(1, timeout=60)
        publisher.publish(make_frame(0))
        publisher.close()
        depth, status = lines_of(node)
    assert depth.startswith("depth 0: mean 1.")
    assert depth.endswith("% of 34×26 known")
    assert status.startswith("status 0")


def test_node_receives_with_keys(tmp_path: Path, make_frame: FrameMaker) -> None:
    server, secret = new_keys("server", tmp_path)
    _, mine = new_keys("node", tmp_path / "clients")
    with (
        Publisher("tcp://127.0.0.1:*", secret, tmp_path / "clients") as publisher,
        node_client(publisher.address, "--json", "1", "--keys", str(mine), "--server-key", str(server)) as node,
    ):
        assert publisher.wait_for_subscribers(1, timeout=60)
        publisher.publish(make_frame(0))
        (line,) = lines_of(node)
    assert json.loads(line)["checks"]["depth"] == statistics(make_frame(0).depth)


def test_node_counts_gaps_and_skips_malformed_messages(make_frame: FrameMaker) -> None:
    stream = uuid4()
    with zmq.Context() as context, context.socket(zmq.XPUB) as wire:
        wire.bind("tcp://127.0.0.1:*")
        with node_client(wire.getsockopt_string(zmq.LAST_ENDPOINT), "--json", "2") as node:
            for _ in range(2):
                assert wire.poll(60_000)
                wire.recv()
            good = encode(make_frame(0), stream=stream, seq=0, t_publish_ns=0)
            text = bytes(good[1])
            header, compressed = encode(make_frame(0), stream=stream, seq=0, t_publish_ns=0, encoding="zstd")[1:3]
            for bad in (
                [b"depth", bytes(header), compressed[:-9], compressed],
                [b"depth", bytes(header).replace(b"[26,34]", b"[26,35]"), compressed, compressed],
                [b"depth", bytes(header).replace(b"[26,34]", b"[9000,9000]"), compressed, compressed],
                [b"depth", bytes(header), *good[2:]],
                [b"depth", text, compressed, compressed],
                [b"depth"],
                [b"depth", b"{"],
                [b"depth", text.replace(b"sweepdepth/1", b"sweepdepth/2"), *good[2:]],
                [b"depth", text.replace(b"[26,34]", b"[26,35]"), *good[2:]],
                [b"depth", text.replace(b"<f4", b"<f8"), *good[2:]],
                [b"depth", text + b" " * 70_000, *good[2:]],
                good[:3],
                good,
                encode(make_frame(1), stream=stream, seq=5, t_publish_ns=0),
            ):
                wire.send_multipart(bad)
            out, err = node.communicate(timeout=60)
    assert [json.loads(line)["lost"] for line in out.splitlines()] == [0, 4]
    assert err.count("skipped a bad message") == 12


def test_a_slow_node_client_reads_the_newest_frame(make_frame: FrameMaker) -> None:
    with Publisher("tcp://127.0.0.1:*") as publisher, node_client(publisher.address, "--newest", "400") as node:
        assert publisher.wait_for_subscribers(1, timeout=60)
        publish_slowly(publisher, make_frame)
        publisher.close()
        lines = [line.split(":")[0] for line in lines_of(node)]
    assert_newest(lines)
