"""ROS 1 bags, and ROS 2 bags in SQLite or MCAP, through rosbags, an optional extra.

Messages with events are `dvs_msgs/EventArray` and `prophesee_event_msgs/EventArray`, which have the same layout, and
`event_camera_msgs/EventPacket` (formerly `event_array_msgs/EventArray`), whose bytes are in an encoding that it names:
"mono" and "trigger" are decoded here, camera words by `WORD_DECODERS`. The library only reads the bag; messages are
parsed here, since building a Python object for every event would take minutes.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import RecordingError, one_line
from ..events import FALLING, RISING, make_events, make_triggers
from ..sources.chunks import NO_EVENTS, NO_TRIGGERS, Chunk, Header, Losses, Source
from .hints import NO_SIZE
from .prophesee.raw import decode_packets
from .times import earliest_us

WORD_DECODERS = {"evt2": partial(decode_packets, "EVT2"), "evt3": partial(decode_packets, "EVT3")}
"""Decoders of camera words in packets. Times are the sensor's, since those of such packets are undefined."""

_ARRAYS = ("dvs_msgs/EventArray", "prophesee_event_msgs/EventArray")
_PACKETS = ("event_camera_msgs/EventPacket", "event_array_msgs/EventArray")
_ROS1_EVENT = np.dtype([("x", "<u2"), ("y", "<u2"), ("sec", "<u4"), ("nsec", "<u4"), ("p", "u1")])
_OTHER_ENCODING = "one of its packets is encoded as {!r}, unlike those before it"
_PACKETS_WEIGHED = 100
"""Number of packets sampled to estimate the total size, since reading a whole bag may take minutes."""

_DAMAGED = "one of its messages is damaged or cut short"


class Fields:
    """Reads the fields of one message in order: little-endian, packed in ROS 1, aligned in ROS 2's CDR."""

    def __init__(self, content: bytes, *, cdr: bool) -> None:
        self.cdr = cdr
        if cdr and content[1:2] != b"\1":
            raise RecordingError("its messages are big-endian, which is not read; record them on a usual machine")
        self.content = content[4:] if cdr else content
        self.at = 0

    def number(self, size: int) -> int:
        """The next unsigned number of `size` bytes."""
        if self.cdr:
            self.at = -(-self.at // size) * size
        return int.from_bytes(self.take(size), "little")

    def take(self, size: int) -> bytes:
        """The next bytes.

        Raises:
            RecordingError: the message ends before.
        """
        part = self.content[self.at : self.at + size]
        if len(part) != size:
            raise RecordingError(_DAMAGED)
        self.at += size
        return part

    def text(self) -> str:
        """The next string."""
        return self.take(self.number(4)).rstrip(b"\0").decode("utf-8", "replace")

    def skip_header(self) -> None:
        """Skip a std_msgs/Header."""
        for _ in range(2 if self.cdr else 3):  # sequence number (ROS 1 only), seconds, nanoseconds
            self.number(4)
        self.text()


def decode(path: str, size: tuple[int, int] | None) -> Source:
    """Open a bag; of several topics with events, the one with most messages is read."""
    bag = _open(path)
    counts: Counter[str] = Counter()
    for connection in bag.connections:
        counts[connection.topic] += connection.msgcount
    kinds = {connection.topic: _kind(connection.msgtype) for connection in bag.connections}
    first = {}
    for connection, _, content in _messages(bag, [c for c in bag.connections if _kind(c.msgtype)]):
        if connection.topic not in first:
            first[connection.topic] = _meta(kinds[connection.topic], content, cdr=_is_cdr(bag))
        if len(first) == sum(1 for topic in counts if kinds[topic] and counts[topic]):
            break
    topics = [topic for topic, (_, _, encoding) in first.items() if encoding != "trigger"]
    if not topics:
        held = ", ".join(sorted({connection.msgtype for connection in bag.connections}))
        raise RecordingError(f"it has no events; its messages are {held[:200] or 'none'}")
    topic = max(topics, key=counts.__getitem__)
    width, height, encoding = first[topic]
    if encoding not in ("", "mono", *WORD_DECODERS):
        raise RecordingError(
            f"its packets are encoded as {one_line(encoding)!r}; {', '.join(('mono', *WORD_DECODERS))} can be read "
            "from bags, so record the camera's own file, or dvs_msgs"
        )
    if width and height:
        size = width, height
    if size is None:
        raise RecordingError(NO_SIZE)
    msgtype = next(connection.msgtype for connection in bag.connections if connection.topic == topic)
    rest = ", ".join(name for name in topics if name != topic)
    notes = (f"events of {topic} are read, not those of {rest[:100]}",) if rest else ()
    why = f"bag of ROS {2 if _is_cdr(bag) else 1}: {msgtype}{f', {encoding}' if encoding else ''}, on {topic}"
    if encoding in WORD_DECODERS:
        of_topic = [c for c in bag.connections if c.topic == topic]
        sizes = [len(packet) for packet in islice(_packets_of(bag, of_topic, encoding), _PACKETS_WEIGHED)]
        losses = Losses()
        chunks = WORD_DECODERS[encoding](
            _packets_of(bag, of_topic, encoding), sum(sizes) * counts[topic] // len(sizes), losses
        )
        return Source(Header("ROS", *size, notes=notes, why=why), chunks, losses=losses)
    taken = [c for c in bag.connections if c.topic == topic or first.get(c.topic, ("", "", ""))[2] == "trigger"]
    early = next((earliest_us(c.events["timestamp"][:1000]) for c in _chunks(bag, taken, kinds) if len(c.events)), 0)
    return Source(Header("ROS", *size, notes=notes, why=why, earliest_us=early), _chunks(bag, taken, kinds))


def _open(path: str) -> Any:
    try:
        from rosbags.rosbag1 import Reader as Bag1
        from rosbags.rosbag2 import Reader as Bag2
        from rosbags.rosbag2.storage_mcap import McapReader
        from rosbags.rosbag2.storage_sqlite3 import Sqlite3Reader
    except ImportError:
        raise RecordingError("reading bags of ROS needs rosbags; pip install 'sweepdepth[ros]'") from None
    place = Path(path)
    if place.is_dir():
        make = Bag2
    else:
        with place.open("rb") as file:
            head = file.read(8)
        make = Bag1 if head.startswith(b"#ROSBAG") else McapReader if head.startswith(b"\x89MCAP") else Sqlite3Reader
    try:
        bag = make(place)
        bag.open()
    except MemoryError:
        raise
    except Exception as error:  # the library raises many classes of exceptions on damaged files
        raise RecordingError(f"it is no bag of ROS, or a damaged one ({one_line(error)[:100]})") from error
    return bag


def _is_cdr(bag: Any) -> bool:
    return type(bag).__module__.startswith("rosbags.rosbag2")


def _kind(msgtype: str) -> str:
    name = msgtype.replace("/msg/", "/")
    return "array" if name in _ARRAYS else "packet" if name in _PACKETS else ""


def _messages(bag: Any, connections: list[Any]) -> Iterator[tuple[Any, int, bytes]]:
    if not connections:
        return
    messages = iter(bag.messages(connections))
    while True:
        try:
            message = next(messages)
        except StopIteration:
            return
        except Exception as error:
            raise RecordingError(
                f"its next messages cannot be read: it is damaged ({one_line(error)[:100]})"
            ) from error
        yield message


def _meta(kind: str, content: bytes, *, cdr: bool) -> tuple[int, int, str]:
    """Sensor width and height, and a packet's encoding."""
    fields = Fields(bytes(content), cdr=cdr)
    fields.skip_header()
    height, width = fields.number(4), fields.number(4)
    if kind == "array":
        return width, height, ""
    fields.number(8)
    fields.number(8)
    return width, height, fields.text().lower()


def _chunks(bag: Any, connections: list[Any], kinds: dict[str, str]) -> Iterator[Chunk]:
    for connection, _, content in _messages(bag, connections):
        fields = Fields(bytes(content), cdr=_is_cdr(bag))
        if kinds[connection.topic] == "array":
            fields.skip_header()
            fields.number(4)
            fields.number(4)
            yield Chunk(_array(fields), NO_TRIGGERS)
            continue
        base_ns, encoding, packet = _packet_of(fields)
        if encoding not in ("mono", "trigger"):
            raise RecordingError(_OTHER_ENCODING.format(one_line(encoding)))
        yield _words_of_mono(packet, base_ns, encoding)


def _packets_of(bag: Any, connections: list[Any], encoding: str) -> Iterator[bytes]:
    """The packets of camera words of one topic, in order."""
    for _, _, content in _messages(bag, connections):
        _, other, packet = _packet_of(Fields(bytes(content), cdr=_is_cdr(bag)))
        if other != encoding:
            raise RecordingError(_OTHER_ENCODING.format(one_line(other)))
        yield packet


def _packet_of(fields: Fields) -> tuple[int, str, bytes]:
    """Base of times in ns, encoding and content of an EventPacket."""
    fields.skip_header()
    fields.number(4)
    fields.number(4)
    fields.number(8)
    base_ns = fields.number(8)
    encoding = fields.text().lower()
    fields.number(1)
    return base_ns, encoding, fields.take(fields.number(4))


def _array(fields: Fields) -> np.ndarray:
    """(N,) EVENT_DTYPE: the events at the end of an EventArray."""
    n = fields.number(4)
    if not fields.cdr:
        raw = np.frombuffer(fields.take(n * _ROS1_EVENT.itemsize), _ROS1_EVENT)
        columns = {name: raw[name].astype(np.int64) for name in ("x", "y", "sec", "nsec", "p")}
        return _dated(columns)
    if not n:
        return NO_EVENTS
    # In CDR, the first event takes 13 bytes; event k ≥ 1 starts 2 bytes before its seconds, which are at 16 k + 4.
    start = fields.at
    size = 16 * (n - 1) + 13
    raw = np.frombuffer(fields.take(size) + bytes(3), np.uint8)
    rows = raw.reshape(n, 16)
    sec, nsec = (np.ascontiguousarray(rows[:, at : at + 4]).view("<u4")[:, 0].astype(np.int64) for at in (4, 8))
    halves = raw.view("<u2").astype(np.int64)
    at = np.arange(n) * 8
    x = halves[np.where(at > 0, at - 1, 0)]
    y = halves[np.where(at > 0, at, 1)]
    assert start % 4 == 0
    return _dated({"x": x, "y": y, "sec": sec, "nsec": nsec, "p": rows[:, 12]})


def _dated(columns: dict[str, np.ndarray]) -> np.ndarray:
    times = columns["sec"] * 1_000_000 + (columns["nsec"] + 500) // 1000
    x, y = (np.minimum(columns[name], 32_767) for name in "xy")
    return make_events(times, x, y, columns["p"] > 0)


def _words_of_mono(packet: bytes, base_ns: int, encoding: str) -> Chunk:
    """The events or edges of one packet of 8-byte words: nanoseconds since its base, x, y and polarity."""
    words = np.frombuffer(packet[: len(packet) // 8 * 8], "<u8")
    times = ((words & 0xFFFF_FFFF).astype(np.int64) + (min(base_ns, 1 << 62) + 500)) // 1000
    on = words >> np.uint64(63) > 0
    if encoding == "trigger":
        return Chunk(NO_EVENTS, make_triggers(times, np.where(on, RISING, FALLING)))
    x = np.minimum(words >> np.uint64(32) & 0xFFFF, 32_767).astype(np.int16)
    y = (words >> np.uint64(48) & 0x7FFF).astype(np.int16)
    return Chunk(make_events(times, x, y, on), NO_TRIGGERS)
