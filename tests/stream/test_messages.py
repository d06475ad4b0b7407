"""The wire format: messages arrive as sent, and malformed ones are refused."""

import contextlib
import json
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import jsonschema
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sweepdepth import Calibration
from sweepdepth.capture.errors import WireError
from sweepdepth.capture.sweeps import Direction
from sweepdepth.stream.wire import messages
from sweepdepth.stream.wire.compression import SMOOTH, SPARSE, Encoding, compress, decompress
from sweepdepth.stream.wire.messages import (
    MAX_HEADER_BYTES,
    AnyFrame,
    Buffer,
    CameraInfo,
    DepthFrame,
    Percentiles,
    StackFrame,
    StatusFrame,
    StreamInfo,
    decode,
    encode,
)

STREAM = uuid4()
SCHEMA_FILE = Path(messages.__file__).with_name("schema.json")
FrameMaker = Callable[..., DepthFrame]


def send(frame: AnyFrame, seq: int = 7, encoding: Encoding = "none") -> list[Buffer]:
    return encode(frame, stream=STREAM, seq=seq, t_publish_ns=1_763_000_000_123_456_789, encoding=encoding)


def header_of(parts: list[Buffer]) -> dict[str, Any]:
    return json.loads(bytes(parts[1]))


def altered(parts: list[Buffer], **changes: Any) -> list[Buffer]:
    """The same message with other values in its header; `...` removes a key."""
    header = header_of(parts) | changes
    header = {key: value for key, value in header.items() if value is not ...}
    return [parts[0], json.dumps(header).encode(), *parts[2:]]


finite = st.floats(0.125, 1e6, width=32)
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))
any_floats = st.floats(width=32, allow_nan=True, allow_infinity=True)
stages = st.dictionaries(st.text(min_size=1, max_size=64), st.floats(0, 1e9) | st.just(math.nan), max_size=4)

spans = st.tuples(st.integers(-(2**63), 2**63 - 1), st.integers(-(2**63), 2**63 - 1))


@st.composite
def depth_frames(draw: st.DrawFn) -> DepthFrame:
    height, width = draw(sizes)
    far = draw(st.floats(0, 10))
    info = StreamInfo(
        camera=CameraInfo(width=width, height=height, fx=draw(finite), fy=draw(finite), cx=draw(finite), cy=0.0),
        far_diopters=far,
        near_diopters=far + draw(st.floats(0.01, 10)),
        estimator=draw(st.text(min_size=1, max_size=64)),
    )
    depth, std = (draw(arrays(np.float32, (height, width), elements=any_floats)) for _ in range(2))
    start_us = draw(st.integers(-(2**62), 2**62))
    end_us = start_us + draw(st.integers(0, 2**61))
    direction = draw(st.sampled_from(Direction))
    return DepthFrame(
        depth,
        std,
        info,
        start_us,
        end_us,
        direction,
        draw(st.floats(0, 1) | st.just(math.nan)),
        draw(stages),
        draw(st.just(()) | st.lists(spans, min_size=2, max_size=12).map(tuple)),
    )


@given(depth_frames(), st.integers(0, 2**63 - 1))
def test_a_depth_frame_arrives_as_it_was_sent(frame: DepthFrame, seq: int) -> None:
    got = decode(encode(frame, stream=STREAM, seq=seq, t_publish_ns=5))
    assert isinstance(got, DepthFrame)
    assert got.depth.tobytes() == frame.depth.tobytes()
    assert got.std.tobytes() == frame.std.tobytes()
    assert (got.info, got.t_start_us, got.t_end_us) == (frame.info, frame.t_start_us, frame.t_end_us)
    assert got.direction is frame.direction
    np.testing.assert_equal((got.quality, dict(got.latency_ms)), (frame.quality, dict(frame.latency_ms)))
    assert got.bin_spans_us == frame.bin_spans_us
    assert (got.stream, got.seq, got.t_publish_ns, got.lost) == (STREAM, seq, 5, 0)


def test_stacks_arrive_signed_or_split_by_polarity(make_frame: FrameMaker) -> None:
    info = make_frame(0).info
    for shape in [(10, 26, 34), (2, 10, 26, 34)]:
        stack = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
        got = decode(send(StackFrame(stack, info, 1, 2, Direction.NEAR_TO_FAR)))
        assert isinstance(got, StackFrame)
        np.testing.assert_array_equal(got.stack, stack)


def test_a_status_arrives_with_unknown_numbers_as_nan() -> None:
    latency_ms = {"bin": Percentiles(p50=1.5, p99=math.nan)}
    got = decode(send(StatusFrame(2e6, math.nan, latency_ms, {"stacks": 1}, {"estimator_busy": 3}, ("hot",), True)))
    assert isinstance(got, StatusFrame)
    assert got.events_per_s == 2e6
    assert math.isnan(got.frames_per_s)
    assert (got.latency_ms["bin"].p50, got.queues, got.drops) == (1.5, {"stacks": 1}, {"estimator_busy": 3})
    assert math.isnan(got.latency_ms["bin"].p99)
    assert (got.warnings, got.end) == (("hot",), True)


def test_only_the_newest_warnings_are_sent_and_long_ones_cut() -> None:
    got = decode(send(StatusFrame(warnings=[f"{k} " + "x" * 1000 for k in range(100)])))
    assert isinstance(got, StatusFrame)
    assert [text.split()[0] for text in got.warnings] == [str(k) for k in range(84, 100)]
    assert max(map(len, got.warnings)) == 500


def test_arrays_are_copied_neither_on_the_way_out_nor_in(make_frame: FrameMaker) -> None:
    frame = make_frame(0, 346, 260)
    parts = send(frame)
    assert np.shares_memory(np.frombuffer(parts[2], np.float32), frame.depth)
    got = decode(parts)
    assert isinstance(got, DepthFrame)
    assert np.shares_memory(got.depth, frame.depth)


def test_arrays_cannot_be_changed_once_sent_or_received(make_frame: FrameMaker) -> None:
    frame = make_frame(0)
    got = decode(send(frame))
    assert isinstance(got, DepthFrame)
    for array in (frame.depth, frame.std, got.depth, got.std):
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 1


def test_arrays_of_other_types_and_layouts_are_converted(make_frame: FrameMaker) -> None:
    frame = make_frame(0)
    other = replace(frame, depth=frame.depth.astype(">f8"), std=np.asfortranarray(frame.std))
    assert [bytes(part) for part in send(other)] == [bytes(part) for part in send(frame)]


def test_a_buffer_at_an_odd_address_becomes_an_aligned_array(make_frame: FrameMaker) -> None:
    parts = send(make_frame(0))
    odd = memoryview(b"\0" + bytes(parts[2]))[1:]
    got = decode([parts[0], parts[1], odd, parts[3]])
    assert isinstance(got, DepthFrame)
    assert got.depth.flags.aligned
    assert not got.depth.flags.writeable


def test_the_header_has_everything_that_a_receiver_needs(make_frame: FrameMaker) -> None:
    header = header_of(send(replace(make_frame(0), quality=math.nan)))
    assert header == {
        "schema": "sweepdepth/1",
        "stream": str(STREAM),
        "seq": 7,
        "t_start_us": 1_763_000_000_000_000,
        "t_end_us": 1_763_000_000_200_000,
        "t_publish_ns": 1_763_000_000_123_456_789,
        "direction": 1,
        "far_diopters": 0.5,
        "near_diopters": 2.5,
        "camera": {"width": 34, "height": 26, "fx": 64.8, "fy": 64.8, "cx": 17.0, "cy": 13.0, "distortion": None},
        "estimator": "polarity",
        "quality": None,
        "latency_ms": {"bin": 1.5, "total": 9.0},
        "bin_spans_us": [],
        "arrays": [
            {"name": "depth", "dtype": "<f4", "shape": [26, 34], "unit": "m"},
            {"name": "std", "dtype": "<f4", "shape": [26, 34], "unit": "1/m"},
        ],
    }


def test_the_published_schema_equals_the_code() -> None:
    assert json.loads(SCHEMA_FILE.read_text(encoding="utf-8")) == messages.json_schema(), (
        "run: .venv/bin/python -m sweepdepth.stream.wire.messages > stream/wire/schema.json"
    )


def test_headers_follow_the_published_schema(make_frame: FrameMaker) -> None:
    schema = json.loads(SCHEMA_FILE.read_text(encoding="utf-8"))
    validator = jsonschema.Draft202012Validator(schema)
    validator.check_schema(schema)
    frame = make_frame(0)
    stack = StackFrame(np.zeros((3, 26, 34), np.float32), frame.info, 1, 2, Direction.FAR_TO_NEAR)
    status = StatusFrame(latency_ms={"bin": Percentiles(p50=1.0, p99=math.nan)})
    for name, sent in {"DepthHeader": frame, "StackHeader": stack, "StatusHeader": status}.items():
        header = header_of(send(sent))
        assert validator.is_valid(header)
        one = jsonschema.Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schema["$defs"]})
        one.validate(header)
        assert not one.is_valid(header | {"schema": "sweepdepth/2"})


def test_the_stream_of_a_calibration_carries_its_camera_and_range(calibration: Calibration) -> None:
    info = StreamInfo.of(calibration, "polarity")
    assert (info.camera.width, info.camera.height, info.camera.cx) == (96, 72, 48.0)
    assert (info.far_diopters, info.near_diopters, info.estimator) == (0.5, 2.5, "polarity")


def test_a_header_without_bin_spans_is_one_of_a_whole_sweep(make_frame: FrameMaker) -> None:
    message = send(make_frame(0))
    header = header_of(message)
    del header["bin_spans_us"]
    got = decode([message[0], json.dumps(header).encode(), *message[2:]])
    assert isinstance(got, DepthFrame)
    assert got.bin_spans_us == ()


def test_keys_of_a_later_version_are_ignored(make_frame: FrameMaker) -> None:
    parts = send(make_frame(0))
    got = decode(altered(parts, focus_mm=12.5))
    assert isinstance(got, DepthFrame)


ARRAYS = [
    {"name": "depth", "dtype": "<f4", "shape": [26, 34], "unit": "m"},
    {"name": "std", "dtype": "<f4", "shape": [26, 34], "unit": "1/m"},
]


def array(index: int, **changes: Any) -> list[dict[str, Any]]:
    return [{**info, **changes} if i == index else info for i, info in enumerate(ARRAYS)]


HOSTILE: dict[str, tuple[Callable[[list[Buffer]], list[Buffer]], str]] = {
    "no parts": (lambda m: [], "0 parts"),
    "no header": (lambda m: m[:1], "1 parts"),
    "a thousand parts": (lambda m: m + [b""] * 1000, "1004 parts"),
    "an unknown topic": (lambda m: [b"depths", *m[1:]], "topic 'depths' is unknown"),
    "a topic of a megabyte": (lambda m: [b"\xff" * 1_000_000, *m[1:]], "is unknown"),
    "another topic's header": (lambda m: [b"status", *m[1:]], "events_per_s"),
    "a header that is too long": (lambda m: [m[0], bytes(m[1]) + b" " * MAX_HEADER_BYTES], "at most 65536"),
    "a header that is no JSON": (lambda m: [m[0], b"depth!", *m[2:]], "expected value"),
    "a header that is no text": (lambda m: [m[0], b"\xff\xfe\0", *m[2:]], "expected value"),
    "a header that is a list": (lambda m: [m[0], b"[]", *m[2:]], "an object"),
    "deep nesting": (lambda m: [m[0], b'{"x":' + b"[" * 30_000 + b"]" * 30_000 + b"}", *m[2:]], "recursion"),
    "NaN": (lambda m: altered(m, quality=math.nan), "expected value"),
    "NaN under an unknown key": (lambda m: altered(m, other=math.nan), "expected value"),
    "infinite range": (lambda m: [m[0], bytes(m[1]).replace(b"2.5", b"1e999"), *m[2:]], "finite"),
    "an integer of ten thousand digits": (lambda m: [m[0], b'{"seq":' + b"9" * 10_000 + b"}"], "out of range"),
    "another schema": (lambda m: altered(m, schema="sweepdepth/2"), "sweepdepth/1"),
    "no schema": (lambda m: altered(m, schema=...), "schema"),
    "no camera": (lambda m: altered(m, camera=...), "camera"),
    "a stream that is no UUID": (lambda m: altered(m, stream="mine"), "stream"),
    "a negative seq": (lambda m: altered(m, seq=-1), "seq"),
    "a seq in quotes": (lambda m: altered(m, seq="1"), "seq"),
    "a time beyond 64 bits": (lambda m: altered(m, t_end_us=2**63), "t_end_us"),
    "time running backwards": (lambda m: altered(m, t_end_us=0), "before t_start_us"),
    "a third direction": (lambda m: altered(m, direction=0), "direction"),
    "near beyond far": (lambda m: altered(m, far_diopters=3.0), "must exceed"),
    "a code object as dtype": (lambda m: altered(m, arrays=array(0, dtype="|O")), "dtype"),
    "big-endian numbers": (lambda m: altered(m, arrays=array(0, dtype=">f4")), "dtype"),
    "a negative shape": (lambda m: altered(m, arrays=array(0, shape=[-26, -34])), "shape"),
    "a shape of terabytes": (lambda m: altered(m, arrays=array(0, shape=[10**6, 10**6])), "shape"),
    "a shape that overflows": (lambda m: altered(m, arrays=array(0, shape=[2**32, 2**32])), "shape"),
    "a shape unlike the camera": (lambda m: altered(m, arrays=array(0, shape=[34, 26])), r"\(34, 26\)"),
    "a shape of five": (lambda m: altered(m, arrays=array(0, shape=[1, 1, 1, 26, 34])), "shape"),
    "a camera unlike the buffers": (
        lambda m: altered(
            m, camera={**header_of(m)["camera"], "width": 35}, arrays=[{**a, "shape": [26, 35]} for a in ARRAYS]
        ),
        "came with 3536 bytes",
    ),
    "no std": (lambda m: altered(m, arrays=ARRAYS[:1])[:3], "'std' is missing"),
    "the same name twice": (lambda m: altered(m, arrays=array(1, name="depth")), "same name"),
    "nine arrays": (lambda m: altered(m, arrays=ARRAYS * 5), "arrays"),
    "fewer buffers than announced": (lambda m: m[:3], "2 arrays, but 1 came"),
    "more buffers than announced": (lambda m: [*m, m[2]], "2 arrays, but 3 came"),
    "a buffer cut short": (lambda m: [*m[:3], m[3][:-1]], "came with 3535 bytes"),
    "an empty buffer": (lambda m: [*m[:3], b""], "came with 0 bytes"),
    "terminal escapes": (lambda m: altered(m, latency_ms={"\x1b[2J\n": "x"}), r"latency_ms\.\?\[2J\? "),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_malformed_headers_are_refused(name: str, make_frame: FrameMaker) -> None:
    alter, complaint = HOSTILE[name]
    with pytest.raises(WireError, match=complaint) as caught:
        decode(alter(send(make_frame(0))))
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


@given(st.lists(st.binary(max_size=200), max_size=12))
def test_noise_is_refused(parts: list[bytes]) -> None:
    with pytest.raises(WireError):
        decode(parts)


PLAIN = send(StatusFrame(1.0, 2.0, {"bin": Percentiles(p50=1.0, p99=2.0)}, {"stacks": 1}, {"busy": 2}, ("w",)))


@given(st.data())
def test_a_damaged_header_is_refused_or_harmless(data: st.DataObject) -> None:
    text = bytearray(PLAIN[1])
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(WireError):
        assert isinstance(decode([b"status", bytes(text)]), StatusFrame)


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"depth": np.zeros((34, 26), np.float32)}, r"array 'depth' has shape \(34, 26\); expected \(26, 34\)"),
        ({"std": np.zeros(26 * 34, np.float32)}, "array 'std'"),
        ({"t_end_us": 0}, "before t_start_us"),
        ({"direction": 3}, "direction"),
        ({"latency_ms": {"": 1.0}}, "latency_ms"),
        ({"latency_ms": {str(k): 1.0 for k in range(33)}}, "latency_ms"),
    ],
)
def test_a_frame_that_does_not_fit_is_not_sent(changes: dict[str, Any], complaint: str, make_frame: FrameMaker) -> None:
    with pytest.raises(WireError, match=f"depth frame: .*{complaint}"):
        send(replace(make_frame(0), **changes))


# Compressed


@given(
    array=arrays(np.float32, st.lists(st.integers(1, 12), min_size=1, max_size=4).map(tuple), elements=any_floats),
    dtype=st.sampled_from([SMOOTH, SPARSE]),
)
def test_compression_keeps_every_bit(array, dtype):
    again = decompress(compress(array, dtype), array.shape, dtype)
    assert again.dtype == np.dtype("<f4")
    np.testing.assert_array_equal(again.view("u4"), array.view("u4"))


def test_compressed_numbers_follow_the_page():
    """Decoded by hand, as the page describes."""
    numbers = np.array([[1.5, 1.25, np.nan], [0.5, -2.0, 3.0]], np.float32)
    bits = [[int(b) for b in row] for row in numbers.view("u4")]
    made = []
    for y in range(2):
        for x in range(3):
            left, above = bits[y][x - 1] if x else 0, bits[y - 1][x] if y else 0
            corner = bits[y - 1][x - 1] if x and y else 0
            rest = (bits[y][x] - left - above + corner) % 2**32
            signed = rest - 2**32 if rest >= 2**31 else rest
            made.append(2 * signed if signed >= 0 else -2 * signed - 1)
    expected = bytes((number >> 8 * weight) & 255 for weight in range(4) for number in made)
    assert zstandard.ZstdDecompressor().decompress(compress(numbers, SMOOTH)) == expected
    assert zstandard.ZstdDecompressor().decompress(compress(numbers, SPARSE)) == numbers.tobytes()


@pytest.mark.parametrize("topic,dtype", [("depth", SMOOTH), ("stack", SPARSE)])
def test_a_compressed_frame_has_a_version_that_older_receivers_refuse(make_frame: FrameMaker, topic, dtype):
    sent: AnyFrame = make_frame(0)
    if topic == "stack":
        stack = np.zeros((3, 26, 34), np.float32)
        stack[1, 3:5] = 1.5
        sent = StackFrame(stack, sent.info, 0, 1, Direction.FAR_TO_NEAR)
    parts = send(sent, encoding="zstd")
    header = header_of(parts)
    assert {info["dtype"] for info in header["arrays"]} == {dtype} != {"<f4"}  # older receivers refuse by this name
    with pytest.raises(TypeError, match="/zstd"):
        np.dtype(dtype)
    name = f"{topic.capitalize()}Header"
    jsonschema.validate(header, {"$ref": f"#/$defs/{name}", **json.loads(SCHEMA_FILE.read_text())})
    got = decode(parts)
    for name in ("depth", "std") if topic == "depth" else ("stack",):
        array = getattr(got, name)
        np.testing.assert_array_equal(array, getattr(sent, name))
        assert not array.flags.writeable
    plain = send(sent)
    assert sum(map(len, parts[2:])) < sum(map(len, plain[2:]))


def test_wrongly_compressed_data_is_refused_within_the_announced_memory(make_frame: FrameMaker):
    topic, header, depth, std = send(make_frame(0), encoding="zstd")
    huge = bytes(header).replace(b"[26,34]", b"[16384,16384]")
    huge = huge.replace(b'"width":34,"height":26', b'"width":16384,"height":16384')
    bomb = compress(np.zeros((4096, 4096), np.float32), SMOOTH)
    for message, expected in (
        ([topic, header, depth[:-9], std], r"array 'depth' of shape \(26, 34\) is damaged"),
        ([topic, header, b"", std], "is damaged"),
        ([topic, header, bytes(depth) + b"more", std], "is damaged"),
        ([topic, header, bytes(depth) + bytes(std), std], "is damaged"),
        ([topic, header, bomb, std], r"'depth' of shape \(26, 34\) holds 67108864 bytes compressed"),
        ([topic, header, *send(make_frame(0))[2:]], "is damaged"),
        ([topic, send(make_frame(0))[1], depth, std], "came with"),
        ([topic, huge, depth, std], "would take more than 134217728"),
    ):
        with pytest.raises(WireError, match=expected):
            decode(message)
