"""Prophesee DAT files, made byte by byte."""

import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepdepth import RecordingError
from sweepdepth.capture.events import EVENT_DTYPE, join, make_events
from sweepdepth.capture.formats.recordings import DAT, EVT, recognise
from sweepdepth.capture.recordings.prophesee import dat
from sweepdepth.capture.recordings.prophesee.clock import CLOCK_32, PlainClock, new_state
from sweepdepth.capture.recordings.prophesee.clock32 import extend_times, extend_times_plainly
from sweepdepth.capture.sources.chunks import NO_TRIGGERS, CutShort

SIZE = (304, 240)
HEADER = b"% Data file containing CD events.\n% Version 2\n% Date 2018-01-02 03:04:05\n"
EVENTS = [(1000, 5, 7, 1), (1000, 303, 239, 0), (2_000_017, 0, 0, 1)]


def packed(events: list[tuple[int, int, int, int]]) -> bytes:
    return b"".join(struct.pack("<II", t & 0xFFFFFFFF, x | y << 14 | p << 28) for t, x, y, p in events)


def read(path: Path, size: tuple[int, int] | None = SIZE):
    source = dat.decode(str(path), size)
    chunks = []
    try:
        for chunk in source.chunks:
            chunks.append(chunk.events.copy())
    except CutShort as cut:
        source.losses.notes.append(str(cut))
    return source.header, join(chunks).tolist(), source.losses


@pytest.mark.parametrize("kind", [0, 12])
def test_events_of_both_types_are_read(tmp_path, kind):
    (tmp_path / "a.dat").write_bytes(HEADER + bytes([kind, 8]) + packed(EVENTS))
    header, events, losses = read(tmp_path / "a.dat")
    assert (header.width, header.height) == SIZE
    assert events == EVENTS
    assert not losses.notes
    assert recognise(tmp_path / "a.dat") == DAT


def test_the_size_is_that_of_the_header_where_it_has_one(tmp_path):
    (tmp_path / "a.dat").write_bytes(HEADER + b"% Height 720\n% Width 1280\n\x0c\x08" + packed(EVENTS))
    header, events, _ = read(tmp_path / "a.dat", None)
    assert (header.width, header.height) == (1280, 720)
    assert events == EVENTS
    (tmp_path / "a.dat").write_bytes(HEADER + b"\x0c\x08" + packed(EVENTS))
    with pytest.raises(RecordingError, match=r"does not say how large its sensor is; give the camera's lens\.toml"):
        read(tmp_path / "a.dat", None)


def test_files_before_version_2_pack_their_pixels_more_tightly(tmp_path):
    words = b"".join(struct.pack("<II", t, x | y << 9 | p << 17) for t, x, y, p in EVENTS)
    (tmp_path / "a.dat").write_bytes(b"% Data file containing TD events.\n% Version 1\n\x00\x08" + words)
    assert read(tmp_path / "a.dat")[1] == EVENTS


def test_the_clock_of_32_bits_overflows(tmp_path):
    events = [((1 << 32) + t, 1, 2, 1) for t in range(-50_000, 50_000, 1000)] + [((2 << 32) - 70_000_000, 1, 2, 0)]
    events.insert(-1, ((1 << 32) + 2_000_000_000, 1, 2, 0))
    (tmp_path / "a.dat").write_bytes(HEADER + b"\x0c\x08" + packed(events))
    assert read(tmp_path / "a.dat")[1] == events


def test_events_out_of_order_keep_their_times(tmp_path):
    """Also around an overflow; readers sort or drop them."""
    times = [(1 << 32) + t for t in (-300, -100, -200, 100, -50, 50, 200)]
    events = [(t, 1, 2, 1) for t in times]
    (tmp_path / "a.dat").write_bytes(HEADER + b"\x0c\x08" + packed(events))
    assert read(tmp_path / "a.dat")[1] == events


@pytest.mark.parametrize("wild", [0, 5, 0xFFFFFFFF, 0x7FFFFFFF])
def test_an_isolated_wrong_time_is_no_overflow(tmp_path, wild):
    events = [(3_000_000_000 + 100 * i, 1, 2, 1) for i in range(50)]
    spoiled = [*events[:20], (wild, 1, 2, 1), *events[20:]]
    (tmp_path / "a.dat").write_bytes(HEADER + b"\x0c\x08" + packed(spoiled))
    _, found, losses = read(tmp_path / "a.dat")
    assert [event for event in found if event[0] != wild] == events
    assert len(found) + losses.events == 51


def test_a_time_in_the_header_is_added(tmp_path):
    (tmp_path / "a.dat").write_bytes(HEADER + b"% T0 1763000511821624\n\x0c\x08" + packed(EVENTS))
    assert [t for t, *_ in read(tmp_path / "a.dat")[1]] == [1_763_000_511_821_624 + t for t, *_ in EVENTS]


def test_a_file_cut_in_the_middle_of_an_event_is_read_up_to_there(tmp_path):
    (tmp_path / "a.dat").write_bytes(HEADER + b"\x0c\x08" + packed(EVENTS) + b"\1\2\3")
    _, events, losses = read(tmp_path / "a.dat")
    assert events == EVENTS
    assert losses.notes == ["its last 3 bytes are a part of an event: it is cut short"]


@pytest.mark.parametrize(
    "rest, message",
    [
        (b"", "it ends with its header"),
        (b"\x0e\x08" + bytes(80), "it holds external triggers alone"),
        (b"\x28\x0c" + bytes(80), "its events are of type 40 with 12 bytes; types 0 and 12 with 8 bytes can be read"),
        (b"% Version two\n\x0c\x08" + bytes(80), None),
        (b"% Width wide\n% Height 5\n\x0c\x08" + bytes(80), "width 'wide', which is no whole number"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, rest, message):
    (tmp_path / "a.dat").write_bytes(HEADER + rest)
    if message is None:  # the first of two values counts
        assert len(read(tmp_path / "a.dat")[1]) == 10
        return
    with pytest.raises(RecordingError, match=message):
        read(tmp_path / "a.dat")


def test_files_of_several_blocks_are_read_whole(tmp_path):
    n = 200_000
    rng = np.random.default_rng(0)
    events = make_events(
        np.cumsum(rng.integers(0, 60_000, n)), rng.integers(0, 304, n), rng.integers(0, 240, n), rng.integers(0, 2, n)
    )
    sink = dat.encode(str(tmp_path / "a.dat"), *SIZE, None)
    sink.write(events[:70_000], NO_TRIGGERS)
    sink.write(events[70_000:], NO_TRIGGERS)
    sink.close()
    header, found, _ = read(tmp_path / "a.dat", None)
    assert found == events.tolist()
    assert (header.width, header.height) == SIZE


def test_a_dat_file_that_names_a_camera_is_still_one(tmp_path):
    (tmp_path / "a.dat").write_bytes(HEADER + b"% integrator_name Prophesee\n\x0c\x08" + packed(EVENTS))
    assert recognise(tmp_path / "a.dat") == DAT
    (tmp_path / "a.raw").write_bytes(b"% integrator_name Prophesee\n% evt 2.0\n")
    assert recognise(tmp_path / "a.raw") == EVT


@given(st.lists(st.integers(0, 2**32 - 1), max_size=50), st.sampled_from([0, 1, 2, 3]))
@settings(deadline=None)
def test_unpacking_and_its_readable_reference_agree(drawn, version):
    words, t = np.array(drawn, np.uint32), np.arange(len(drawn))
    out = np.zeros(len(drawn), EVENT_DTYPE)
    dat.unpack_events(words, t, out.view(np.int64), version)
    assert out.tolist() == dat.unpack_plainly(words, t, version).tolist()


times = st.builds(
    lambda place, offset: (place + offset) % (1 << 32),
    st.sampled_from([0, 1 << 31, (1 << 32) - 3, 3_000_000, 2_500_000_000]),
    st.integers(-5, 5) | st.integers(0, 3_000_000),
)


@given(st.lists(times, max_size=60))
@settings(deadline=None, max_examples=300)
def test_the_kernel_and_its_readable_reference_agree(readings):
    plain = PlainClock(CLOCK_32)
    expected = extend_times_plainly(readings, plain)
    out = np.empty(len(readings), np.int64)
    state = new_state()
    dropped = extend_times(np.array(readings, np.uint32), len(readings), out, state, CLOCK_32.limits())
    assert out.tolist() == expected
    assert dropped == expected.count(-1)
    assert int(state["wraps"][0]) == plain.wraps
