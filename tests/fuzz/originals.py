"""The valid files and messages that fuzzing starts from: small, with all optional parts."""

from importlib.util import find_spec
from pathlib import Path
from uuid import UUID

import h5py
import numpy as np
from scipy.io import savemat

from sweepdepth.capture.calibration import Calibration
from sweepdepth.capture.events import Batch, make_events, make_triggers
from sweepdepth.capture.files import dataset
from sweepdepth.capture.files.depth_file import DepthFile
from sweepdepth.capture.files.photographs import Photographs
from sweepdepth.capture.recordings import write_recording
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.stream.wire.keys import new_keys
from sweepdepth.stream.wire.messages import DepthFrame, Percentiles, StackFrame, StatusFrame, StreamInfo, encode

from .readers import HEIGHT, LENS, WIDTH

WRITTEN = [".h5", ".aedat4", ".raw", ".dat", ".es", ".csv", ".npz"]
READ_ONLY = [".evt21.raw", ".evt3.raw", ".aedat2", ".aedat3"]
RECORDINGS = [*WRITTEN, *READ_ONLY, ".npy", ".mat", ".mcap", ".txt", "_table.h5", "_ecf.h5"]
"""Endings of `recording…`: the written formats, and those that are read only."""
CALIBRATION = Calibration.parse(LENS)
INFO = StreamInfo.of(CALIBRATION, "polarity")
STREAM = UUID("6ba7b810-9dad-11d1-80b4-00c04fd430c8")


def events(n: int = 3000) -> np.ndarray:
    rng = np.random.default_rng(0)
    x, y, p = rng.integers(0, WIDTH, n), rng.integers(0, HEIGHT, n), rng.integers(0, 2, n)
    return make_events(1_763_000_511_821_624 + np.cumsum(rng.integers(0, 300, n)), x, y, p)


def triggers() -> np.ndarray:
    return make_triggers(1_763_000_511_821_624 + np.arange(5) * 100_000, np.array([1, 2, 1, 2, 1]))


def read_only() -> dict[str, bytes]:
    """A recording in each format that sweepdepth does not write, by suffix: a word of time before each event."""
    sound = events()
    t = sound["timestamp"] - sound["timestamp"][0]
    x, y, p = (sound[name].astype(np.int64) for name in ("x", "y", "polarity"))

    def words(dtype: str, *columns: np.ndarray) -> bytes:
        return np.stack(columns, 1).astype(dtype).tobytes()

    high = (8 << 28 | t >> 6) << 32
    vector = (p << 28 | (t & 63) << 22 | y) << 32 | 1 << x
    evt21 = words("<u8", high, vector)
    evt3 = words("<u2", 8 << 12 | t >> 12, 6 << 12 | t & 0xFFF, y, 2 << 12 | p << 11 | x)
    trigger = np.array([10 << 12 | 1], "<u2").tobytes()
    packet = np.array([8, 0, 0, len(t), len(t), len(t)], "<i4").tobytes()
    size = f"height={HEIGHT};width={WIDTH}"
    return {
        ".evt21.raw": f"% evt 2.1\n% format EVT21;{size}\n% end\n".encode() + evt21,
        ".evt3.raw": f"% evt 3.0\n% format EVT3;{size}\n% end\n".encode() + evt3 + trigger,
        ".aedat2": b"#!AER-DAT2.0\r\n# AEChip: Davis346\r\n" + words(">u4", y << 22 | x << 12 | p << 11, t),
        ".aedat3": b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DAVIS346\r\n#!END-HEADER\r\n\1\0\1\0"
        + packet
        + words("<u4", x << 17 | y << 2 | p << 1 | 1, t),
    }


def images(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.4, 2.0, (n, HEIGHT, WIDTH)).astype(np.float32)


def write_originals(folder: Path) -> None:
    """One valid file of each kind; weights only if torch is installed."""
    for suffix, content in read_only().items():
        (folder / f"recording{suffix}").write_bytes(content)
    write_arrays(folder)
    for suffix in WRITTEN:
        batch = Batch(events(), triggers(), 0)
        write_recording(folder / f"recording{suffix}", [batch], WIDTH, HEIGHT, CALIBRATION, lossy=True)
    depth, intensity = images(2)
    pair = Photographs(images(4), np.array([1.6, 1.4, 1.5, 1.5]), np.array([0.9, 0.9, 1.0, 0.8]))
    truth = dataset.SceneTruth(
        CALIBRATION, depth, intensity, images(3), np.array([0.6, 1.5, 2.4]), pair, attributes={"seed": 7, "light": 0.5}
    )
    dataset.write_scene(folder / "scene.h5", dataset.SceneRecording(events(), triggers(), truth))
    with DepthFile(folder / "depth.h5", CALIBRATION, "polarity") as file:
        for k, direction in enumerate((Direction.FAR_TO_NEAR, Direction.NEAR_TO_FAR)):
            file.append(DepthFrame(depth, intensity, INFO, 200_000 * k, 200_000 * (k + 1), direction, 0.5))
    sweep = Sweep(1_763_000_511_821_624, 1_763_000_512_021_624, Direction.FAR_TO_NEAR, CALIBRATION)
    EventFocalStack.build(events(), sweep, bins=3).save(folder / "stack.npz")
    new_keys("robot", folder)
    if find_spec("torch") and find_spec("safetensors"):
        from sweepdepth.net.architecture import EvidenceConfig
        from sweepdepth.net.weights import make_network, save_weights

        network = make_network(EvidenceConfig(widths=(2, 3), blocks=(1, 1), reach=(3, 3), fine=2))
        save_weights(folder / "weights.safetensors", network, {"deviation": {"scale": 1}})


def write_arrays(folder: Path) -> None:
    """Recordings in formats that are read only."""
    columns = [events()[name].astype(np.int64) for name in ("timestamp", "x", "y", "polarity")]
    table = np.stack(columns, axis=1)
    np.save(folder / "recording.npy", table)
    savemat(
        folder / "recording.mat", {"TD": dict(zip(("ts", "x", "y", "p"), columns, strict=True))}, do_compression=True
    )
    lines = [f"{t / 1e6:.6f} {x} {y} {'on' if p else 'off'}" for t, x, y, p in table.tolist()]
    (folder / "recording.txt").write_text("\n".join(lines) + "\n")
    with h5py.File(folder / "recording_table.h5", "w") as file:
        file.create_dataset("events", data=table, chunks=(1000, 4), compression="gzip")
        file.attrs["width"], file.attrs["height"] = WIDTH, HEIGHT
    write_ecf(folder / "recording_ecf.h5", table)
    if find_spec("rosbags"):
        write_bag(folder / "recording.mcap", table)


def write_ecf(path: Path, table: np.ndarray) -> None:
    """Prophesee's HDF5 with events packed whole: a run for each time, and 24 bits for each pixel and polarity."""
    dtype = np.dtype({"names": list("xypt"), "formats": ["<u2", "<u2", "<i2", "<i8"], "offsets": [0, 2, 4, 8]})
    content = (len(table) << 2 | 2).to_bytes(4, "little") + int(table[0, 0]).to_bytes(8, "little")
    for step in np.diff(table[:, 0], prepend=table[0, 0]).tolist():
        if step >= 15:
            content += bytes([0xF0 | step & 15, 0xF0 | step >> 4 & 15, 0xF0 | step >> 8])
        content += bytes([(step if step < 15 else 0) << 4 | 1])
    words = [y << 12 | x << 1 | p for _, x, y, p in table.tolist()]
    for k in range(0, len(words), 4):
        a, b, c, d = words[k : k + 4]
        for word in (a << 8 | b & 0xFF, b >> 8 << 16 | c & 0xFFFF, c >> 16 << 24 | d):
            content += word.to_bytes(4, "little")
    with h5py.File(path, "w") as file:
        settings = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        settings.set_chunk((len(table),))
        settings.set_filter(0x8ECF, h5py.h5z.FLAG_OPTIONAL, ())
        space, kind = h5py.h5s.create_simple((len(table),)), h5py.h5t.py_create(dtype)
        h5py.h5d.create(file.create_group("CD").id, b"events", kind, space, settings).write_direct_chunk((0,), content)
        file.attrs["geometry"] = f"{WIDTH}x{HEIGHT}"


def write_bag(path: Path, table: np.ndarray) -> None:
    """A bag of ROS 2 with one packet of events in the encoding "mono"."""
    from rosbags.rosbag2 import StoragePlugin, Writer
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store, name = get_typestore(Stores.ROS2_HUMBLE), "event_camera_msgs/msg/EventPacket"
    fields = "std_msgs/Header header\nuint32 height\nuint32 width\nuint64 seq\nuint64 time_base\nstring encoding\n"
    store.register(get_types_from_msg(fields + "bool is_bigendian\nuint8[] events\n", name))
    t, x, y, p = (column.astype(np.uint64) for column in table.T)
    base = t[0]
    words = (t - base) * np.uint64(1000) | x << np.uint64(32) | y << np.uint64(48) | p << np.uint64(63)
    stamp = store.types["builtin_interfaces/msg/Time"](0, 0)
    header = store.types["std_msgs/msg/Header"](stamp=stamp, frame_id="")
    packet = words.astype("<u8").view(np.uint8)
    message = store.types[name](header, HEIGHT, WIDTH, 0, int(base) * 1000, "mono", False, packet)
    folder = path.with_suffix(".bag2")
    with Writer(folder, version=9, storage_plugin=StoragePlugin.MCAP) as writer:
        connection = writer.add_connection("/events", name, typestore=store)
        writer.write(connection, int(base) * 1000, store.serialize_cdr(message, name))
    next(folder.glob("*.mcap")).rename(path)


def messages() -> dict[str, list[bytes]]:
    """One valid message of each topic, and compressed ones."""
    depth, std = images(2)
    when = INFO, 5, 205, Direction.FAR_TO_NEAR
    latency = {"bin": Percentiles(p50=1.5, p99=2.0)}
    frames = (
        DepthFrame(depth, std, *when, 0.5, {"bin": 1.5, "total": 9.0}),
        StackFrame(images(3), *when),
        StatusFrame(1e6, 5.0, latency, {"stacks": 1}, {"outbox": 2}, ("dusty",)),
    )
    sound = {
        f.topic: [bytes(p) for p in encode(f, stream=STREAM, seq=k, t_publish_ns=10**18)] for k, f in enumerate(frames)
    }
    for frame in frames[:2]:
        parts = encode(frame, stream=STREAM, seq=9, t_publish_ns=10**18, encoding="zstd")
        sound[f"compressed {frame.topic}"] = [bytes(part) for part in parts]
    return sound


def packed(parts: list[bytes]) -> bytes:
    return b"".join(len(part).to_bytes(4, "little") + part for part in parts)


SOUND = messages()
