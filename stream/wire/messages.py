"""The wire format: frames as dataclasses, headers as pydantic models, and the codec between them.

A message is `[topic, header, array, …]`: the topic in ASCII, a JSON header, and raw little-endian C-order buffers, one
for each entry of the header's `arrays`. `schema.json` beside this file is the published JSON Schema of the headers;
`python -m sweepdepth.stream.wire.messages > stream/wire/schema.json` updates it.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal, Self
from uuid import UUID

import numpy as np
import pydantic_core
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from ...capture.calibration import Calibration
from ...capture.errors import WireError
from ...capture.sweeps import Direction
from .compression import PLAIN, Encoding, compress, decompress, dtype_of

SCHEMA = "sweepdepth/1"
MAX_HEADER_BYTES = 65_536
MAX_ARRAYS = 8
MAX_ARRAY_BYTES = 128 << 20
"""Largest array that a receiver accepts by default: a stack of 24 bins at 1280×720 is 88 MB."""

_MAX_WARNINGS, _MAX_WARNING_LENGTH = 16, 500

Buffer = bytes | memoryview
Int64 = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Count = Annotated[int, Field(ge=0, lt=2**63)]
BinSpan = Annotated[tuple[Int64, ...], Field(min_length=2, max_length=2)]
Pixels = Annotated[int, Field(ge=1, le=16384)]
Positive = Annotated[float, Field(gt=0)]
Name = Annotated[str, Field(min_length=1, max_length=64)]
Line = Annotated[str, Field(max_length=_MAX_WARNING_LENGTH)]
Number = Annotated[
    float,
    Field(allow_inf_nan=True),
    BeforeValidator(lambda number: math.nan if number is None else number),
    AfterValidator(lambda number: number if math.isfinite(number) else math.nan),
    WithJsonSchema({"anyOf": [{"type": "number"}, {"type": "null"}]}),
]
"""A number that may be unknown: NaN here, null on the wire, since JSON has no NaN."""


class _Model(BaseModel):
    # Unknown keys are ignored, so that later versions can add some.
    model_config = ConfigDict(strict=True, frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class CameraInfo(_Model):
    """The pinhole geometry of the depth map; pixel centres lie at +0.5."""

    width: Pixels
    """Width of the depth map in pixels."""
    height: Pixels
    """Height of the depth map in pixels."""
    fx: Positive
    """Horizontal focal length in pixels, at the far end of the sweep."""
    fy: Positive
    """Vertical focal length in pixels, at the far end of the sweep."""
    cx: float
    """Horizontal coordinate of the principal point in pixels."""
    cy: float
    """Vertical coordinate of the principal point in pixels."""
    distortion: Annotated[tuple[float, ...], Field(min_length=5, max_length=5)] | None = None
    """k1, k2, p1, p2, k3 of OpenCV's model, if the lens's distortion is known."""


class StreamInfo(_Model):
    """Properties that all frames of a stream share: the camera, the range of the sweep, and the estimator."""

    camera: CameraInfo
    """Geometry of the depth map."""
    far_diopters: Annotated[float, Field(ge=0)]
    """Focus at the far end of the sweep, 1/m."""
    near_diopters: Positive
    """Focus at the near end of the sweep, 1/m."""
    estimator: Name
    """Name of the estimator, for example "polarity"."""

    @model_validator(mode="after")
    def _range_not_empty(self) -> Self:
        if self.near_diopters <= self.far_diopters:
            raise ValueError(f"near_diopters ({self.near_diopters}) must exceed far_diopters ({self.far_diopters})")
        return self

    @classmethod
    def of(cls, calibration: Calibration, estimator: str) -> Self:
        """The stream that an estimator makes with a calibration.

        Args:
            calibration: of the camera and lens.
            estimator: name of the estimator.

        Returns:
            Properties that all frames of the stream share.
        """
        camera, sweep = calibration.camera, calibration.sweep
        return cls(
            camera=CameraInfo(**{name: getattr(camera, name) for name in CameraInfo.model_fields}),
            far_diopters=sweep.far_diopters,
            near_diopters=sweep.near_diopters,
            estimator=estimator,
        )


class Percentiles(_Model):
    """Latency of one stage over the latest 1000 depth frames, in milliseconds."""

    p50: Number
    p99: Number


class ArrayInfo(_Model):
    """One of the buffers that follow the header."""

    name: Name
    dtype: Literal["<f4", "<f4/zstd", "<f4/diff/zigzag/shuffle/zstd"]
    """Little-endian IEEE 754 single precision, NaN where unknown; or the same compressed, as docs/wire.md describes."""
    shape: Annotated[tuple[Pixels, ...], Field(min_length=1, max_length=4)]
    """C order: the last index runs fastest."""
    unit: Annotated[str, Field(max_length=64)]


class _Header(_Model):
    version: Literal["sweepdepth/1"] = Field(alias="schema")
    stream: UUID
    """New each time the publisher starts."""
    seq: Count
    """Counts the messages of this topic from 0; a gap means lost messages."""
    t_publish_ns: Int64
    """Host clock when published, ns since 1970."""
    arrays: Annotated[tuple[ArrayInfo, ...], Field(max_length=MAX_ARRAYS)]
    """The buffers after the header, in order."""

    @model_validator(mode="after")
    def _names_differ(self) -> Self:
        if len({info.name for info in self.arrays}) < len(self.arrays):
            raise ValueError("two arrays have the same name")
        return self

    def _require(self, name: str, *shapes: tuple[int, ...]) -> None:
        """Array `name` must be there in one of these shapes, where −1 stands for any length."""
        for info in self.arrays:
            if info.name == name:
                if any(
                    len(info.shape) == len(shape) and all(w in (-1, n) for n, w in zip(info.shape, shape, strict=True))
                    for shape in shapes
                ):
                    return
                raise ValueError(f"array {name!r} has shape {info.shape}; expected {' or '.join(map(str, shapes))}")
        raise ValueError(f"array {name!r} is missing")


class _SweepHeader(StreamInfo, _Header):
    t_start_us: Int64
    """Sensor clock where the events used begin, µs."""
    t_end_us: Int64
    """Sensor clock where they end, µs."""
    direction: Literal[1, -1]
    """1: the focus moved from far to near; -1: from near to far."""

    @model_validator(mode="after")
    def _time_runs_forward(self) -> Self:
        if self.t_end_us < self.t_start_us:
            raise ValueError(f"t_end_us ({self.t_end_us}) is before t_start_us ({self.t_start_us})")
        return self


class DepthHeader(_SweepHeader):
    """Header of `depth`. Arrays: `depth` (height, width) in m along Z and `std` (height, width) in 1/m."""

    quality: Number
    """0 to 1: how well the events fit a focal sweep over a static scene."""
    latency_ms: Annotated[dict[Name, Number], Field(max_length=32)]
    """Milliseconds spent in each stage."""
    bin_spans_us: Annotated[tuple[BinSpan, ...], Field(max_length=256)] = ()
    """Sensor clock from which and up to which each bin of the stack has events, far to near, when depth comes at the
    bin rate and bins are from different passes of the lens; else empty or missing."""

    @model_validator(mode="after")
    def _arrays_fit(self) -> Self:
        for name in ("depth", "std"):
            self._require(name, (self.camera.height, self.camera.width))
        return self


class StackHeader(_SweepHeader):
    """Header of `stack`. Array: `stack` in events, (bins, height, width) signed, or (2, …) with ON and OFF apart."""

    @model_validator(mode="after")
    def _arrays_fit(self) -> Self:
        height, width = self.camera.height, self.camera.width
        self._require("stack", (-1, height, width), (2, -1, height, width))
        return self


class StatusHeader(_Header):
    """Header of `status`, sent about once a second. No arrays."""

    events_per_s: Number
    frames_per_s: Number
    latency_ms: Annotated[dict[Name, Percentiles], Field(max_length=32)]
    """Latency of each stage."""
    queues: Annotated[dict[Name, Count], Field(max_length=32)]
    """Number of items waiting in each queue."""
    drops: Annotated[dict[Name, Count], Field(max_length=32)]
    """Number of items dropped since the start, by reason."""
    warnings: Annotated[tuple[Line, ...], Field(max_length=_MAX_WARNINGS)]
    """One line each, newest last."""
    end: bool
    """True in the last message of the stream, which may come more than once."""
    sync_quality: Number = Field(default_factory=lambda: math.nan)
    """0 to 1: certainty of the lens's turning points; missing in streams of older versions."""
    n_events: Count = 0
    """Events since the start in the sensor window; this and the next two are missing in older streams."""
    n_frames: Count = 0
    """Depth frames since the start."""
    n_left_out: Count = 0
    """Events since the start outside the sensor window."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Frame:
    """Metadata of a received message, set by the publisher.

    Attributes:
        stream: UUID, new each time the publisher starts.
        seq: number of the message among those of this topic in this stream, from 0.
        t_publish_ns: host clock when published, ns since 1970.
        lost: messages of this topic missed since the one received before.
    """

    topic: ClassVar[str]
    stream: UUID | None = None  # new each time the publisher starts
    seq: int = -1  # counts the messages of this topic in this stream
    t_publish_ns: int = 0  # host clock, ns since 1970
    lost: int = 0  # messages of this topic missed since the one received before


@dataclass(frozen=True, eq=False)
class DepthFrame(Frame):
    """Metric depth with its uncertainty, from the events between two sensor times.

    Attributes:
        depth: (H, W) float32, metres along Z, NaN where unknown.
        std: (H, W) float32, one standard deviation in 1/m, NaN where unknown.
        info: camera, range of the sweep and estimator.
        t_start_us: sensor time in µs where the events used begin.
        t_end_us: sensor time in µs where they end.
        direction: which way the focus moved.
        quality: 0 to 1, how well the events fit a focal sweep over a static scene; NaN if unknown.
        latency_ms: milliseconds by stage.
        bin_spans_us: (B, 2) sensor times in µs from and up to which each bin has events, far→near, at the bin rate;
            else empty.
        stream, seq, t_publish_ns, lost: metadata of a received message (`Frame`).
    """

    topic: ClassVar[str] = "depth"
    depth: np.ndarray  # (H, W) float32, metres along Z, NaN where unknown
    std: np.ndarray  # (H, W) float32, one standard deviation in 1/m, NaN where unknown
    info: StreamInfo
    t_start_us: int
    t_end_us: int
    direction: Direction
    quality: float = math.nan  # 0 to 1
    latency_ms: Mapping[str, float] = field(default_factory=dict)  # stage → ms
    bin_spans_us: Sequence[Sequence[int]] = ()  # (B, 2) from, up to, far→near, at the bin rate; else empty

    def __repr__(self) -> str:
        height, width = self.depth.shape
        known = np.isfinite(self.depth)
        middle = f", median {np.median(self.depth[known]):.3g} m" if known.any() else ""
        return (
            f"DepthFrame({width}×{height}, {self.t_start_us} to {self.t_end_us} µs, "
            f"{self.direction.name.lower().replace('_to_', '→')}, {100 * known.mean():.0f} % known{middle}, "
            f"quality {self.quality:.2f}, {self.info.estimator})"
        )

    def _repr_png_(self) -> bytes:
        """Picture for notebooks: depth and its deviation."""
        from ...capture.reporting.figures import estimate_figure, figure_png

        info = self.info
        return figure_png(estimate_figure(self.depth, self.std, info.far_diopters, info.near_diopters))


@dataclass(frozen=True, eq=False)
class StackFrame(Frame):
    """An event focal stack, for display.

    Attributes:
        stack: float32, events, far→near: (B, H, W) signed, or (2, B, H, W) ON and OFF.
        info: camera, range of the sweep and estimator.
        t_start_us: sensor time in µs where the events begin.
        t_end_us: sensor time in µs where they end.
        direction: which way the focus moved.
        stream, seq, t_publish_ns, lost: metadata of a received message (`Frame`).
    """

    topic: ClassVar[str] = "stack"
    stack: np.ndarray  # (B, H, W) signed, or (2, B, H, W) ON and OFF, float32, events, far→near
    info: StreamInfo
    t_start_us: int
    t_end_us: int
    direction: Direction


@dataclass(frozen=True, eq=False)
class StatusFrame(Frame):
    """The state of the runtime, about once a second. Unknown numbers are NaN.

    Attributes:
        events_per_s: events received per second.
        frames_per_s: depth frames per second.
        latency_ms: percentiles in ms by stage.
        queues: number of items waiting by queue.
        drops: number of items dropped since the start by reason.
        warnings: one line each; the newest 16 are sent.
        end: True in the last status of a stream.
        sync_quality: 0 to 1, how certain the turning points of the lens are.
        n_events: events since the start within the sensor window.
        n_frames: depth frames since the start.
        n_left_out: events since the start outside the sensor window.
        stream, seq, t_publish_ns, lost: metadata of a received message (`Frame`).
    """

    topic: ClassVar[str] = "status"
    events_per_s: float = math.nan
    frames_per_s: float = math.nan
    latency_ms: Mapping[str, Percentiles] = field(default_factory=dict)  # stage → ms
    queues: Mapping[str, int] = field(default_factory=dict)  # queue → items waiting
    drops: Mapping[str, int] = field(default_factory=dict)  # reason → how many since the start
    warnings: Sequence[str] = ()  # the newest 16 are sent
    end: bool = False
    sync_quality: float = math.nan  # 0 to 1: certainty of the lens's turning points
    n_events: int = 0  # since the start, within the sensor window
    n_frames: int = 0  # since the start
    n_left_out: int = 0  # outside the sensor window


AnyFrame = DepthFrame | StackFrame | StatusFrame
_FRAMES = {frame.topic: frame for frame in (DepthFrame, StackFrame, StatusFrame)}
_HEADERS = {"depth": DepthHeader, "stack": StackHeader, "status": StatusHeader}
_UNITS = {"depth": {"depth": "m", "std": "1/m"}, "stack": {"stack": "events"}, "status": {}}
TOPICS = tuple(_FRAMES)


def encode(frame: AnyFrame, *, stream: UUID, seq: int, t_publish_ns: int, encoding: Encoding = "none") -> list[Buffer]:
    """Encode a frame as the parts of a message: topic, frame header in JSON, arrays.

    C-contiguous float32 arrays are not copied unless compressed, and become read-only, since they may be sent long
    after this returns.

    Raises:
        WireError: the frame does not fit the wire format.
    """
    units = _UNITS[frame.topic]
    arrays = {name: np.ascontiguousarray(getattr(frame, name), "<f4") for name in units}
    header = {f.name: getattr(frame, f.name) for f in fields(frame) if f.name not in units and f.name != "info"}
    header |= {"schema": SCHEMA, "stream": stream, "seq": seq, "t_publish_ns": t_publish_ns}
    dtypes = {name: dtype_of(name, encoding) for name in arrays}
    header["arrays"] = [
        {"name": name, "dtype": dtypes[name], "shape": array.shape, "unit": units[name]}
        for name, array in arrays.items()
    ]
    if isinstance(frame, StatusFrame):
        header["warnings"] = [text[:_MAX_WARNING_LENGTH] for text in frame.warnings[-_MAX_WARNINGS:]]
    else:
        header |= dict(frame.info)
    try:
        # Not strict, so that NumPy's numbers are accepted.
        checked = _HEADERS[frame.topic].model_validate(header, strict=False)
    except ValidationError as error:
        raise WireError(f"{frame.topic} frame: {_explain(error)}") from error
    for array in arrays.values():
        array.setflags(write=False)
    buffers: list[Buffer] = [
        array.reshape(-1).view(np.uint8).data if dtypes[name] == PLAIN else compress(array, dtypes[name])
        for name, array in arrays.items()
    ]
    return [frame.topic.encode(), checked.model_dump_json(by_alias=True).encode(), *buffers]


def decode(parts: Sequence[Buffer], max_array_bytes: int = MAX_ARRAY_BYTES) -> AnyFrame:
    """Validate a message and decode it to a frame, whose arrays are read-only (views of the buffers if uncompressed).

    The header is not trusted: its size is bounded before parsing, and every shape is compared with the length of its
        buffer, or with `max_array_bytes` and the length of the compressed content.

    Raises:
        WireError: the message does not follow the wire format in any respect.
    """
    if not 2 <= len(parts) <= 2 + MAX_ARRAYS:
        raise WireError(f"message: has {len(parts)} parts; expected a topic, a header and up to {MAX_ARRAYS} arrays")
    topic = bytes(parts[0][:64]).decode("ascii", "backslashreplace")
    if topic not in _HEADERS:
        raise WireError(f"message: topic {topic!r} is unknown; expected {', '.join(TOPICS)}")
    if len(parts[1]) > MAX_HEADER_BYTES:
        raise WireError(f"{topic} message: a header of {len(parts[1])} bytes; expected at most {MAX_HEADER_BYTES}")
    text = bytes(parts[1])
    try:
        # Validation alone would accept NaN where a number may be unknown, and under ignored keys.
        pydantic_core.from_json(text, allow_inf_nan=False)
        header = _HEADERS[topic].model_validate_json(text)
        arrays = _arrays(header.arrays, parts[2:], max_array_bytes)
    except ValueError as error:
        raise WireError(f"{topic} message: {_explain(error)}") from error
    says: dict[str, Any] = {name: getattr(header, name) for name in type(header).model_fields} | arrays
    if isinstance(header, StreamInfo):
        says["info"] = StreamInfo(**{name: says[name] for name in StreamInfo.model_fields})
        says["direction"] = Direction(says["direction"])
    frame = _FRAMES[topic]
    return frame(**{f.name: says[f.name] for f in fields(frame) if f.name in says})


def json_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of all headers; `$defs/DepthHeader` and its like are those of one topic."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": SCHEMA,
        "description": "Headers of the depth stream. A message is [topic, header, array, …] over ZeroMQ PUB/SUB.",
        **TypeAdapter(DepthHeader | StackHeader | StatusHeader).json_schema(),
    }


def _arrays(infos: Sequence[ArrayInfo], buffers: Sequence[Buffer], max_bytes: int) -> dict[str, np.ndarray]:
    """The buffers as read-only arrays, whose lengths must match their shapes exactly."""
    if len(infos) != len(buffers):
        raise ValueError(f"the header announces {len(infos)} arrays, but {len(buffers)} came")
    arrays = {}
    for info, buffer in zip(infos, buffers, strict=True):
        n_bytes = 4 * math.prod(info.shape)
        if info.dtype != PLAIN:
            if n_bytes > max_bytes:
                raise ValueError(f"array {info.name!r} of shape {info.shape} would take more than {max_bytes} bytes")
            try:
                array = decompress(buffer, info.shape, info.dtype)
            except ValueError as error:
                raise ValueError(f"array {info.name!r} of shape {info.shape} {error}") from error
        elif len(buffer) != n_bytes:
            raise ValueError(f"array {info.name!r} of shape {info.shape} came with {len(buffer)} bytes")
        else:
            # ZeroMQ may return small buffers at unaligned addresses, which compiled loops cannot process: those are
            # copied.
            array = np.require(np.frombuffer(buffer, info.dtype).reshape(info.shape), requirements="A")
        array.setflags(write=False)
        arrays[info.name] = array
    return arrays


def _explain(error: ValueError) -> str:
    """The first error on one line of printable text."""
    if isinstance(error, ValidationError):
        fault = error.errors(include_url=False)[0]
        key = ".".join(map(str, fault["loc"]))
        if fault["type"] == "value_error":
            text = f"{key} {fault['msg'].removeprefix('Value error, ')}".lstrip()
        else:
            text = f"{key} ({fault['input']!r:.80}): {fault['msg']}"
    else:
        text = str(error)
    return "".join(letter if letter.isprintable() else "?" for letter in text[:300])


if __name__ == "__main__":
    print(json.dumps(json_schema(), indent=2, ensure_ascii=False))
