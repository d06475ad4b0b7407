"""AEDAT 2 and 3.1 files, made byte by byte."""

import struct

import numpy as np
import pytest

from sweepdepth import RecordingError
from sweepdepth.capture.events import FALLING, RISING, TRIGGER_DTYPE, join
from sweepdepth.capture.formats.recordings import AEDAT2, AEDAT3, recognise
from sweepdepth.capture.recordings import caer, jaer
from sweepdepth.capture.sources.chunks import CutShort

EVENTS = [(320, 44, 71, 1), (779, 7, 4, 0), (779, 345, 259, 1), (1_148_000, 0, 0, 0)]
DAVIS346 = "# AEChip: eu.seebetter.ini.chips.davis.Davis346red\r\n"


def read(decode, path, size=None):
    source = decode(str(path), size)
    events, triggers = [], []
    try:
        for chunk in source.chunks:
            events.append(chunk.events.copy())
            triggers.append(chunk.triggers.copy())
    except CutShort as cut:
        source.losses.notes.append(str(cut))
    return source.header, join(events).tolist(), join(triggers, TRIGGER_DTYPE).tolist(), source.losses


def davis(t: int, x: int, y: int, p: int) -> bytes:
    return struct.pack(">II", y << 22 | x << 12 | p << 11, t & 0xFFFFFFFF)


def jaer_file(path, records: bytes, lines: str = DAVIS346, version: str = "2.0"):
    path.write_bytes(f"#!AER-DAT{version}\r\n# This is a raw AE data file\r\n{lines}".encode() + records)
    return path


def test_davis_events_of_aedat_2_are_read(tmp_path):
    path = jaer_file(tmp_path / "a.aedat", b"".join(davis(*event) for event in EVENTS))
    header, events, triggers, losses = read(jaer.decode, path)
    assert (header.format, header.width, header.height) == ("AEDAT2", 346, 260)
    assert events == EVENTS
    assert triggers == []
    assert not losses.notes
    assert recognise(path) == AEDAT2


def test_frames_and_motion_between_the_events_of_aedat_2_are_left_out(tmp_path):
    frames = struct.pack(">II", 1 << 31 | 5 << 22, 0xFFFFFFF0)  # their times are not those of events
    content = frames.join([b"", *(davis(*event) for event in EVENTS), b""])
    assert read(jaer.decode, jaer_file(tmp_path / "a.aedat", content))[1] == EVENTS


def test_external_inputs_of_aedat_2_are_edges_that_rise(tmp_path):
    external = struct.pack(">II", 1 << 10, 900)
    content = davis(*EVENTS[0]) + external + davis(*EVENTS[3])
    _, events, triggers, losses = read(jaer.decode, jaer_file(tmp_path / "a.aedat", content))
    assert events == [EVENTS[0], EVENTS[3]]
    assert triggers == [(900, RISING, 0)]
    assert losses.notes == ["its 1 external inputs do not say which edge they are; all are taken as rising"]


def test_aedat_2_of_v2e_counts_pixels_from_the_other_corner(tmp_path):
    """v2e turns the image for jAER, and names no camera."""
    lines = "# This is a raw AE data file created by AEDat2Output in v2e (see its page) as specified\r\n"
    turned = [(t, 345 - x, 259 - y, p) for t, x, y, p in EVENTS]
    path = jaer_file(tmp_path / "a.aedat", b"".join(davis(*event) for event in turned), lines)
    with pytest.raises(RecordingError, match=r"names no camera, so that its size is unknown; give the camera's lens"):
        read(jaer.decode, path)
    assert read(jaer.decode, path, (346, 260))[1] == EVENTS


def test_noise_that_v2e_labels_is_no_external_input(tmp_path):
    lines = "# AEDat2Output in v2e\r\n# noise events are labeled as addressed external input events\r\n"
    noise = struct.pack(">II", 2 << 22 | 3 << 12 | 1 << 11 | 1 << 10, 900)
    path = jaer_file(tmp_path / "a.aedat", noise, lines)
    assert read(jaer.decode, path, (346, 260))[1:3] == ([(900, 342, 257, 1)], [])


def test_aedat_2_of_v2e_with_640_by_480_pixels_has_the_layout_of_dvs640(tmp_path):
    record = struct.pack(">II", 400 << 11 | 500 << 1 | 1, 900)
    path = jaer_file(tmp_path / "a.aedat", record, "# AEDat2Output in v2e\r\n")
    assert read(jaer.decode, path, (640, 480))[1] == [(900, 139, 79, 1)]


def test_aedat_2_of_a_dvs128_has_its_axes_and_polarity_turned(tmp_path):
    """libcaer: x and y count from the lower right corner, and a set bit is a decrease."""
    records = struct.pack(">IIII", 100 << 8 | 20 << 1 | 1, 900, 0, 901) + struct.pack(">II", 1 << 15, 950)
    path = jaer_file(tmp_path / "a.aedat", records, "# AEChip: ch.unizh.ini.jaer.chip.retina.DVS128\r\n")
    header, events, triggers, _ = read(jaer.decode, path)
    assert (header.width, header.height) == (128, 128)
    assert events == [(900, 107, 27, 0), (901, 127, 127, 1)]
    assert triggers == [(950, RISING, 0)]


def test_the_calibrations_size_is_used_and_reported(tmp_path):
    path = jaer_file(tmp_path / "a.aedat", davis(*EVENTS[0]))
    header, *_ = read(jaer.decode, path, (96, 72))
    assert (header.width, header.height) == (96, 72)
    assert header.notes == ("its camera, davis346red, has 346×260 pixels; 96×72 of the calibration are taken",)


def test_the_clock_of_aedat_2_overflows(tmp_path):
    events = [((1 << 32) + t, 1, 2, 1) for t in range(-50_000, 50_000, 500)]
    path = jaer_file(tmp_path / "a.aedat", b"".join(davis(*event) for event in events))
    assert read(jaer.decode, path)[1] == events


def test_aedat_2_of_several_blocks_is_read_whole_and_up_to_its_cut(tmp_path):
    n = 150_000
    rng = np.random.default_rng(0)
    t = np.cumsum(rng.integers(0, 60_000, n))
    x, y, p = rng.integers(0, 346, n), rng.integers(0, 260, n), rng.integers(0, 2, n)
    table = np.stack([y << 22 | x << 12 | p << 11, t & 0xFFFFFFFF], 1).astype(">u4")
    path = jaer_file(tmp_path / "a.aedat", table.tobytes() + b"\1\2\3", DAVIS346 + "# End Of ASCII Header\r\n")
    _, events, _, losses = read(jaer.decode, path)
    assert events == list(zip(*(column.tolist() for column in (t, x, y, p)), strict=True))
    assert losses.notes == ["its last 3 bytes are a part of a record: it is cut short"]


def test_other_versions_of_aedat_are_refused(tmp_path):
    path = jaer_file(tmp_path / "a.aedat", bytes(60), version="1.0")
    with pytest.raises(RecordingError, match=r"an AEDAT file of version 1\.0; versions 2, 3\.1 and 4 can be read"):
        read(jaer.decode, path)


CAER_HEADER = b"#!AER-DAT3.1\r\n#Format: RAW\r\n#Source 1: DAVIS346\r\n#Start-Time: 2017-01-01\r\n#!END-HEADER\r\n"


def packet(kind: int, records: list[tuple[int, int]], overflows: int = 0, event_bytes: int = 8) -> bytes:
    n = len(records)
    head = struct.pack("<hhiiiiii", kind, 1, event_bytes, 4, overflows, n, n, n)
    return head + b"".join(struct.pack("<II", data, t) for data, t in records)


def polarity(events: list[tuple[int, int, int, int]], overflows: int = 0) -> bytes:
    return packet(1, [(x << 17 | y << 2 | p << 1 | 1, t) for t, x, y, p in events], overflows)


def special(edges: list[tuple[int, int]]) -> bytes:
    return packet(0, [(kind << 1 | 1, t) for t, kind in edges])


def test_polarity_and_special_events_of_aedat_3_are_read(tmp_path):
    """Packets contain one kind of event; those of triggers may follow events with later times."""
    edges = [(300, 2), (400, 3), (500, 6), (600, 7), (700, 4), (750, 0)]
    frames = packet(2, [(5, 5)])
    content = (
        CAER_HEADER + polarity(EVENTS[:1]) + frames + polarity(EVENTS[1:3]) + special(edges) + polarity(EVENTS[3:])
    )
    (tmp_path / "a.aedat").write_bytes(content)
    header, events, triggers, losses = read(caer.decode, tmp_path / "a.aedat")
    assert (header.format, header.width, header.height) == ("AEDAT3", 346, 260)
    assert events == EVENTS
    assert triggers == [(300, RISING, 0), (400, FALLING, 0), (500, RISING, 1), (600, FALLING, 1), (700, RISING, 0)]
    assert not losses.notes
    assert recognise(tmp_path / "a.aedat") == AEDAT3
    chunks = caer.decode(str(tmp_path / "a.aedat"), None).chunks
    assert len(next(chunks).triggers) == 5  # read ahead, so that none is late


def test_overflows_of_aedat_3_are_counted_in_its_packets(tmp_path):
    (tmp_path / "a.aedat").write_bytes(CAER_HEADER + polarity(EVENTS[:1], 0) + polarity(EVENTS[:1], 3))
    assert [t for t, *_ in read(caer.decode, tmp_path / "a.aedat")[1]] == [320, 320 + (3 << 31)]


def test_events_that_aedat_3_marks_as_invalid_are_left_out_and_counted(tmp_path):
    content = packet(1, [(44 << 17 | 71 << 2 | 3, 320), (1 << 17, 330)])
    (tmp_path / "a.aedat").write_bytes(CAER_HEADER + content)
    _, events, _, losses = read(caer.decode, tmp_path / "a.aedat")
    assert events == EVENTS[:1]
    assert losses.notes == ["1 events were left out, which the file itself marks as invalid"]


@pytest.mark.parametrize("cut, note", [(3, "in its last packet"), (20, "in the header of its last packet")])
def test_aedat_3_is_read_up_to_where_it_is_cut(tmp_path, cut, note):
    content = CAER_HEADER + polarity(EVENTS[:2]) + polarity(EVENTS[2:3])
    (tmp_path / "a.aedat").write_bytes(content[:-cut])
    _, events, _, losses = read(caer.decode, tmp_path / "a.aedat")
    assert events == EVENTS[:2]
    assert losses.notes == [f"it is cut short {note}"]


@pytest.mark.parametrize(
    "content, message",
    [
        (b"#!AER-DAT3.1\r\n#Format: RAW\r\n", "its header does not end"),
        (CAER_HEADER.replace(b"RAW", b"Serial-TS, PNG-Compression"), r"its format is 'Serial-TS, PNG-Compression'"),
        (CAER_HEADER.replace(b"DAVIS346", b"Foo"), r"names the camera 'Foo', whose size is unknown.*--lens"),
        (
            CAER_HEADER + polarity(EVENTS[:1]) + packet(1, [(1, 1)], event_bytes=-8),
            rf"packet at byte {len(CAER_HEADER) + 36} is damaged",
        ),
        (CAER_HEADER + packet(1, [(1, 1)], event_bytes=16), "has events of 16 bytes"),
    ],
)
def test_aedat_3_that_cannot_be_read_is_refused(tmp_path, content, message):
    (tmp_path / "a.aedat").write_bytes(content)
    with pytest.raises(RecordingError, match=message):
        read(caer.decode, tmp_path / "a.aedat")
