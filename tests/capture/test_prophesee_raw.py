"""Prophesee RAW files, built word by word: their events and triggers, and imperfect clocks."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sweepdepth import RecordingError
from sweepdepth.capture.events import EVENT_DTYPE, FALLING, RISING, TRIGGER_DTYPE, join
from sweepdepth.capture.recordings import Repairs, open_recording
from sweepdepth.capture.recordings.prophesee import evt2, evt3, evt21, raw, raw_writer
from sweepdepth.capture.recordings.prophesee.clock import (
    EVT2_CLOCK,
    EVT3_CLOCK,
    Clock,
    PlainClock,
    accept_fall,
    new_state,
)
from sweepdepth.capture.sources.chunks import CutShort
from sweepdepth.capture.sources.sanitizer import Sanitizer

WIDTH, HEIGHT = 96, 72
OLD_HEADER = "% Date 2020-09-14 09:03:25\n% integrator_name Prophesee\n% geometry 96x72\n% evt {version}\n"
NEW_HEADER = "% camera_integrator_name Prophesee\n% evt {version}\n% format {name};height=72;width=96\n% end\n"
EVT2_WRAP_US = 1 << 34
EVT3_WRAP_US = 1 << 24


def evt2_word(t: int, x: int, y: int, p: int) -> int:
    return p << 28 | (t & 63) << 22 | x << 11 | y


def evt2_high(t: int) -> int:
    return 8 << 28 | t >> 6 & 0xFFFFFFF


def evt3_time(t: int) -> list[int]:
    return [8 << 12 | t >> 12 & 0xFFF, 6 << 12 | t & 0xFFF]


def evt3_event(x: int, y: int, p: int) -> list[int]:
    return [y, 2 << 12 | p << 11 | x]


def evt2_of(events: list[tuple[int, int, int, int]]) -> list[int]:
    """A time word before each event."""
    return [word for t, x, y, p in events for word in (evt2_high(t), evt2_word(t, x, y, p))]


def evt3_of(events: list[tuple[int, int, int, int]]) -> list[int]:
    return [word for t, x, y, p in events for word in (*evt3_time(t), *evt3_event(x, y, p))]


def evt21_of(events: list[tuple[int, int, int, int]]) -> list[int]:
    """Words of 64 bits with one event each."""
    words = []
    for t, x, y, p in events:
        words += [evt2_high(t) << 32, evt2_word(t, x & ~31, y, p) << 32 | 1 << (x & 31)]
    return words


ENCODINGS = {
    "EVT2": ("2.0", "EVT2", "<u4", evt2_of, EVT2_WRAP_US),
    "EVT2.1": ("2.1", "EVT21", "<u8", evt21_of, EVT2_WRAP_US),
    "EVT3": ("3.0", "EVT3", "<u2", evt3_of, EVT3_WRAP_US),
}
encodings = pytest.mark.parametrize("encoding", ENCODINGS)


def write(path: Path, encoding: str, words: list[int], header: str = NEW_HEADER, tail: bytes = b"") -> Path:
    version, name, dtype, _, _ = ENCODINGS[encoding]
    head = header.format(version=version, name=name).encode()
    path.write_bytes(head + np.array(words, dtype).tobytes() + tail)
    return path


def written(path: Path, encoding: str, events: list[tuple[int, int, int, int]], **options) -> Path:
    return write(path, encoding, ENCODINGS[encoding][3](events), **options)


def read(path: Path) -> tuple[list, list, Repairs]:
    """Events, triggers and repairs, decoded in this process for speed."""
    source = raw.decode(str(path), None)
    sanitizer = Sanitizer(str(path), source.header.width, source.header.height)
    batches = []
    try:
        for chunk in source.chunks:
            batches += sanitizer.admit(chunk)
    except CutShort as cut:
        source.losses.notes.append(str(cut))
    sanitizer.add_losses(source.losses)
    batches += sanitizer.finish()
    events, triggers = join([b.events for b in batches]), join([b.triggers for b in batches], TRIGGER_DTYPE)
    return events.tolist(), triggers.tolist(), sanitizer.repairs


def steady(n: int, start_us: int, step_us: int = 100) -> list[tuple[int, int, int, int]]:
    return [(start_us + i * step_us, i * 7 % WIDTH, i * 5 % HEIGHT, i % 2) for i in range(n)]


@encodings
@pytest.mark.parametrize("header", [OLD_HEADER, NEW_HEADER], ids=["old header", "new header"])
def test_events_are_read_as_written(tmp_path, encoding, header):
    events = [(1000, 5, 7, 1), (1000, 95, 71, 0), (1063, 0, 0, 1), (1_064_000, 31, 32, 0), (1_064_001, 32, 31, 1)]
    events += steady(200, 1_070_000)
    path = written(tmp_path / "a.raw", encoding, events, header=header)
    with open_recording(path) as recording:
        assert recording.format == encoding
        assert (recording.width, recording.height) == (WIDTH, HEIGHT)
        assert recording.read()[0].tolist() == events
        assert not recording.repairs


def test_evt2_triggers_have_channel_and_edge(tmp_path):
    words = [evt2_high(640), 10 << 28 | 3 << 22 | 6 << 8 | 1, evt2_word(644, 1, 2, 1), 10 << 28 | 5 << 22 | 0 << 8]
    _, triggers, _ = read(write(tmp_path / "a.raw", "EVT2", words))
    assert triggers == [(643, RISING, 6), (645, FALLING, 0)]


def test_evt21_triggers_have_channel_and_edge(tmp_path):
    upper = [evt2_high(640), 10 << 28 | 3 << 22 | 6 << 8 | 1, 10 << 28 | 5 << 22 | 0 << 8]
    _, triggers, _ = read(
        write(tmp_path / "a.raw", "EVT2.1", [word << 32 for word in upper] + evt21_of(steady(3, 700)))
    )
    assert triggers == [(643, RISING, 6), (645, FALLING, 0)]


def test_evt3_triggers_have_channel_and_edge(tmp_path):
    words = [*evt3_time(4096 + 7), 10 << 12 | 6 << 8 | 1, *evt3_event(1, 2, 1), 6 << 12 | 9, 10 << 12 | 0 << 8]
    _, triggers, _ = read(write(tmp_path / "a.raw", "EVT3", words))
    assert triggers == [(4103, RISING, 6), (4105, FALLING, 0)]


def test_evt21_words_hold_an_event_for_each_bit(tmp_path):
    word = evt2_word(70, 64, 9, 1) << 32 | 1 << 31 | 1 << 3 | 1
    events, _, _ = read(write(tmp_path / "a.raw", "EVT2.1", [evt2_high(64) << 32, word]))
    assert events == [(70, 64, 9, 1), (70, 67, 9, 1), (70, 95, 9, 1)]


@pytest.mark.parametrize("stated", ["", ";endianness=legacy", ";endianness=little"])
@pytest.mark.parametrize("order", ["little", "legacy", "big"])
def test_evt21_is_read_in_whichever_order_its_bytes_are(tmp_path, order, stated):
    """Some cameras write the upper half of a word first, and not every file says so."""
    events = steady(50, 1000)
    words = np.array(evt21_of(events), "<u8")
    if order == "legacy":
        words = words >> 32 | words << 32
    content = words.astype(">u8" if order == "big" else "<u8").tobytes()
    header = f"% evt 2.1\n% format EVT21;height=72;width=96{stated}\n% end\n".encode()
    (tmp_path / "a.raw").write_bytes(header + content)
    assert read(tmp_path / "a.raw")[0] == events


def test_evt3_vectors_go_on_from_one_another(tmp_path):
    """0x3 says where and which polarity, 0x4 and 0x5 are 12 and 8 pixels each."""
    words = [
        *evt3_time(50),
        11,
        3 << 12 | 1 << 11 | 20,
        4 << 12 | 0x801,
        4 << 12 | 0x002,
        5 << 12 | 0x81,
        5 << 12 | 0x01,
    ]
    words += [12, 3 << 12 | 40, 5 << 12 | 0x02]
    events, _, _ = read(write(tmp_path / "a.raw", "EVT3", words))
    on = [(50, x, 11, 1) for x in (20, 31, 33, 44, 51, 52)]
    assert events == [*on, (50, 41, 12, 0)]


def test_evt3_keeps_the_low_bits_when_the_same_high_ones_come_again(tmp_path):
    high, low = evt3_time(4096 * 3 + 100)
    words = [high, low, *evt3_event(1, 1, 1), high, high, *evt3_event(2, 1, 1)]
    assert read(write(tmp_path / "a.raw", "EVT3", words))[0] == [(12_388, 1, 1, 1), (12_388, 2, 1, 1)]


@encodings
def test_the_clock_goes_on_through_overflows(tmp_path, encoding):
    wrap_us = ENCODINGS[encoding][4]
    events = [*steady(200, wrap_us - 10_000), *steady(100, 2 * wrap_us - 5_000)]
    # A time word at least every half range, as cameras write them.
    between = [(t, 0, 0, 1) for t in range(wrap_us + 20_000, 2 * wrap_us - 5_000, wrap_us // 4)]
    events = events[:200] + between + events[200:]
    read_events, _, repairs = read(written(tmp_path / "a.raw", encoding, events))
    assert read_events == events
    assert not repairs


@pytest.mark.parametrize("pause_us", [4_097, 50_000, 3_000_000, 8_200_000])
def test_evt3_pauses_over_an_overflow_are_counted_up_to_half_the_range(tmp_path, pause_us):
    events = [*steady(150, EVT3_WRAP_US - 15_000), *steady(150, EVT3_WRAP_US - 100 + pause_us)]
    read_events, _, repairs = read(written(tmp_path / "a.raw", "EVT3", events))
    assert read_events == events
    assert repairs.events == 0
    if pause_us > 1_000_000:
        assert f"its clock of 24 bits overflowed during a pause of {pause_us / 1e6:.1f} s" in str(repairs)


@pytest.mark.parametrize("pause_us", [9_000_000, 12_000_000, 16_000_000])
def test_longer_evt3_pauses_over_an_overflow_are_no_wrong_times(tmp_path, pause_us):
    """The clock falls by less than half its range, which may also be a restart."""
    events = [*steady(150, EVT3_WRAP_US - 15_000), *steady(150, EVT3_WRAP_US - 100 + pause_us)]
    with pytest.raises(RecordingError, match=r"its clock falls back from \d+ to \d+ µs at byte \d+: .* split the rec"):
        read(written(tmp_path / "a.raw", "EVT3", events))


@pytest.mark.parametrize("encoding, pause_us", [("EVT2", 60_000_000), ("EVT2.1", 200_000_000), ("EVT3", 14_000_000)])
def test_pauses_within_the_range_are_no_overflow(tmp_path, encoding, pause_us):
    events = [*steady(150, 5_000), *steady(150, 50_000 + pause_us)]
    read_events, _, repairs = read(written(tmp_path / "a.raw", encoding, events))
    assert read_events == events
    assert not repairs


@pytest.mark.parametrize("encoding, pause_us", [("EVT2", 2_000_000), ("EVT2", 200_000_000), ("EVT2.1", 30_000_000)])
def test_evt2_pauses_over_an_overflow_are_counted_up_to_minutes(tmp_path, encoding, pause_us):
    events = [*steady(150, EVT2_WRAP_US - 15_000), *steady(150, EVT2_WRAP_US - 100 + pause_us)]
    read_events, _, repairs = read(written(tmp_path / "a.raw", encoding, events))
    assert read_events == events
    assert "its clock of 34 bits overflowed during a pause of" in str(repairs)


@pytest.mark.parametrize("encoding, leftover_us", [("EVT2", 3_000_000_000), ("EVT2.1", 9_000_000), ("EVT3", 7_000_000)])
@pytest.mark.parametrize("start_us", [0, 2_000_000])
def test_leftovers_of_an_earlier_run_are_dropped_and_counted(tmp_path, encoding, leftover_us, start_us):
    events = steady(2000, start_us)
    path = written(tmp_path / "a.raw", encoding, [*steady(40, leftover_us), *events])
    read_events, _, repairs = read(path)
    assert read_events == events
    assert repairs.undated == repairs.events == 40
    assert "40 events at the beginning came from an earlier run of the camera" in str(repairs)


def test_leftovers_from_just_after_an_earlier_start_are_dropped_too(tmp_path):
    events = steady(2000, 0)
    read_events, _, repairs = read(written(tmp_path / "a.raw", "EVT2", [*steady(40, 500_000), *events]))
    assert read_events == events
    assert repairs.undated == 40


@encodings
def test_a_clock_restarted_in_the_middle_is_an_error(tmp_path, encoding):
    events = [*steady(1000, 5_000_000), *steady(1000, 0)]
    with pytest.raises(RecordingError, match=r"its clock falls back from 50\d+ to 0 µs at byte \d+.*split"):
        read(written(tmp_path / "a.raw", encoding, events))


@encodings
def test_a_slightly_late_block_is_no_new_clock(tmp_path, encoding):
    """Its events are sorted in, or dropped and counted if too late."""
    events = steady(2000, 8_000_000)
    late = events[:1000] + events[1300:1600] + events[1000:1300] + events[1600:]
    read_events, _, repairs = read(written(tmp_path / "a.raw", encoding, late))
    assert len(read_events) + repairs.events == 2000
    assert read_events[-1] == events[-1]
    assert set(read_events) <= set(events)


@encodings
def test_events_before_a_clock_reset_are_delivered(tmp_path, encoding):
    path = written(tmp_path / "a.raw", encoding, [*steady(1000, 5_000_000), *steady(1000, 0)])
    chunks = raw.decode(str(path), None).chunks
    assert next(chunks).events.tolist() == steady(1000, 5_000_000)
    with pytest.raises(RecordingError, match="falls back"):
        next(chunks)


@pytest.mark.parametrize("where", [20, 1000, 1990])
@pytest.mark.parametrize("reading", [0, 1, 100, 1900, 1940, 2200, 3000, 4095])
def test_one_wrong_time_word_loses_only_its_events(tmp_path, where, reading):
    """Also one that would count as an overflow, after which all would be 16.8 s late."""
    events = steady(2000, 8_000_000)
    words = evt3_of(events)
    words[where * 4] = 8 << 12 | reading
    read_events, _, repairs = read(write(tmp_path / "a.raw", "EVT3", words))
    assert read_events == events[:where] + events[where + 1 :]
    assert repairs.events == 1
    assert repairs.undated == 1
    assert "1 event came after time words that are outliers" in str(repairs)


def test_a_stale_time_word_is_no_overflow(tmp_path):
    """In EVT2, where other decoders take any fall for an overflow."""
    events = steady(2000, 8_000_000)
    words = evt2_of(events)
    words[1000] = evt2_high(7_000_000)
    read_events, _, repairs = read(write(tmp_path / "a.raw", "EVT2", words))
    assert read_events == events[:500] + events[501:]
    assert repairs.events == 1


def test_a_late_time_word_from_before_an_overflow_changes_no_time(tmp_path):
    events = steady(2000, EVT3_WRAP_US - 100_000)
    words = evt3_of(events)
    words[4 * 1003] = 8 << 12 | 4095  # is 0, just after the overflow
    read_events, _, repairs = read(write(tmp_path / "a.raw", "EVT3", words))
    assert [event for event in read_events if event in events] == events[:1003] + events[1004:]
    assert len(read_events) + repairs.events == 2000


@encodings
def test_time_words_that_repeat_do_no_harm(tmp_path, encoding):
    events = steady(300, 8_000_000)
    _, _, dtype, of, _ = ENCODINGS[encoding]
    words = of(events)
    top = np.dtype(dtype).itemsize * 8 - 4
    repeated = [word for word in words for _ in range(3 if word >> top == 8 else 1)]
    read_events, _, repairs = read(write(tmp_path / "a.raw", encoding, repeated))
    assert read_events == events
    assert not repairs


@encodings
def test_events_before_the_first_time_word_are_dropped_and_counted(tmp_path, encoding):
    events = steady(200, 64)
    _, _, dtype, of, _ = ENCODINGS[encoding]
    top = np.dtype(dtype).itemsize * 8 - 4
    words = of(events)
    early = [word for word in of(steady(61, 0)) if word >> top != 8]
    read_events, _, repairs = read(write(tmp_path / "a.raw", encoding, early + words))
    assert read_events == events
    assert repairs.events == repairs.undated == 61
    assert "61 events came before the first time" in str(repairs)


@encodings
def test_a_file_without_any_time_word_is_an_error(tmp_path, encoding):
    _, _, dtype, of, _ = ENCODINGS[encoding]
    top = np.dtype(dtype).itemsize * 8 - 4
    with pytest.raises(RecordingError, match=r"its 50 events have no time"):
        read(write(tmp_path / "a.raw", encoding, [word for word in of(steady(50, 0)) if word >> top != 8]))


def test_triggers_before_the_first_time_word_are_dropped_and_counted(tmp_path):
    words = [10 << 28 | 1, *evt2_of(steady(10, 0))]
    _, triggers, repairs = read(write(tmp_path / "a.raw", "EVT2", words))
    assert triggers == []
    assert repairs.triggers == 1


def test_evt3_events_before_the_first_row_are_dropped_and_counted(tmp_path):
    words = [*evt3_time(5), 2 << 12 | 7, 3 << 12 | 8, 5 << 12 | 0x81, *evt3_of(steady(10, 100))]
    read_events, _, repairs = read(write(tmp_path / "a.raw", "EVT3", words))
    assert read_events == steady(10, 100)
    assert repairs.undated == 3


@pytest.mark.parametrize("encoding, kinds", [("EVT2", [2, 7, 9, 13]), ("EVT2.1", [2, 9]), ("EVT3", [1, 9, 11, 13])])
def test_words_of_unknown_kinds_are_skipped_and_counted(tmp_path, encoding, kinds):
    events = steady(100, 1000)
    _, _, dtype, of, _ = ENCODINGS[encoding]
    top = np.dtype(dtype).itemsize * 8 - 4
    strange = [kind << top | 5 for kind in kinds]
    words = of(events)
    half = len(words) // 2
    read_events, _, repairs = read(write(tmp_path / "a.raw", encoding, [*words[:half], *strange, *words[half:]]))
    assert read_events == events
    assert f"{len(kinds)} words were skipped, of unknown kind" in str(repairs)
    others = [kind << top | 5 for kind in ((7, 14, 15) if encoding == "EVT3" else (14, 15))]
    assert not read(write(tmp_path / "b.raw", encoding, [*words[:half], *others, *words[half:]]))[2]


@encodings
def test_a_file_in_another_encoding_than_declared_is_an_error(tmp_path, encoding):
    top = np.dtype(ENCODINGS[encoding][2]).itemsize * 8 - 4
    with pytest.raises(RecordingError, match=r"900 of 1,000 words are of kinds that EVT[\d.]+ does not have"):
        read(write(tmp_path / "a.raw", encoding, [9 << top] * 900 + [14 << top] * 100))


@encodings
@pytest.mark.parametrize("tail", [b"\1", b"\1\2\3", b"\1\2\3\4\5\6\7"])
def test_a_file_cut_in_the_middle_of_a_word_is_read_up_to_there(tmp_path, encoding, tail):
    events = steady(100, 1000)
    size = np.dtype(ENCODINGS[encoding][2]).itemsize
    tail = tail[: size - 1]
    read_events, _, repairs = read(written(tmp_path / "a.raw", encoding, events, tail=tail))
    assert read_events == events
    assert "a part of a word: it is cut short" in str(repairs)


@encodings
def test_an_event_off_the_sensor_is_dropped_and_counted(tmp_path, encoding):
    events = steady(200, 1000)
    events[100] = (events[100][0], 2047, 2000, 1)
    read_events, _, repairs = read(written(tmp_path / "a.raw", encoding, events))
    assert read_events == events[:100] + events[101:]
    assert repairs.off_sensor == repairs.events == 1


@pytest.mark.parametrize(
    "header, message",
    [
        ("% evt 2.0\n", r"does not say how large its sensor is; give the camera's lens\.toml with --lens"),
        ("% evt 2.0\n% geometry 96 by 72\n", r"geometry '96 by 72', not WIDTHxHEIGHT"),
        ("% evt 4.0\n% geometry 96x72\n", r"it is encoded as '4\.0'; EVT2, EVT2\.1 and EVT3 can be read"),
        ("% format HISTO3D;height=72;width=96\n", r"it is encoded as 'HISTO3D'"),
        ("% integrator_name Prophesee\n% geometry 96x72\n", r"does not say how its events are encoded; add a line"),
        ("% evt 2.0\n% geometry 96x72\n% t0 noon\n", r"t0 'noon', which is no whole number"),
    ],
)
def test_headers_that_cannot_be_used_are_refused(tmp_path, header, message):
    with pytest.raises(RecordingError, match=message):
        read(write(tmp_path / "a.raw", "EVT2", evt2_of(steady(10, 0)), header=header))


def test_a_file_without_a_declared_encoding_is_evt2(tmp_path):
    header = "% integrator_name Prophesee\n% plugin_name hal_plugin_gen31_fx3\n% geometry 96x72\n"
    assert read(write(tmp_path / "a.raw", "EVT2", evt2_of(steady(10, 0)), header=header))[0] == steady(10, 0)


def test_data_that_looks_like_a_header_line_is_data_after_the_end(tmp_path):
    words = [0x0A000025, *evt2_of(steady(10, 0))]  # "%", a line feed
    _, _, repairs = read(write(tmp_path / "a.raw", "EVT2", words))
    assert repairs.undated == 1


def test_files_of_several_blocks_are_read_whole(tmp_path):
    """Blocks end between any two words, and the clock overflows in each of them."""
    rng = np.random.default_rng(0)
    n = 150_000
    t = np.cumsum(rng.integers(0, 900, n)) + 16_000_000
    events = list(
        zip(t.tolist(), rng.integers(0, 96, n).tolist(), rng.integers(0, 72, n).tolist(), [1] * n, strict=True)
    )
    read_events, _, repairs = read(written(tmp_path / "a.raw", "EVT3", events))
    assert read_events == events
    assert not repairs


FIELD = Path(__file__).parents[2].parent / "shared" / "data" / "field"


@pytest.mark.parametrize(
    "name, n, first_us, last_us, dropped",
    [
        ("evt3_pause_over_wrap.raw", 20_000, 16_277_219, 19_747_157, 0),
        ("evt3_no_gap_over_wrap.raw", 24_000, 16_277_219, 17_277_170, 0),
        ("evt3_leftover_start.raw", 20_040, 9_000_009, 17_777_202, 0),  # an overflow by Prophesee's rule, and reported
        ("evt3_starts_mid.raw", 19_939, 1_003_710, 1_999_855, 61),
        ("evt2_leftover_start.raw", 20_000, 165, 999_997, 40),
        ("evt2_one_event_off_sensor.raw", 20_000, 1_000_033, 1_999_855, 1),
        ("evt21_new_header.raw", 4_000, 320, 999_803, 0),
    ],
)
def test_recordings_from_bug_reports_are_read_correctly(name, n, first_us, last_us, dropped):
    if not FIELD.is_dir():
        pytest.skip("the development recordings are not here")
    events, _, repairs = read(FIELD / name)
    assert (len(events), events[0][0], events[-1][0], repairs.events) == (n, first_us, last_us, dropped)


def word_of(encoding: str, draw_word: tuple[int, int, int]) -> int:
    """A word of a kind, with clock bits or other content."""
    kind, reading, content = draw_word
    if encoding == "EVT3":
        return kind << 12 | (reading & 0xFFF if kind == 8 else content & 0xFFF)
    upper = kind << 28 | (reading & 0xFFFFFFF if kind == 8 else content & 0xFFFFFFF)
    return upper if encoding == "EVT2" else upper << 32 | content & 0xFFFFFFFF


# Clock values cluster around a few places, so that steps, falls, overflows and wrong words all occur.
readings = st.builds(
    lambda place, offset: place + offset,
    st.sampled_from([0, 0, 1000, 2048, 4090, (1 << 27), (1 << 28) - 5, (1 << 28) - 20_000]),
    st.integers(-3, 8),
)
kinds = st.sampled_from([0, 0, 1, 1, 2, 3, 4, 5, 6, 8, 8, 8, 8, 10, 14, 9])
drawn_words = st.lists(st.tuples(kinds, readings, st.integers(0, 2**32 - 1)), max_size=80)


@given(
    st.sampled_from([("EVT2", EVT2_CLOCK), ("EVT2.1", EVT2_CLOCK), ("EVT3", EVT3_CLOCK)]),
    drawn_words,
    st.integers(1, 40),
    st.integers(33, 60),
    st.integers(1, 3),
)
@settings(deadline=None, max_examples=400)
def test_the_kernels_and_their_readable_references_agree(encoding, drawn, step, room, trigger_room):
    name, clock = encoding
    words = [word_of(name, word) for word in drawn]
    plain = PlainClock(clock)
    module = {"EVT2": evt2, "EVT2.1": evt21, "EVT3": evt3}[name]
    expected_events, expected_triggers = module.decode_plainly(words, plain)
    array = np.array(words, ENCODINGS[name][2])
    events, triggers, falls, state = decode_in_steps(name, clock, array, step, room, trigger_room)
    assert events == expected_events
    assert triggers == expected_triggers
    assert falls == plain.falls
    assert {name: int(state[name][0]) for name in plain.counts} == plain.counts
    assert int(state["wraps"][0]) == plain.wraps


def decode_in_steps(name: str, clock: Clock, words: np.ndarray, step: int, room: int, trigger_room: int):
    """Run a kernel over a few words at a time, with little room for its results."""
    state = new_state()
    out, edges = np.empty(room, EVENT_DTYPE), np.empty(trigger_room, TRIGGER_DTYPE)
    more = (1,) if name == "EVT2.1" else ()
    kernel = {"EVT2": evt2, "EVT2.1": evt21, "EVT3": evt3}[name].decode_words
    halves = words.view("<u4") if name == "EVT2.1" else words
    events, triggers, falls, at = [], [], [], 0
    while at < len(words):
        stop = min(at + step, len(words))
        at, n, m = kernel(halves, at, stop, out.view(np.int64), edges, state, clock.limits(), *more)
        events += out[:n].tolist()
        triggers += edges[:m].tolist()
        if int(state["fall_to"][0]) >= 0:
            falls.append((int(state["high"][0]), int(state["fall_to"][0])))
            accept_fall(state)
    return events, triggers, falls, state


def test_the_order_of_halves_is_known_from_few_time_words_or_from_the_header():
    words = np.array([evt2_high(t) << 32 for t in (0, 64, 128, 192)], "<u8")
    assert evt21.find_order(words.tobytes(), None) == "little"
    assert evt21.find_order((words >> 32).tobytes(), "little") == "legacy"
    assert evt21.find_order(b"", "legacy") == "legacy"
    assert evt21.find_order(b"", None) == "little"


@pytest.mark.parametrize("pause_us", [0, 50_000_000, EVT2_WRAP_US - 64, EVT2_WRAP_US, 3 * EVT2_WRAP_US + 12_345])
@pytest.mark.parametrize("start_us", [0, 1_763_000_511_821_624])
def test_written_files_keep_channels_and_times_across_any_pause(tmp_path, pause_us, start_us):
    events = np.array(steady(100, start_us) + steady(100, start_us + 10_000 + pause_us), EVENT_DTYPE)
    edges = [(start_us + 50, RISING, 0), (start_us + 9_000, FALLING, 31), (start_us + 12_000 + pause_us, RISING, 6)]
    triggers = np.array([*edges, (start_us + 90_000_000 + pause_us, FALLING, 6)], TRIGGER_DTYPE)
    sink = raw_writer.encode(str(tmp_path / "a.raw"), WIDTH, HEIGHT, None)
    for at in range(0, 200, 30):
        sink.write(events[at : at + 30], triggers[at // 30 : at // 30 + 1])
    sink.close()
    chunks = [
        (chunk.events.copy(), chunk.triggers.copy()) for chunk in raw.decode(str(tmp_path / "a.raw"), None).chunks
    ]
    np.testing.assert_array_equal(join([e for e, _ in chunks]), events)
    np.testing.assert_array_equal(join([t for _, t in chunks], TRIGGER_DTYPE), triggers)
