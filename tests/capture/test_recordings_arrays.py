"""Arrays of events: NumPy and MATLAB files, and HDF5 in the layouts of tools and datasets."""

import io
import pickle
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from sweepdepth import RecordingError
from sweepdepth.capture.events import Batch, make_events, make_triggers
from sweepdepth.capture.formats.columns import infer_columns, named_columns, named_unit
from sweepdepth.capture.recordings import TableHints, open_recording, write_recording
from sweepdepth.capture.recordings.ecf import FILTER, decode_ecf, decode_plainly

WIDTH, HEIGHT, N = 96, 72, 3000
EPOCH_US = 1_600_000_000_000_000


def some_events(start_us: int = 320) -> np.ndarray:
    """One second of events, in order."""
    rng = np.random.default_rng(4)
    times = start_us + np.sort(rng.integers(0, 1_000_000, N))
    return make_events(times, rng.integers(0, WIDTH, N), rng.integers(0, HEIGHT, N), rng.integers(0, 2, N))


EVENTS = some_events()
T, X, Y, P = (EVENTS[name].astype(np.int64) for name in ("timestamp", "x", "y", "polarity"))


def read(path: Path, calibration, **hints):
    with open_recording(path, calibration, hints=TableHints(**hints)) as recording:
        events, triggers = recording.read()
    return events, triggers, recording


TABLES = {
    "t x y p": np.stack([T, X, Y, P], axis=1),
    "x y t p": np.stack([X, Y, T, P], axis=1),
    "x y p t, signed": np.stack([X, Y, 2 * P - 1, T], axis=1).astype(np.int32),
    "seconds": np.stack([T / 1e6, X, Y, P], axis=1),
    "unsigned": np.stack([T, X, Y, P], axis=1).astype("<u4"),
    "big-endian": np.stack([T, X, Y, P], axis=1).astype(">i8"),
    "columns in memory": np.asfortranarray(np.stack([T, X, Y, P], axis=1)),
}


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("kind", ["npy", "npz", "compressed", "mat", "h5"])
def test_columns_are_recognised_by_their_values(tmp_path, calibration, name, kind):
    table, path = TABLES[name], tmp_path / f"a.{kind}"
    if kind == "npy":
        np.save(path, table)
    elif kind == "mat":
        savemat(path, {"events": table})
    elif kind == "h5":
        with h5py.File(path, "w") as file:
            file.create_dataset("events", data=table, chunks=(500, 2))
    else:
        path = path.with_suffix(".npz")
        (np.savez if kind == "npz" else np.savez_compressed)(path, table)
    events, _, recording = read(path, calibration)
    np.testing.assert_array_equal(events, EVENTS)
    assert recording.format == {"npy": "NPY", "mat": "MATLAB", "h5": "HDF5"}.get(kind, "NPZ")


def test_unrecognised_columns_are_asked_for(tmp_path, calibration):
    np.save(tmp_path / "a.npy", np.stack([Y, P, X, T], axis=1))
    with pytest.raises(RecordingError, match="is unclear from their values; say it with --columns"):
        open_recording(tmp_path / "a.npy", calibration)
    np.testing.assert_array_equal(read(tmp_path / "a.npy", calibration, columns="y,p,x,t")[0], EVENTS)
    np.save(tmp_path / "b.npy", np.stack([T, X, Y, P]))
    with pytest.raises(RecordingError, match=r"expected \(N, 4\) numbers, so transpose it"):
        open_recording(tmp_path / "b.npy", calibration)


@pytest.mark.parametrize("names", [("t", "x", "y", "p"), ("timestamps", "xs", "ys", "pol"), ("ts", "x", "y", "on")])
def test_structured_arrays_and_arrays_by_name(tmp_path, calibration, names):
    rows = np.zeros(N, [(names[1], "<u2"), (names[2], "<u2"), (names[3], "?"), (names[0], "<i8")])
    for name, column in zip(names, (T, X, Y, P), strict=True):
        rows[name] = column
    np.save(tmp_path / "a.npy", rows)
    np.testing.assert_array_equal(read(tmp_path / "a.npy", calibration)[0], EVENTS)
    np.savez_compressed(tmp_path / "a.npz", frames=np.zeros((2, 3, 4)), **{name: rows[name] for name in names})
    np.testing.assert_array_equal(read(tmp_path / "a.npz", calibration)[0], EVENTS)


def test_nothing_is_unpickled(tmp_path, calibration):
    touched = tmp_path / "touched"

    class Evil:
        def __reduce__(self):
            return (Path.touch, (touched,))

    np.save(tmp_path / "a.npy", np.array([Evil()], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", t=np.array([Evil()], object), x=X, y=Y, p=P)
    for name in ("a.npy", "a.npz"):
        with pytest.raises(RecordingError, match="pickled Python objects, which could run any code"):
            open_recording(tmp_path / name, calibration)
    assert not touched.exists()
    pickle.loads(pickle.dumps(Evil()))
    assert touched.exists()


def test_npz_files_of_ours_hold_everything_and_open_in_numpy(tmp_path, calibration):
    edges = make_triggers(np.array([1000, 500_000]), np.array([1, 2]), np.array([0, 3]))
    write_recording(tmp_path / "a.npz", [Batch(some_events(-5000), edges, 0)], WIDTH, HEIGHT, calibration)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert file["t"].tolist() == some_events(-5000)["timestamp"].tolist()
        assert (int(file["width"]), int(file["height"])) == (WIDTH, HEIGHT)
    events, triggers, recording = read(tmp_path / "a.npz", None)
    np.testing.assert_array_equal(events, some_events(-5000))
    np.testing.assert_array_equal(triggers, edges)
    assert recording.calibration == calibration
    assert not recording.repairs


def test_archives_without_events_are_refused_with_their_content(tmp_path, calibration):
    np.savez(tmp_path / "a.npz", weights=np.zeros((3, 3)))
    with pytest.raises(RecordingError, match=r"it holds weights float64 \(3, 3\); events are arrays"):
        open_recording(tmp_path / "a.npz", calibration)
    with zipfile.ZipFile(tmp_path / "b.zip", "w") as archive:
        archive.writestr("events.csv", "t,x,y,p\n")
    with pytest.raises(RecordingError, match=r"a zip archive of events\.csv; unpack it"):
        open_recording(tmp_path / "b.zip", calibration)


@pytest.mark.parametrize("version", [5, 7.3])
def test_matlab_files_of_autofocus_sets(tmp_path, calibration, version):
    """`aedat.data.polarity` with µs since 1970; version 7.3 is HDF5 behind MATLAB's own 512 bytes."""
    fields = {"x": X, "y": Y, "polarity": P.astype(bool), "timeStamp": T + EPOCH_US, "focusPosition": T * 1e-3}
    if version == 5:
        special = {"timeStamp": np.array([5, 9]) + EPOCH_US, "address": np.array([2, 3])}
        savemat(tmp_path / "a.mat", {"aedat": {"data": {"polarity": fields, "special": special}}})
    else:
        with h5py.File(tmp_path / "a.mat", "w", userblock_size=512) as file:
            for name, column in fields.items():
                file[f"aedat/data/polarity/{name}"] = column.reshape(1, -1)
        with open(tmp_path / "a.mat", "r+b") as file:
            file.write(b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\2IM")
    events, triggers, recording = read(tmp_path / "a.mat", calibration)
    np.testing.assert_array_equal(events, some_events(320 + EPOCH_US))
    assert triggers[["timestamp", "edge"]].tolist() == ([(5 + EPOCH_US, 1), (9 + EPOCH_US, 2)] if version == 5 else [])
    assert "aedat" in recording.why
    assert "polarity" in recording.why


def test_matlab_polarities_of_1_and_2(tmp_path, calibration):
    savemat(tmp_path / "a.mat", {"TD": {"x": X, "y": Y, "p": P + 1, "ts": T}})
    np.testing.assert_array_equal(read(tmp_path / "a.mat", calibration)[0], EVENTS)


def hdf5_of(path: Path, datasets: dict[str, Any], **attributes) -> Path:
    with h5py.File(path, "w") as file:
        for name, data in datasets.items():
            file[name] = data
        file.attrs.update(attributes)
    return path


LAYOUTS = {
    "event_utils": {"events/xs": X.astype("i2"), "events/ys": Y.astype("i2"), "events/ts": T / 1e6, "events/ps": P > 0},
    "MVSEC": {
        "davis/right/events": np.zeros((5, 4)),
        "davis/left/events": np.stack([X, Y, T / 1e6 + 1.5e9, 2 * P - 1], axis=1),
    },
    "M3ED": {
        **{f"prophesee/left/{n}": c for n, c in (("t", T), ("x", X), ("y", Y), ("p", P))},
        **{f"prophesee/right/{n}": T[:9] for n in "txyp"},
        "prophesee/left/ms_map_idx": np.zeros(1000, "u8"),
        "prophesee/left/calib/resolution": np.array([WIDTH, HEIGHT]),
    },
    "DSEC and a list named triggers": {
        **{f"events/{n}": c.astype(k) for n, c, k in (("t", T, "u4"), ("x", X, "u2"), ("y", Y, "u2"), ("p", P, "u1"))},
        "triggers": np.array([1, 2]),
    },
    "seconds in the names of DSEC": {f"events/{n}": c for n, c in (("t", T / 1e6), ("x", X), ("y", Y), ("p", P))},
}


@pytest.mark.parametrize("name", LAYOUTS)
def test_hdf5_layouts(tmp_path, calibration, name):
    events, triggers, recording = read(hdf5_of(tmp_path / "a.h5", LAYOUTS[name]), calibration)
    expected = some_events()
    if name == "MVSEC":
        expected["timestamp"] += 1_500_000_000_000_000
    np.testing.assert_array_equal(events, expected)
    assert len(triggers) == 0
    notes = str(recording.repairs)
    assert ("right" in notes) == (name in ("MVSEC", "M3ED"))
    assert ("its triggers are not in the layout" in notes) == ("triggers" in name)


def test_the_size_of_an_event_utils_file_is_rows_and_columns(tmp_path):
    path = hdf5_of(tmp_path / "a.h5", LAYOUTS["event_utils"], sensor_resolution=[HEIGHT, WIDTH])
    assert read(path, None)[2].width == WIDTH


def test_tables_without_events_are_refused_with_their_columns(tmp_path, calibration):
    with pytest.raises(RecordingError, match=r"without the group events, or any other.*it has images"):
        open_recording(hdf5_of(tmp_path / "a.h5", {"images": np.zeros((3, 4))}), calibration)


# ECF as its codec writes it, the way of packing chosen here: a header, times as runs, then pixels.


def runs(values: list[int], bits: int, size: int) -> bytes:
    out, i, most = b"", 0, (1 << bits) - 1
    while i < len(values):
        run = next((k for k in range(1, len(values) - i) if values[i + k] != values[i]), len(values) - i)
        out += (values[i] << bits | min(run, most)).to_bytes(size, "little")
        out += run.to_bytes(2, "little") if run >= most else b""
        i += run
    return out


def ecf(rows: list[tuple[int, int, int, int]], way: str) -> bytes:
    """`rows` of x, y, p, t in order of t."""
    out = (len(rows) << 2 | {"whole": 2, "packed": 1, "masked": 0}[way]).to_bytes(4, "little")
    now = rows[0][3] if rows else 0
    out += now.to_bytes(8, "little")
    i = 0
    while i < len(rows):
        t = rows[i][3]
        run = sum(1 for row in rows[i:] if row[3] == t)
        step = t - now
        if step >= 15:
            while step:
                out += bytes([0xF0 | step & 15])
                step >>= 4
        out += bytes([step << 4 | min(run, 15)]) + (run.to_bytes(2, "little") if run >= 15 else b"")
        now, i = t, i + run
    filled = rows + [(0, 0, 0, 0)] * (-len(rows) % 4)
    if way == "whole":
        for k in range(0, len(filled), 4):
            v = [y << 12 | x << 1 | p for x, y, p, _ in filled[k : k + 4]]
            for word in (v[0] << 8 | v[1] & 0xFF, v[1] >> 8 << 16 | v[2] & 0xFFFF, v[2] >> 16 << 24 | v[3]):
                out += word.to_bytes(4, "little")
        return out
    out += runs([y for _, y, _, _ in rows], 5, 2)
    if way == "packed":
        for k in range(0, len(filled), 4):
            v = [x << 1 | p for x, _, p, _ in filled[k : k + 4]]
            for word in (v[0] << 4 | v[1] & 15, v[1] >> 4 << 8 | v[2] & 0xFF, v[2] >> 8 << 12 | v[3]):
                out += word.to_bytes(2, "little")
        return out
    xs, i = [x for x, _, _, _ in rows], 0
    while i < len(xs):
        base, mask, i = xs[i], 0, i + 1
        for k in range(5):
            if i < len(xs) and xs[i] == base + k + 1:
                mask |= 1 << (4 - k)
                i += 1
        out += (base << 5 | mask).to_bytes(2, "little")
    return out + runs([p for _, _, p, _ in rows], 7, 1)


ecf_rows = st.lists(
    st.tuples(
        st.integers(0, 2047) | st.integers(0, 8),
        st.integers(0, 2047) | st.just(3),
        st.integers(0, 1) | st.just(1),
        st.integers(0, 20) | st.just(0) | st.integers(0, 10**7),
    ),
    max_size=300,
)


@given(ecf_rows, st.sampled_from(["whole", "packed", "masked"]), st.integers(0, 10**15))
@settings(deadline=None, max_examples=150)
def test_ecf_is_decoded_alike_by_the_kernel_and_its_readable_reference(rows, way, start):
    times = start + np.cumsum([row[3] for row in rows], dtype=np.int64)
    rows = [(x, y, p, t) for (x, y, p, _), t in zip(rows, times.tolist(), strict=True)]
    chunk = ecf(rows, way)
    assert decode_ecf(chunk, 300).tolist() == rows
    assert decode_plainly(chunk) == rows


@given(ecf_rows.filter(bool), st.data())
@settings(deadline=None, max_examples=100)
def test_damaged_ecf_is_refused_or_read_and_never_beyond_its_end(rows, data):
    chunk = bytearray(
        ecf([(x, y, p, 5) for x, y, p, _ in rows], data.draw(st.sampled_from(["whole", "packed", "masked"])))
    )
    for _ in range(3):
        chunk[data.draw(st.integers(0, len(chunk) - 1))] = data.draw(st.integers(0, 255))
    with suppress(RecordingError):
        assert len(decode_ecf(bytes(chunk[: data.draw(st.integers(0, len(chunk)))]), 300)) <= 300


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "ECF"])
def test_prophesee_hdf5_with_triggers(tmp_path, packed):
    """Chunks of 1000 events in each of the codec's three encodings."""
    dtype = np.dtype({"names": list("xypt"), "formats": ["<u2", "<u2", "<i2", "<i8"], "offsets": [0, 2, 4, 8]})
    rows = np.zeros(N, dtype)
    for name, column in zip("xypt", (X, Y, P, T), strict=True):
        rows[name] = column
    with h5py.File(tmp_path / "a.hdf5", "w") as file:
        if packed:
            space = h5py.h5s.create_simple((N,))
            settings_ = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
            settings_.set_chunk((1000,))
            settings_.set_filter(FILTER, h5py.h5z.FLAG_OPTIONAL, ())
            identifier = h5py.h5d.create(
                file.create_group("CD").id, b"events", h5py.h5t.py_create(dtype), space, settings_
            )
            for k, way in enumerate(("whole", "packed", "masked")):
                part = rows[k * 1000 : (k + 1) * 1000]
                identifier.write_direct_chunk((k * 1000,), ecf([tuple(row) for row in part.tolist()], way))
        else:
            file["CD/events"] = rows
        edges = np.array([(1, 1000, 6), (0, 2000, 0)], [("p", "<i2"), ("t", "<i8"), ("id", "<i2")])
        file["EXT_TRIGGER/events"] = edges
        file.attrs["geometry"] = f"{WIDTH}x{HEIGHT}"
    events, triggers, recording = read(tmp_path / "a.hdf5", None)
    np.testing.assert_array_equal(events, EVENTS)
    assert triggers.tolist() == [(1000, 1, 6), (2000, 2, 0)]
    assert ("ECF" in recording.why) == packed
    assert not recording.repairs


@pytest.mark.parametrize(
    "names, order",
    [
        (["Timestamp", "X", "Y", "Polarity"], "txyp"),
        (["event.x", "event.y", "event.polarity", "event.time_us"], "xypt"),
        (["x_pos", "y_pos", "ts", "pol"], "xytp"),
    ],
)
def test_columns_are_recognised_by_name(names, order):
    assert named_columns(names) == {name: order.index(name) for name in "txyp"}


def test_column_names_may_contain_a_unit():
    assert [named_unit(n) for n in ("t", "t_us", "time (s)", "timestamp [ns]", "eventTime_ms", "t µs")] == [
        None,
        "us",
        "s",
        "ns",
        "ms",
        "us",
    ]


def test_a_pixel_column_that_rises_by_chance_is_not_the_time():
    x = np.linspace(0, 90, N).astype(int)
    assert infer_columns(np.stack([x, Y, T, P], axis=1).astype(float))[0] == {"t": 2, "x": 0, "y": 1, "p": 3}


def test_files_cut_short_are_refused_in_one_line(tmp_path, calibration):
    buffer = io.BytesIO()
    np.savez(buffer, t=T, x=X, y=Y, p=P)
    (tmp_path / "a.npz").write_bytes(buffer.getvalue()[:5000])
    np.save(tmp_path / "a.npy", TABLES["t x y p"])
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:5000])
    savemat(tmp_path / "a.mat", {"TD": {"x": X, "y": Y, "p": P, "ts": T}})
    (tmp_path / "a.mat").write_bytes((tmp_path / "a.mat").read_bytes()[:5000])
    for name in ("a.npz", "a.npy", "a.mat"):
        with pytest.raises(RecordingError, match="damaged"):
            read(tmp_path / name, calibration)


def test_seconds_since_1970_in_floating_point_are_exact(tmp_path, calibration):
    seconds = (T + 1_763_000_511_000_000) / 1e6
    np.savez(tmp_path / "a.npz", t=seconds, x=X, y=Y, p=P)
    events, _, _ = read(tmp_path / "a.npz", calibration)
    assert events["timestamp"].tolist() == (T + 1_763_000_511_000_000).tolist()


def test_times_of_32_bit_floats_are_reported_as_coarse(tmp_path, calibration):
    np.savez(tmp_path / "a.npz", t=(T / 1e6 + 1000).astype(np.float32), x=X, y=Y, p=P)
    assert "its times are float32 numbers, which hold them to 0.061 ms only" in str(
        read(tmp_path / "a.npz", calibration)[2].repairs
    )
