"""Event Stream files, made byte by byte."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepdepth import RecordingError
from sweepdepth.capture.events import EVENT_DTYPE, join, make_events
from sweepdepth.capture.recordings import es
from sweepdepth.capture.sources.chunks import NO_TRIGGERS, CutShort

WIDTH, HEIGHT = 96, 72


def header(kind: int, version: bytes = b"\2\0\0") -> bytes:
    return b"Event Stream" + version + bytes([kind, WIDTH, 0, HEIGHT, 0])


def read(path):
    source = es.decode(str(path), None)
    assert (source.header.width, source.header.height) == (WIDTH, HEIGHT)
    return join([chunk.events.copy() for chunk in source.chunks]).tolist()


def test_dvs_events_have_seven_bits_of_time_and_y_points_up(tmp_path):
    body = bytes([5 << 1 | 1, 3, 0, 4, 0, 0, 95, 0, 71, 0, 0xFF, 0xFF, 0xFE, 126 << 1, 1, 0, 0, 0])
    (tmp_path / "a.es").write_bytes(header(1) + body)
    assert read(tmp_path / "a.es") == [(5, 3, 67, 1), (5, 95, 0, 0), (5 + 254 + 126, 1, 71, 0)]


def test_atis_events_of_exposure_are_left_out(tmp_path):
    body = bytes([5 << 2 | 2, 3, 0, 4, 0, 7 << 2 | 1, 3, 0, 4, 0, 0xFC | 2, 1 << 2, 1, 0, 0, 0])
    (tmp_path / "a.es").write_bytes(header(2) + body)
    assert read(tmp_path / "a.es") == [(5, 3, 67, 1), (5 + 7 + 126 + 1, 1, 71, 0)]


@pytest.mark.parametrize(
    "content, message",
    [
        (header(1)[:17], "its header is cut short"),
        (header(1, b"\1\0\0") + bytes(20), r"it is of version 1\.0\.0 of Event Stream; version 2 can be read"),
        (header(0) + bytes(20), "it holds generic data, not DVS or ATIS events"),
        (header(4) + bytes(20), "it holds color data"),
    ],
)
def test_unreadable_files_are_refused(tmp_path, content, message):
    (tmp_path / "a.es").write_bytes(content)
    with pytest.raises(RecordingError, match=message):
        read(tmp_path / "a.es")


def test_a_file_cut_in_the_middle_of_an_event_is_read_up_to_there(tmp_path):
    (tmp_path / "a.es").write_bytes(header(1) + bytes([3, 3, 0, 4, 0, 2, 5]))
    chunks = es.decode(str(tmp_path / "a.es"), None).chunks
    assert next(chunks).events.tolist() == [(1, 3, 67, 1)]
    with pytest.raises(CutShort, match="its last 2 bytes are a part of an event"):
        next(chunks)


def test_files_of_several_blocks_are_read_whole(tmp_path):
    n = 200_000
    rng = np.random.default_rng(0)
    events = make_events(
        np.cumsum(rng.integers(0, 300, n)), rng.integers(0, 96, n), rng.integers(0, 72, n), rng.integers(0, 2, n)
    )
    events["timestamp"] -= events["timestamp"][0]
    sink = es.encode(str(tmp_path / "a.es"), WIDTH, HEIGHT, None)
    for at in range(0, n, 70_000):
        sink.write(events[at : at + 70_000], NO_TRIGGERS)
    sink.close()
    assert read(tmp_path / "a.es") == events.tolist()


def test_a_pause_too_long_for_the_format_is_refused(tmp_path):
    events = make_events(np.array([0, 5 * 3_600_000_000]), np.zeros(2), np.zeros(2), np.zeros(2))
    sink = es.encode(str(tmp_path / "a.es"), WIDTH, HEIGHT, None)
    with pytest.raises(RecordingError, match=r"a pause of 5 hours between events would fill it; write \.h5"):
        sink.write(events, NO_TRIGGERS)
    sink.close()


@given(st.lists(st.integers(0, 255) | st.sampled_from([0xFC, 0xFD, 0xFE, 0xFF]), max_size=200), st.sampled_from([1, 2]))
@settings(deadline=None, max_examples=200)
def test_the_kernel_and_its_readable_reference_agree(content, kind):
    used, events, t = es.decode_plainly(bytes(content), kind, HEIGHT, 7)
    out = np.empty(len(content) // 5 + 1, EVENT_DTYPE)
    found = es.decode_bytes(np.frombuffer(bytes(content), np.uint8), kind, HEIGHT, 7, out)
    assert found == (used, len(events), t)
    assert out[: len(events)].tolist() == events
