"""Bags of ROS 1 and 2, written by rosbags with its own serializer."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sweepdepth import RecordingError
from sweepdepth.capture.events import make_events
from sweepdepth.capture.recordings import open_recording

pytest.importorskip("rosbags", reason="rosbags is missing: pip install 'sweepdepth[ros]'")

from rosbags.rosbag1 import Writer as Writer1
from rosbags.rosbag2 import StoragePlugin
from rosbags.rosbag2 import Writer as Writer2
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

WIDTH, HEIGHT, START_US = 96, 72, 1_700_000_000_000_320
EVENT = "uint16 x\nuint16 y\ntime ts\nbool polarity\n"
ARRAY = "std_msgs/Header header\nuint32 height\nuint32 width\ndvs_msgs/Event[] events\n"
PACKET = (
    "std_msgs/Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\nstring encoding\n"
    "bool is_bigendian\nuint8[] events\n"
)


def some_events(n: int = 500) -> np.ndarray:
    rng = np.random.default_rng(2)
    times = START_US + np.sort(rng.integers(0, 400_000, n))
    return make_events(times, rng.integers(0, WIDTH, n), rng.integers(0, HEIGHT, n), rng.integers(0, 2, n))


class Bag:
    """A bag being written: messages of one or more topics."""

    def __init__(self, path: Path, kind: str) -> None:
        self._ros1 = kind == "ros1"
        self.store = get_typestore(Stores.ROS1_NOETIC if self._ros1 else Stores.ROS2_HUMBLE)
        time = "time" if self._ros1 else "builtin_interfaces/Time"
        types = {}
        for package in ("dvs_msgs", "prophesee_event_msgs"):
            types |= get_types_from_msg(EVENT.replace("time ts", f"{time} ts"), f"{package}/msg/Event")
            types |= get_types_from_msg(ARRAY.replace("dvs_msgs", package), f"{package}/msg/EventArray")
        types |= get_types_from_msg(PACKET, "event_camera_msgs/msg/EventPacket")
        self.store.register(types)
        if self._ros1:
            self._writer: Any = Writer1(path)
        else:
            plugin = StoragePlugin.MCAP if kind == "mcap" else StoragePlugin.SQLITE3
            self._writer = Writer2(path, version=9, storage_plugin=plugin)
        self._writer.open()
        self._connections: dict[str, Any] = {}

    def header(self, time_us: int) -> Any:
        stamp = self.store.types["builtin_interfaces/msg/Time"](time_us // 10**6, time_us % 10**6 * 1000)
        more = {"seq": 0} if self._ros1 else {}
        return self.store.types["std_msgs/msg/Header"](**more, stamp=stamp, frame_id="camera")

    def write(self, topic: str, msgtype: str, time_us: int, **values) -> None:
        if topic not in self._connections:
            self._connections[topic] = self._writer.add_connection(topic, msgtype, typestore=self.store)
        message = self.store.types[msgtype](header=self.header(time_us), height=HEIGHT, width=WIDTH, **values)
        pack = self.store.serialize_ros1 if self._ros1 else self.store.serialize_cdr
        self._writer.write(self._connections[topic], time_us * 1000, pack(message, msgtype))

    def write_array(self, topic: str, package: str, events: np.ndarray) -> None:
        time, event = (self.store.types[name] for name in ("builtin_interfaces/msg/Time", f"{package}/msg/Event"))
        listed = [event(x, y, time(t // 10**6, t % 10**6 * 1000), bool(p)) for t, x, y, p in events.tolist()]
        self.write(topic, f"{package}/msg/EventArray", int(events["timestamp"][-1]), events=listed)

    def write_packet(self, topic: str, encoding: str, base_us: int, content: bytes) -> None:
        values = {"seq": 1, "time_base": base_us * 1000, "encoding": encoding, "is_bigendian": False}
        events = np.frombuffer(content, np.uint8)
        self.write(topic, "event_camera_msgs/msg/EventPacket", base_us, **values, events=events)

    def close(self) -> None:
        self._writer.close()


def words(dt_us: np.ndarray, x: np.ndarray, y: np.ndarray, on: np.ndarray) -> bytes:
    parts = (dt_us * 1000, x << 32, y << 48, on << 63)
    return sum((part.astype(np.uint64) for part in parts), np.zeros(len(x), np.uint64)).astype("<u8").tobytes()


KINDS = ["ros1", "mcap", "sqlite3"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("package", ["dvs_msgs", "prophesee_event_msgs"])
def test_arrays_of_events_are_read_from_every_bag(tmp_path, kind, package):
    path = tmp_path / ("a.bag" if kind == "ros1" else "bag")
    bag, events = Bag(path, kind), some_events()
    for at in (0, 1, 3, 250):
        bag.write_array("/dvs/events", package, events[at : {0: 1, 1: 3, 3: 250, 250: 500}[at]])
    bag.write_array("/other/events", package, events[:10])
    bag.close()
    with open_recording(path) as recording:
        got, _ = recording.read()
    assert (recording.format, recording.width, recording.height) == ("ROS", WIDTH, HEIGHT)
    np.testing.assert_array_equal(got, events)
    assert "/dvs/events are read, not those of /other/events" in str(recording.repairs)
    assert package in recording.why


@pytest.mark.parametrize("kind", KINDS)
def test_packets_are_read_with_their_triggers(tmp_path, kind):
    path = tmp_path / ("a.bag" if kind == "ros1" else "bag")
    bag, events = Bag(path, kind), some_events()
    edges_us = START_US + np.array([1000, 200_000, 390_000])
    zeros = np.zeros(1, np.int64)
    for at in range(0, 500, 100):
        part = events[at : at + 100]
        base = int(part["timestamp"][0])
        columns = [part[name].astype(np.int64) for name in ("x", "y", "polarity")]
        for edge in edges_us[(edges_us >= base) & (edges_us <= part["timestamp"][-1])].tolist():
            on = np.array([int(edge != edges_us[1])])
            bag.write_packet("/camera/trigger", "trigger", base, words(zeros + edge - base, zeros, zeros, on))
        bag.write_packet("/camera/events", "mono", base, words(part["timestamp"] - base, *columns))
    bag.close()
    with open_recording(path) as recording:
        got, triggers = recording.read()
    np.testing.assert_array_equal(got, events)
    assert triggers[["timestamp", "edge"]].tolist() == list(zip(edges_us.tolist(), [1, 2, 1], strict=True))


def camera_words(encoding: str, t_us: int, x: int, y: int, p: int) -> bytes:
    """One event with its whole time, by Prophesee's description of EVT2 and EVT3."""
    if encoding == "evt2":
        return np.array([8 << 28 | t_us >> 6, p << 28 | (t_us & 63) << 22 | x << 11 | y], "<u4").tobytes()
    time = [8 << 12 | t_us >> 12 & 0xFFF, 6 << 12 | t_us & 0xFFF]
    return np.array([*time, y, 2 << 12 | p << 11 | x], "<u2").tobytes()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("encoding", ["evt2", "evt3"])
def test_packets_of_camera_words_are_read_as_one_stream(tmp_path, kind, encoding):
    """The clock of EVT3 overflows at 16777216 µs, in the middle of it; packets are cut anywhere."""
    path = tmp_path / ("a.bag" if kind == "ros1" else "bag")
    events = some_events()
    events["timestamp"] += (1 << 24) - 200_000 - START_US
    edge = np.array([10 << 28 | 1] if encoding == "evt2" else [10 << 12 | 1], "<u4" if encoding == "evt2" else "<u2")
    content = b"".join(camera_words(encoding, *event) for event in events[:300].tolist())
    content += edge.tobytes() + b"".join(camera_words(encoding, *event) for event in events[300:].tolist())
    bag = Bag(path, kind)
    for number, at in enumerate(range(0, len(content), 501)):
        bag.write_packet("/event_camera/events", encoding, START_US + number, content[at : at + 501])
    bag.close()
    with open_recording(path) as recording:
        got, triggers = recording.read()
    np.testing.assert_array_equal(got, events)
    edge_us = int(events["timestamp"][299])
    assert triggers.tolist() == [(edge_us if encoding == "evt3" else edge_us & ~63, 1, 0)]
    assert encoding in recording.why


def test_camera_words_without_a_time_are_counted(tmp_path):
    bag = Bag(tmp_path / "a.bag", "ros1")
    bag.write_packet("/event_camera/events", "evt3", START_US, np.array([7, 2 << 12 | 5], "<u2").tobytes())
    bag.write_packet("/event_camera/events", "evt3", START_US + 1, camera_words("evt3", 5000, 5, 7, 1))
    bag.close()
    with open_recording(tmp_path / "a.bag") as recording:
        assert recording.read()[0].tolist() == [(5000, 5, 7, 1)]
    assert "1 event without a valid time" in str(recording.repairs)


def test_a_file_of_a_bag_is_read_without_its_folder(tmp_path):
    for kind in ("mcap", "sqlite3"):
        bag = Bag(tmp_path / kind, kind)
        bag.write_array("/dvs/events", "dvs_msgs", some_events())
        bag.close()
        (file,) = [path for path in (tmp_path / kind).iterdir() if path.suffix != ".yaml"]
        alone = file.rename(tmp_path / f"alone{file.suffix}")
        with open_recording(alone) as recording:
            np.testing.assert_array_equal(recording.read()[0], some_events())


def test_other_encodings_and_messages_are_refused(tmp_path):
    bag = Bag(tmp_path / "a.bag", "ros1")
    bag.write_packet("/camera/events", "libcaer_cmp", START_US, bytes(64))
    bag.close()
    with pytest.raises(RecordingError, match=r"packets are encoded as 'libcaer_cmp'; mono.* can be read"):
        open_recording(tmp_path / "a.bag")
    writer = Writer1(tmp_path / "b.bag")
    writer.open()
    store = get_typestore(Stores.ROS1_NOETIC)
    connection = writer.add_connection("/text", "std_msgs/msg/String", typestore=store)
    message = store.types["std_msgs/msg/String"]("hello")
    writer.write(connection, 1, store.serialize_ros1(message, "std_msgs/msg/String"))
    writer.close()
    with pytest.raises(RecordingError, match="has no events; its messages are std_msgs/msg/String"):
        open_recording(tmp_path / "b.bag")


def test_a_damaged_bag_is_refused_in_one_line(tmp_path):
    (tmp_path / "a.bag").write_bytes(b"#ROSBAG V2.0\n" + bytes(1000))
    with pytest.raises(RecordingError, match="no bag of ROS, or a damaged one"):
        open_recording(tmp_path / "a.bag")
