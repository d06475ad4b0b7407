"""The C++ client, compiled here, saves exactly the published bits."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
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
FOLDER = Path(__file__).parents[2] / "examples" / "cpp"
HEADERS = ("zmq.h", "zstd.h", "nlohmann/json.hpp")


@pytest.fixture(scope="module")
def client(tmp_path_factory) -> Path:
    """The example, compiled as its Makefile says, with every warning an error."""
    if shutil.which("g++") is None or shutil.which("make") is None:
        pytest.skip("g++ or make is missing: apt-get install g++ make")
    missing = [name for name in HEADERS if not Path("/usr/include", name).exists()]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: apt-get install libzmq3-dev libzstd-dev nlohmann-json3-dev")
    folder = tmp_path_factory.mktemp("cpp")
    for name in ("subscriber.cpp", "Makefile"):
        shutil.copy(FOLDER / name, folder)
    flags = "CXXFLAGS=-std=c++17 -O0 -Wall -Wextra -Wpedantic -Werror"
    made = subprocess.run(["make", flags], cwd=folder, capture_output=True, text=True, check=False, timeout=280)
    assert made.returncode == 0, made.stderr
    return folder / "subscriber"


@contextmanager
def running(*words: object) -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(list(map(str, words)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def lines_of(process: "subprocess.Popen[str]") -> list[str]:
    out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (0, "")
    return out.splitlines()


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_cpp_saves_what_python_published_bit_for_bit(client, tmp_path, make_frame: FrameMaker, encoding):
    frames = [make_frame(0, 346, 260), make_frame(1, 35, 27), make_frame(2, 640, 480)]
    with (
        Publisher("tcp://127.0.0.1:*", encoding=encoding) as publisher,
        running(client, publisher.address, "--frames", 3, "--save", tmp_path) as process,
    ):
        assert publisher.wait_for_subscribers(1, timeout=60)
        publisher.publish(StatusFrame())
        for frame in frames:
            publisher.publish(frame)
        lines = lines_of(process)
    assert lines[0] == "status 0"
    for k, frame in enumerate(frames):
        for name, sent in (("depth", frame.depth), ("std", frame.std)):
            saved = np.load(tmp_path / f"{name}_{k}.npy")
            assert saved.dtype == np.dtype("<f4")
            np.testing.assert_array_equal(saved.view("u4"), sent.view("u4"))
        mean, known = np.nanmean(frame.depth.astype(float)), int(100 * np.isfinite(frame.depth).mean())
        height, width = frame.depth.shape
        assert lines[k + 1] == f"depth {k}: mean {mean:.6f} m, {known} % of {width}×{height} known"


def test_cpp_stops_at_the_end_of_the_stream(client, make_frame: FrameMaker):
    with Publisher("tcp://127.0.0.1:*") as publisher, running(client, publisher.address) as process:
        assert publisher.wait_for_subscribers(1, timeout=60)
        publisher.publish(make_frame(0))
        publisher.close()
        depth, status = lines_of(process)
    assert depth.startswith("depth 0: mean 1.")
    assert status == "status 0"


def test_a_slow_cpp_client_reads_the_newest_frame(client, make_frame: FrameMaker):
    with Publisher("tcp://127.0.0.1:*") as publisher, running(client, publisher.address, "--newest", 400) as process:
        assert publisher.wait_for_subscribers(1, timeout=60)
        publish_slowly(publisher, make_frame)
        publisher.close()
        lines = [line.split(":")[0] for line in lines_of(process)]
    assert_newest(lines)


def test_cpp_ends_its_receiver_when_there_is_enough(client, make_frame: FrameMaker):
    with (
        Publisher("tcp://127.0.0.1:*") as publisher,
        running(client, publisher.address, "--newest", 0, "--frames", 1) as process,
    ):
        assert publisher.wait_for_subscribers(1, timeout=60)
        publisher.publish(make_frame(0))
        assert len(lines_of(process)) == 1


def test_cpp_receives_with_keys(client, tmp_path, make_frame: FrameMaker):
    server, secret = new_keys("server", tmp_path)
    _, mine = new_keys("robot", tmp_path / "clients")
    with Publisher("tcp://127.0.0.1:*", secret, tmp_path / "clients") as publisher:
        words = publisher.address, "--frames", 1, "--keys", mine, "--server-key", server, "--save", tmp_path
        with running(client, *words) as process:
            assert publisher.wait_for_subscribers(1, timeout=60)
            publisher.publish(make_frame(0))
            lines_of(process)
    np.testing.assert_array_equal(np.load(tmp_path / "depth_0.npy"), make_frame(0).depth)


def test_cpp_counts_gaps_and_skips_malformed_messages(client, tmp_path, make_frame: FrameMaker):
    stream = uuid4()
    with zmq.Context() as context, context.socket(zmq.XPUB) as wire:
        wire.bind("tcp://127.0.0.1:*")
        address = wire.getsockopt_string(zmq.LAST_ENDPOINT)
        with running(client, address, "--frames", 2, "--save", tmp_path) as process:
            for _ in range(2):
                assert wire.poll(60_000)
                wire.recv()
            good = encode(make_frame(0), stream=stream, seq=0, t_publish_ns=0)
            text = bytes(good[1])
            header, compressed = encode(make_frame(0), stream=stream, seq=0, t_publish_ns=0, encoding="zstd")[1:3]
            bad = [
                [b"depth", bytes(header), compressed[:-9], compressed],
                [b"depth", bytes(header).replace(b"[26,34]", b"[26,35]"), compressed, compressed],
                [b"depth", bytes(header).replace(b"[26,34]", b"[9000,9000]"), compressed, compressed],
                [b"depth", bytes(header), *good[2:]],
                [b"depth", text, compressed, compressed],
                [b"depth"],
                [b"depth\x1b[2J", *good[1:]],
                [b"depth", b"{"],
                [b"depth", b"[" * 60_000],
                [b"depth", b"\xff\xfe"],
                [b"depth", text.replace(b"sweepdepth/1", b"sweepdepth/2"), *good[2:]],
                [b"depth", text.replace(b"[26,34]", b"[26,35]"), *good[2:]],
                [b"depth", text.replace(b"[26,34]", b"[34,26]"), *good[2:]],
                [b"depth", text.replace(b"[26,34]", b"[9223372036854775807,4]"), *good[2:]],
                [b"depth", text.replace(b"[26,34]", b"[-26,-34]"), *good[2:]],
                [b"depth", text.replace(b"<f4", b"<f8"), *good[2:]],
                [b"depth", text.replace(b'"std"', b'"../std"'), *good[2:]],
                [b"depth", text.replace(b'"seq":0', b'"seq":"../0"'), *good[2:]],
                [b"depth", text + b" " * 70_000, *good[2:]],
                [*good, *[b""] * 20],
                good[:3],
            ]
            for message in (*bad, good, encode(make_frame(1), stream=stream, seq=5, t_publish_ns=0)):
                wire.send_multipart(message)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 0
    assert [line.split(":")[0] for line in out.splitlines()] == ["depth 0", "depth 5 (4 lost before it)"]
    assert err.count("skipped a bad message") == len(bad)
    assert all(line.isprintable() for line in err.splitlines())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["depth_0.npy", "depth_5.npy", "std_0.npy", "std_5.npy"]


def test_cpp_reports_wrong_arguments(client):
    for words, message in (
        (["nowhere"], "error: nowhere: Invalid argument"),
        (["nowhere", "--newest", "5"], "error: nowhere: Invalid argument"),
        (["--frames"], "error: --frames needs a value"),
        (["--speed", "2"], "error: --speed: is no option"),
        (["--keys", "x"], "error: --keys and --server-key go together"),
        (["--keys", "x", "--server-key", "y"], "error: y: holds no public-key"),
    ):
        done = subprocess.run([client, *words], capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr.strip()) == (1, message)
