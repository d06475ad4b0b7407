"""Text: all common layouts are read correctly, or refused with the right reason."""

from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepdepth import Calibration, RecordingError
from sweepdepth.capture.events import TRIGGER_DTYPE, Batch, make_events
from sweepdepth.capture.recordings import TableHints, open_recording, write_recording
from sweepdepth.capture.recordings.numbers import WHITE, read_line_plainly, read_lines, scale
from sweepdepth.capture.recordings.times import TimeEvidence, infer_unit, to_us

WIDTH, HEIGHT, N = 96, 72, 3000


def some_events(start_us: int = 320) -> np.ndarray:
    """One second of events from `start_us`, in order."""
    rng = np.random.default_rng(4)
    times = start_us + np.sort(rng.integers(0, 1_000_000, N))
    return make_events(times, rng.integers(0, WIDTH, N), rng.integers(0, HEIGHT, N), rng.integers(0, 2, N))


def seconds(t: int) -> str:
    return f"{'-' if t < 0 else ''}{abs(t) // 10**6}.{abs(t) % 10**6:06d}"


def text_of(events: np.ndarray, line: str = "{t},{x},{y},{p}", **words) -> str:
    """A line an event; `s` is the time in seconds, `p` the polarity, other names are functions of the event."""
    lines = []
    for t, x, y, p in events.tolist():
        values = {name: make(t, x, y, p) for name, make in words.items()}
        lines.append(line.format(**{"t": t, "s": seconds(t), "x": x, "y": y, "p": p} | values) + "\n")
    return "".join(lines)


def read(path: Path, content: str | bytes, calibration: Calibration | None, **hints):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with open_recording(path, calibration, hints=TableHints(**hints)) as recording:
        events, _ = recording.read()
    return events, recording


LAYOUTS = {
    "header": ("t,x,y,p\n", "{t},{x},{y},{p}"),
    "prophesee": ("%geometry:96,72\n", "{x},{y},{p},{t}"),
    "e2vid": ("96 72\n", "{s} {x} {y} {p}"),
    "mark": ("\ufefft,x,y,p\n", "{t},{x},{y},{p}"),
    "mark without header": ("\ufeff", "{t},{x},{y},{p}"),
    "comments": ("# from a camera\n# 2026\n\n", "{t} {x} {y} {p}"),
    "header in a comment": ("# x y timestamp_us polarity\n", "{x} {y} {t} {p}"),
    "other comments": ("// events\n", "{t};{x};{y};{p}"),
    "quotes": ('"Timestamp [us]","X","Y","Polarity (ON/OFF)"\n', '"{t}","{x}","{y}","{p}"'),
    "names apart": ("event_x, event_y, time (s), on\n", "{x}, {y}, {s}, {p}"),
    "one more column": (",t,x,y,p\n", "7,{t},{x},{y},{p}"),
    "columns in between": ("id\tx\tpressure\ty\tpol\tts_us\n", "9\t{x}\t\t{y}\t{p}\t{t}"),
    "tabs": ("", "{t}\t{x}\t{y}\t{p}"),
    "decimal commas": ("t;x;y;p\n", "{c};{x};{y};{p}"),
    "brackets": ("", "({t}, {x}, {y}, {p})"),
    "signed": ("", "{s} {x} {y} {q}"),
    "floats": ("t,x,y,p\n", "{t}.0,{x}.0,{y}.00,{p}.0"),
    "scientific": ("", "{e} {f} {g} {h}"),
    "true": ("t,x,y,p\n", "{t},{x},{y},{b}"),
    "on": ("", "{t} {x} {y} {o}"),
    "x first": ("", "{x} {y} {t} {p}"),
    "polarity second": ("", "{t} {p} {x} {y}"),
}


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_text_is_read_in_any_layout(tmp_path, calibration, name, newline):
    head, line = LAYOUTS[name]
    words = {
        "c": lambda t, x, y, p: seconds(t).replace(".", ","),
        "q": lambda t, x, y, p: 2 * p - 1,
        "e": lambda t, x, y, p: f"{t * 1e-6:.18e}",
        "f": lambda t, x, y, p: f"{x:.18e}",
        "g": lambda t, x, y, p: f"{y:.18e}",
        "h": lambda t, x, y, p: f"{p:.18e}",
        "b": lambda t, x, y, p: str(bool(p)),
        "o": lambda t, x, y, p: "ON" if p else "off",
    }
    text = (head + text_of(some_events(), line, **words)).replace("\n", newline)
    events, recording = read(tmp_path / "a.txt", text, calibration)
    np.testing.assert_array_equal(events, some_events())
    assert not recording.repairs.events


@pytest.mark.parametrize("head, line", [("%geometry:96,72\n", "{x},{y},{p},{t}"), ("96 72\n", "{s} {x} {y} {p}")])
def test_a_size_in_the_first_line_needs_no_calibration(tmp_path, head, line):
    events, recording = read(tmp_path / "a.csv", head + text_of(some_events(), line), None)
    assert (recording.width, recording.height) == (WIDTH, HEIGHT)
    np.testing.assert_array_equal(events, some_events())


EPOCH_US = 1_763_000_511_000_000
TIMES = {
    "µs": (320, lambda t, *_: t, 0),
    "µs with a point": (320, lambda t, *_: f"{t}.0", 0),
    "µs since 1970": (EPOCH_US, lambda t, *_: t, 0),
    "seconds": (0, lambda t, *_: seconds(t), 0),
    "seconds, the first one whole": (0, lambda t, *_: seconds(t) if t else "0", 0),
    "seconds as Python prints them": (0, lambda t, *_: repr(t * 1e-6), 0),
    "seconds since 1970": (EPOCH_US, lambda t, *_: seconds(t), 0),
    "seconds since 1970 and nanoseconds": (EPOCH_US, lambda t, *_: seconds(t) + "499", 0),
    "milliseconds": (320, lambda t, *_: f"{t // 1000}.{t % 1000:03d}", 0),
    "nanoseconds": (320, lambda t, *_: t * 1000, 0),
    "nanoseconds since 1970": (EPOCH_US, lambda t, *_: t * 1000 + 123, 0),
    "µs before and after a trigger": (-333_000, lambda t, *_: t, 0),
    "seconds before and after a trigger": (-333_000, lambda t, *_: seconds(t), 0),
    "µs of a camera that has run for an hour": (3_600_000_000, lambda t, *_: t, 0),
}


@pytest.mark.parametrize("name", TIMES)
def test_the_unit_of_time_is_inferred_from_the_whole_file_and_reported(tmp_path, calibration, name):
    start_us, make, _ = TIMES[name]
    events = some_events(start_us)
    events["timestamp"][0] = start_us
    got, recording = read(tmp_path / "a.csv", text_of(events, "{u},{x},{y},{p}", u=make), calibration)
    np.testing.assert_array_equal(got, events)
    unit = {"µ": "micro", "s": "", "m": "milli", "n": "nano"}[name[0]] + "seconds"
    assert f"times taken as {unit}" in str(recording.repairs)


@pytest.mark.parametrize(
    "unit, make",
    [("s", lambda t, *_: t // 10**6), ("ms", lambda t, *_: t // 1000)],
    ids=["whole seconds", "whole milliseconds"],
)
def test_a_unit_that_stays_unclear_is_asked_for(tmp_path, calibration, unit, make):
    text = text_of(some_events(), "{u},{x},{y},{p}", u=make)
    with pytest.raises(RecordingError, match=r"the unit of its times is unclear: .*--time-unit"):
        read(tmp_path / "a.csv", text, calibration, columns="t,x,y,p")
    events, recording = read(tmp_path / "a.csv", text, calibration, time_unit=unit, columns="t,x,y,p")
    factor = {"s": 10**6, "ms": 1000}[unit]
    assert events["timestamp"].tolist() == (some_events()["timestamp"] // factor * factor).tolist()
    assert f"times in {unit}, as --time-unit says" in recording.why


@pytest.mark.parametrize("header, factor", [("t_ns", 1000), ("time [µs]", 1), ("timestamp (ms)", 0.001)])
def test_a_unit_in_the_header_is_used(tmp_path, calibration, header, factor):
    """Three events do not determine anything."""
    times = [5000, 6000, 9000]
    text = f"{header},x,y,p\n" + "".join(f"{t * factor:g},1,2,1\n" for t in times)
    events, recording = read(tmp_path / "a.csv", text, calibration)
    assert events["timestamp"].tolist() == times
    assert not recording.repairs


def test_undetermined_columns_are_asked_for(tmp_path, calibration):
    text = text_of(some_events(), "{y} {p} {t} {x} 5")
    with pytest.raises(RecordingError, match=r"which of its 5 columns .* --columns"):
        read(tmp_path / "a.txt", text, calibration)
    events, _ = read(tmp_path / "a.txt", text, calibration, columns="y,p,t,x,-")
    np.testing.assert_array_equal(events, some_events())


def test_exchanged_columns_are_refused_with_a_remedy(tmp_path, calibration):
    text = text_of(some_events(), "{t} {y} {x} {p}")
    with pytest.raises(RecordingError, match=r"x and y seem to be exchanged: .*--columns"):
        read(tmp_path / "a.txt", text, calibration)
    np.testing.assert_array_equal(read(tmp_path / "a.txt", text, calibration, columns="t,y,x,p")[0], some_events())


@pytest.mark.parametrize("hints", [{"columns": "t,x,y"}, {"columns": "t,x,y,p,q"}, {"time_unit": "min"}])
def test_invalid_hints_are_refused(hints):
    with pytest.raises(RecordingError, match=r"--(columns|time-unit) .*: expected"):
        TableHints(**hints)


def test_hints_are_for_files_that_need_them(tmp_path, calibration):
    write_recording(tmp_path / "a.aedat4", [Batch(some_events(), np.empty(0, TRIGGER_DTYPE), 0)], WIDTH, HEIGHT)
    with pytest.raises(RecordingError, match="AEDAT4, which says its columns and its unit of time itself"):
        open_recording(tmp_path / "a.aedat4", hints=TableHints(time_unit="us"))


def test_events_out_of_order_by_a_millisecond_are_sorted(tmp_path, calibration):
    events = some_events()
    shuffled = events[np.argsort(events["timestamp"] + np.random.default_rng(0).integers(0, 1000, N), kind="stable")]
    got, recording = read(tmp_path / "a.txt", text_of(shuffled, "{s} {x} {y} {p}"), calibration)
    assert sorted(got.tolist()) == sorted(events.tolist())
    assert got["timestamp"].tolist() == events["timestamp"].tolist()
    assert recording.repairs.reordered > N / 10
    assert recording.repairs.events == 0


def test_utf_16_is_refused_in_one_line(tmp_path, calibration):
    with pytest.raises(RecordingError, match="UTF-16 text; save it as UTF-8"):
        read(tmp_path / "a.txt", text_of(some_events()).encode("utf-16"), calibration)


fields = st.one_of(
    st.integers(-(10**20), 10**20).map(str),
    st.integers(-3, 40_000).map(str),
    st.decimals(-10_000, 10_000, places=3).map(str),
    st.floats(allow_nan=False, allow_infinity=False, width=64).map(repr),
    st.sampled_from(["", "1.", ".5", ".", "1e3", "1E-2", "1e", "+4", "--4", "0x1", "nan", "inf", "1,5", '"7"', "(8"]),
    st.sampled_from(["True", "false", "ON", "off", "T", "f", "+", "-", "yes", "NO", "pos", "negative", "maybe"]),
)


@given(st.lists(st.tuples(fields, fields, fields, fields), min_size=1, max_size=4), st.sampled_from(" ,;\t"))
@settings(deadline=None, max_examples=400)
def test_the_kernel_and_its_readable_reference_agree(rows, separator):
    code = WHITE if separator == " " else ord(separator)
    lines = [separator.join(row).encode() for row in rows]
    places = [2, 0, 1, 3]
    columns = [np.empty(8, dtype) for dtype in (np.int64, np.int32, np.int16, np.int16, np.int8)]
    for line in lines:
        n, _, bad = read_lines(np.frombuffer(line + b"\n", np.uint8), 0, code, np.array(places), *columns)
        plain = read_line_plainly(line, code, places)
        if not line.strip():
            continue
        assert bad == (plain is None)
        if plain is not None:
            out = np.empty(1, np.int64)
            scale(columns[0][:1], columns[1][:1], 3, out)
            exact = min(max(plain[0] * 1000, Decimal(-(2**62))), Decimal(2**62))
            assert n == 1
            assert abs(out[0] - exact) <= Decimal("0.5") + abs(exact) * Decimal("1e-17")
            assert tuple(int(column[0]) for column in columns[2:]) == plain[1:]


@pytest.mark.parametrize("unit, factor", [("s", 1e6), ("ms", 1e3), ("us", 1.0), ("ns", 1e-3)])
@pytest.mark.parametrize("dtype", [np.int64, np.uint64, np.float64])
def test_numbers_of_every_type_become_microseconds(unit, factor, dtype):
    times = np.array([0, 1000, 4000, 1_000_000], dtype)
    assert to_us(times, unit).tolist() == [round(t * factor) for t in times.tolist()]
    wild = to_us(np.array([np.iinfo(np.int64).max], np.int64).astype(dtype), "s")
    assert abs(int(wild[0])) >= 2**62 - 10**6


def test_damage_does_not_decide_the_unit():
    """One wild time among many."""
    times = some_events()["timestamp"].copy()
    times[17] = 2**60
    assert infer_unit(TimeEvidence.of(times, N))[0] == "us"
