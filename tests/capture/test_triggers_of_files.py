"""Triggers of every format keep their channels, and the lens's trigger is found among them."""

from pathlib import Path

import dv_processing as dv
import h5py
import numpy as np
import pytest

from sweepdepth import Calibration, RecordingError
from sweepdepth.capture.events import FALLING, RISING, TRIGGER_DTYPE, Batch, make_triggers
from sweepdepth.capture.files.conversion import convert_recording
from sweepdepth.capture.recordings import open_recording, write_recording
from sweepdepth.capture.tracking import find_sweeps

from .test_recordings import HEIGHT, START_US, WIDTH, some_events

FIELD = Path(__file__).parents[2].parent / "shared" / "data" / "field"
TURNS_US = 100_000 + 200_000 * np.arange(5)  # of the 2.5 Hz lens of the `calibration` fixture
WORDS = {RISING: 1, FALLING: 0}


def lens_edges(channel: int = 0) -> list[tuple[int, int, int]]:
    return [(int(t), RISING if i % 2 == 0 else FALLING, channel) for i, t in enumerate(TURNS_US)]


def loopback(start_us: int, end_us: int, channel: int = 6) -> list[tuple[int, int, int]]:
    """A square wave of 1 kHz."""
    return [(int(t), RISING if i % 2 == 0 else FALLING, channel) for i, t in enumerate(range(start_us, end_us, 500))]


def evt2(triggers: list[tuple[int, int, int]]) -> bytes:
    """EVT2 words by Prophesee's description: 0x8 time, 0x0 and 0x1 events, 0xA external trigger; an event a ms."""
    words, high = [], -1
    everything = [*triggers, *((1_000 * i, -1, i % WIDTH) for i in range(1, 1_000))]
    for t, edge, where in sorted(everything):
        if t >> 6 != high:
            high = t >> 6
            words.append(0x8 << 28 | high)
        low = (t & 63) << 22
        words.append((0x1 << 28 | low | where << 11 | 5) if edge < 0 else (0xA << 28 | low | where << 8 | WORDS[edge]))
    header = f"% evt 2.0\n% geometry {WIDTH}x{HEIGHT}\n"
    return header.encode() + np.array(words, "<u4").tobytes()


def evt3(triggers: list[tuple[int, int, int]]) -> bytes:
    """EVT3 words by Prophesee's description: 0x8 and 0x6 time, 0x0 y, 0x2 x, 0xA external trigger; an event a ms."""
    words = []
    everything = [*triggers, *((1_000 * i, -1, i % WIDTH) for i in range(1, 1_000))]
    for t, edge, where in sorted(everything):
        words += [0x8 << 12 | t >> 12, 0x6 << 12 | t & 0xFFF]
        words += [5, 0x2 << 12 | 1 << 11 | where] if edge < 0 else [0xA << 12 | where << 8 | WORDS[edge]]
    header = f"% evt 3.0\n% geometry {WIDTH}x{HEIGHT}\n"
    return header.encode() + np.array(words, "<u2").tobytes()


@pytest.mark.parametrize("encode", [evt2, evt3])
@pytest.mark.parametrize(
    "others",
    [[], [(60_000, RISING, 1)], loopback(50_000, 999_000), [(60_000, FALLING, 1), *loopback(10_000, 400_000, 3)]],
    ids=["alone", "stray first", "loopback first", "both"],
)
def test_the_lens_is_found_in_raw_files_whatever_channel_fires_first(tmp_path, calibration, encode, others):
    path = tmp_path / "a.raw"
    path.write_bytes(encode(lens_edges() + others))
    with open_recording(path, calibration) as recording:
        _, triggers = recording.read()
        assert sorted(triggers.tolist()) == sorted(lens_edges() + others)
        assert [sweep.start_us for sweep in find_sweeps(recording, calibration)] == list(TURNS_US[:4])


@pytest.mark.parametrize("name", ["evt2_triggers_main", "evt2_triggers_stray_channel_first", "evt3_triggers_loopback"])
def test_the_sweeps_of_files_from_the_field(name: str):
    paths = list(FIELD.glob(f"{name}*"))
    if not paths:
        pytest.skip("the development recordings are not here")
    calibration = Calibration.load(FIELD / "lens96.toml")
    with open_recording(paths[0], calibration) as recording:
        sweeps = find_sweeps(recording, calibration)
    assert [sweep.start_us for sweep in sweeps] == [100_000, 300_000, 500_000, 700_000]


def test_hdf5_keeps_the_channel_and_older_files_without_it_have_channel_0(tmp_path):
    triggers = make_triggers(
        START_US + np.arange(6) * 1_000, np.array([1, 2, 1, 2, 1, 2]), np.array([0, 0, 6, 6, 255, 1])
    )
    path = tmp_path / "a.h5"
    write_recording(path, [Batch(some_events(), triggers, 0)], WIDTH, HEIGHT)
    with open_recording(path) as recording:
        assert np.array_equal(recording.read()[1], triggers)
    with h5py.File(path, "r+") as file:
        assert file["triggers/channel"].dtype == np.uint8  # pyright: ignore[reportAttributeAccessIssue]
        del file["triggers/channel"]
    with open_recording(path) as recording:
        _, old = recording.read()
    assert old["channel"].tolist() == [0] * 6
    assert np.array_equal(old["timestamp"], triggers["timestamp"])
    with h5py.File(path, "r+") as file:
        file["triggers/channel"] = np.zeros(5, np.uint8)
    with (
        pytest.raises(RecordingError, match=r"differ in length.*'triggers/channel': 5"),
        open_recording(path) as recording,
    ):
        recording.read()


@pytest.mark.parametrize("group", [False, True])
def test_hdf5_with_triggers_of_another_layout_is_read_without_them_with_a_warning(tmp_path, group: bool):
    path = tmp_path / "a.h5"
    write_recording(path, [Batch(some_events(), np.empty(0, TRIGGER_DTYPE), 0)], WIDTH, HEIGHT)
    with h5py.File(path, "r+") as file:
        del file["triggers"]
        file["triggers/somewhere" if group else "triggers"] = np.array([100_000, 300_000])
    with open_recording(path) as recording:
        events, triggers = recording.read()
        assert np.array_equal(events, some_events())
        assert len(triggers) == 0
        assert "its triggers are not in the layout of triggers/t" in str(recording.repairs)


KINDS = dv.TriggerType


@pytest.mark.parametrize(
    "kind,edge,channel",
    [
        (KINDS.EXTERNAL_SIGNAL_RISING_EDGE, RISING, 0),
        (KINDS.EXTERNAL_SIGNAL_FALLING_EDGE, FALLING, 0),
        (KINDS.EXTERNAL_SIGNAL_PULSE, RISING, 1),
        (KINDS.EXTERNAL_GENERATOR_RISING_EDGE, RISING, 2),
        (KINDS.EXTERNAL_GENERATOR_FALLING_EDGE, FALLING, 2),
    ],
)
def test_aedat4_edges_pulses_and_the_generator_are_read_as_channels(tmp_path, kind, edge: int, channel: int):
    path = tmp_path / "a.aedat4"
    config = dv.io.MonoCameraWriter.Config("camera")
    config.addEventStream((WIDTH, HEIGHT))
    config.addTriggerStream()
    writer = dv.io.MonoCameraWriter(str(path), config)
    store = dv.EventStore()
    for event in some_events(2_000).tolist():
        store.push_back(*event)
    writer.writeEvents(store)
    for t, found in ((START_US + 10, KINDS.APS_FRAME_START), (START_US + 20, kind), (START_US + 30, kind)):
        writer.writeTrigger(dv.Trigger(t, found))
    del writer
    with open_recording(path) as recording:
        _, triggers = recording.read()
    assert triggers.tolist() == [(START_US + 20, edge, channel), (START_US + 30, edge, channel)]


def test_aedat4_pulses_beside_frames_give_sweeps(tmp_path, calibration):
    pulses = make_triggers(START_US + 400_000 * np.arange(4), np.full(4, RISING), 1)
    path = tmp_path / "a.aedat4"
    write_recording(path, [Batch(some_events(span_us=1_300_000), pulses, 0)], WIDTH, HEIGHT)
    with open_recording(path, calibration) as recording:
        starts = [sweep.start_us - START_US for sweep in find_sweeps(recording, calibration)]
    assert starts == [0, 200_000, 400_000, 600_000, 800_000, 1_000_000]


def test_aedat4_stores_its_channels_and_refuses_others(tmp_path):
    triggers = make_triggers(START_US + np.arange(5) * 1_000, np.array([1, 2, 1, 1, 2]), np.array([0, 0, 1, 2, 2]))
    path = tmp_path / "a.aedat4"
    write_recording(path, [Batch(some_events(), triggers, 0)], WIDTH, HEIGHT)
    with open_recording(path) as recording:
        assert np.array_equal(recording.read()[1], triggers)
    strange = make_triggers(START_US + np.arange(3) * 1_000, np.array([1, 2, 1]), np.array([6, 1, 0]))
    with pytest.raises(RecordingError, match=rf"AEDAT4 cannot store triggers of channel 6.*{START_US} µs; write .h5, "):
        write_recording(path, [Batch(some_events(), strange, 0)], WIDTH, HEIGHT, force=True)
    losses = write_recording(path, [Batch(some_events(), strange, 0)], WIDTH, HEIGHT, force=True, lossy=True)
    assert losses == (
        "AEDAT4 cannot store triggers of channel 1: 1 are lost",
        "AEDAT4 cannot store triggers of channel 6: 1 are lost",
    )
    with open_recording(path) as recording:
        assert recording.read()[1].tolist() == [strange[2].item()]


# Triggers in a separate file


@pytest.fixture
def recorded(tmp_path) -> Path:
    """A recording of one second with a meaningless trigger."""
    path = tmp_path / "events.h5"
    stray = make_triggers(np.array([START_US + 5]), np.array([RISING]), 9)
    write_recording(path, [Batch(some_events(span_us=1_000_000), stray, 0)], WIDTH, HEIGHT)
    return path


RELATIVE = [(t, "rising" if i % 2 == 0 else "falling") for i, t in enumerate(TURNS_US.tolist())]
EDGES = make_triggers(START_US + TURNS_US, np.array([1, 2, 1, 2, 1]))


def lines(of, header: str = "") -> str:
    return header + "".join(f"{of(START_US + t, edge)}\n" for t, edge in RELATIVE)


def seconds(t: int) -> str:
    return f"{t // 1_000_000}.{t % 1_000_000:06d}"


@pytest.mark.parametrize(
    "text",
    [
        lines(lambda t, edge: f"{t},{edge}", "t_us,edge\n"),
        lines(lambda t, edge: f"{t},{edge}"),  # by the lens's rhythm
        lines(lambda t, edge: f"{seconds(t)},{edge}"),
        lines(lambda t, edge: f"{t}000 {int(edge == 'rising')}"),
        lines(lambda t, edge: f"{t / 1000:.3f}\t{1 if edge == 'rising' else -1}"),
        lines(lambda t, edge: f"{seconds(t)};{1 if edge == 'rising' else 2}", "timestamp [s];type\n"),
        lines(lambda t, edge: f'"{edge.upper()}";"{t}000"', '"Edge";"Timestamp (ns)"\n'),
        lines(lambda t, edge: f"{'up' if edge == 'rising' else 'down'} {t / 1000:.3f}", "edge time [ms]\n"),
        "\ufeff# a logger\n% more\n\n" + lines(lambda t, edge: f" {t} , {edge} ", "Time_us, State\n"),
        lines(lambda t, edge: f"{t},{edge},0,x", "t_us,edge,channel,comment\n"),
        "t_us,edge\r\n" + "".join(reversed([f"{START_US + t},{edge}\r\n" for t, edge in RELATIVE])),
    ],
)
def test_trigger_files_are_read_in_any_layout(tmp_path, recorded, calibration, text: str):
    path = tmp_path / "edges.csv"
    path.write_text(text, encoding="utf-8")
    with open_recording(recorded, calibration, triggers=path) as recording:
        events, triggers = recording.read()
        assert np.array_equal(triggers, EDGES)
        assert np.array_equal(events, some_events(span_us=1_000_000))
        starts = [sweep.start_us - START_US for sweep in find_sweeps(recording, calibration)]
    assert starts == [100_000, 300_000, 500_000, 700_000]


def test_assumptions_about_a_trigger_file_are_reported(tmp_path, recorded, calibration):
    path = tmp_path / "edges.csv"
    for text, said in (
        (lines(lambda t, edge: f"{seconds(t)},{edge}"), "edges.csv: its times are taken as s, from the lens's 2.5 Hz"),
        (lines(lambda t, edge: f"{t}", "t_us\n"), "has no column for the edge; all are taken as rising"),
        ("t_us,edge\n" + "".join(reversed(lines(lambda t, e: f"{t},{e}").splitlines(True))), "4 triggers were older"),
    ):
        path.write_text(text)
        with open_recording(recorded, calibration, triggers=path) as recording:
            assert said in str(recording.repairs)
            recording.read()
            assert said in str(recording.repairs)


@pytest.mark.parametrize(
    "text,message",
    [
        ("", r"edges.csv: has no trigger"),
        ("t_us,edge\n", r"edges.csv: has no trigger"),
        ("hello,world\n1,1\n", r"header 'hello,world' names no time; expected columns such as t_us, edge"),
        ("t_us,edge\n1000,1\nabc,0\n", r"line 3 is no trigger: 'abc,0'; expected a time and an edge"),
        ("t_us,edge\n1000\n", r"line 2 is no trigger"),
        ("t_us,edge\n1000,7\n2000,x\n", r"has edges '7', 'x'; expected rising and falling"),
        ("t_us,edge\n1000,2\n2000,0\n", r"has edges '0', '2'; expected"),
        ("1000,1\n", r"does not say in what unit its times are; name the column t_s, t_ms"),
        ("0,1\n7,0\n31,1\n77,0\n", r"does not say in what unit"),
        ("t_us,edge\nnan,1\n", r"line 2 is no trigger"),
        ("t_us,edge\n1e30,1\n", r"has times beyond any clock's, 1E\+30 us"),
        ("t_us,edge\n1e999999999,1\n", r"line 2 is no trigger"),
        ("t_us,edge,channel\n1000,1,256\n", r"line 2 has channel 256; channels are 0 to 255"),
        (
            "t_us,edge\n100000,1\n300000,0\n",
            rf"none of its 2 triggers, from 100000 to 300000 µs, .* at {START_US // 1000}",
        ),
        ("1" * 5_000 + "\n", r"line 1 is too long"),
    ],
)
def test_other_files_than_trigger_files_are_refused_in_one_line(tmp_path, recorded, calibration, text, message):
    path = tmp_path / "edges.csv"
    path.write_text(text)
    with (
        pytest.raises(RecordingError, match=message) as caught,
        open_recording(recorded, calibration, triggers=path) as r,
    ):
        r.read()
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_missing_or_binary_trigger_file_is_refused(tmp_path, recorded, calibration):
    (tmp_path / "edges.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(RecordingError, match=r"is not text"):
        open_recording(recorded, calibration, triggers=tmp_path / "edges.csv")
    with pytest.raises(RecordingError, match=r"nowhere.csv: cannot be read: No such file"):
        open_recording(recorded, calibration, triggers=tmp_path / "nowhere.csv")


def test_triggers_of_a_file_precede_later_events(tmp_path, calibration):
    """Over many batches and slots, in streaming."""
    events = some_events(400_000, span_us=20_000_000)
    path = tmp_path / "long.h5"
    write_recording(path, [Batch(events, np.empty(0, TRIGGER_DTYPE), 0)], WIDTH, HEIGHT)
    times = START_US + np.arange(0, 20_000_000, 200_000)
    table = "".join(f"{t},{(i + 1) % 2}\n" for i, t in enumerate(times))
    (tmp_path / "edges.csv").write_text("t_us,edge\n" + table)
    n = 0
    with open_recording(path, calibration, triggers=tmp_path / "edges.csv") as recording:
        for batch in recording:
            assert np.all(batch.triggers["timestamp"] < batch.end_us)
            n += len(batch.triggers)
        assert n == len(times)
        sweeps = find_sweeps(recording, calibration)
    assert [sweep.start_us for sweep in sweeps] == times.tolist()


def test_a_recording_is_converted_with_a_trigger_file(tmp_path, recorded, calibration):
    (tmp_path / "edges.csv").write_text(lines(lambda t, edge: f"{t},{edge},3", "t_us,edge,channel\n"))
    convert_recording(recorded, tmp_path / "whole.h5", calibration, triggers=tmp_path / "edges.csv")
    with open_recording(tmp_path / "whole.h5") as recording:
        _, triggers = recording.read()
    assert np.array_equal(triggers["timestamp"], EDGES["timestamp"])
    assert triggers["channel"].tolist() == [3] * 5
