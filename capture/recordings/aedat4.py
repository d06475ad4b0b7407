"""AEDAT4 through dv-processing or, for files without their index, through faery.

dv-processing returns garbage for damaged packets without an error; the sanitizer drops it.
"""

from collections import deque
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..errors import RecordingError
from ..events import make_events, make_triggers
from ..formats.recordings import AEDAT4_TRIGGERS
from ..sources.chunks import CutShort, Header, LiveSink, Sink, Source, interleave
from .hints import NO_SIZE

_EDGE_OF, _CHANNEL_OF = (np.array([0, *(pair[i] for pair in AEDAT4_TRIGGERS.values())], np.uint8) for i in (0, 1))
_LENS_KEY = "lens_toml"


def decode(path: str, size: tuple[int, int] | None) -> Source:
    """Open an AEDAT4 file; its first event stream and its first trigger stream are read."""
    import dv_processing as dv

    try:
        reader = dv.io.MonoCameraRecording(path)
    except RuntimeError:
        return _salvage(path)
    names = reader.getStreamNames()
    event_stream = next((name for name in names if reader.isStreamOfEventType(name)), None)
    trigger_stream = next((name for name in names if reader.isStreamOfTriggerType(name)), None)
    if event_stream is None:
        raise RecordingError(f"it has no events, only {', '.join(names) or 'no streams at all'}")
    resolution = reader.getEventResolution(event_stream) or size
    if resolution is None:
        raise RecordingError(NO_SIZE)
    first_us, last_us = reader.getTimeRange()
    header = Header(
        "AEDAT4",
        int(resolution[0]),
        int(resolution[1]),
        first_us if first_us <= last_us else None,
        last_us if first_us <= last_us else None,
        lens_toml=reader.getStreamMetadataValue(event_stream, _LENS_KEY),
    )
    triggers = _triggers(reader, trigger_stream) if trigger_stream is not None else iter(())
    return Source(header, interleave(_events(reader, event_stream), triggers))


def _events(reader: Any, stream: str) -> Iterator[np.ndarray]:
    while (store := reader.getNextEventBatch(stream)) is not None:
        yield store.numpy()


def _triggers(reader: Any, stream: str) -> Iterator[tuple[int, np.ndarray]]:
    while (packet := reader.getNextTriggerBatch(stream)) is not None:
        if len(packet):
            yield external_edges(packet)


def external_edges(packet: Any) -> tuple[int, np.ndarray]:
    """Newest time of a non-empty packet of dv-processing triggers, and its external edges and pulses."""
    times = np.array([trigger.timestamp for trigger in packet], np.int64)
    return _edges(times, np.array([int(trigger.type) for trigger in packet]))


def _edges(times: np.ndarray, kinds: np.ndarray) -> tuple[int, np.ndarray]:
    """Newest time of a trigger packet, and its edges and pulses."""
    outside = np.isin(kinds, list(AEDAT4_TRIGGERS))
    kept = kinds[outside].astype(np.int64)
    return int(times.max()), make_triggers(times[outside], _EDGE_OF[kept], _CHANNEL_OF[kept])


def _salvage(path: str) -> Source:
    """Read packet by packet, without the index at the file's end that dv-processing requires."""
    try:
        from faery.extension import aedat
    except ImportError:
        raise RecordingError(
            "it is damaged or cut short; pip install 'sweepdepth[formats]' reads what comes before the damage"
        ) from None
    try:
        with aedat.Decoder(path) as decoder:
            tracks = decoder.tracks()
    except RuntimeError as error:
        raise RecordingError(
            "its header or index is damaged or cut short, so that nothing can be read; copy it again"
        ) from error
    track = next((track for track in tracks if track.data_type == "events"), None)
    if track is None or track.dimensions is None:
        raise RecordingError("it has no events")
    header = Header("AEDAT4", *track.dimensions, notes=("its index is lost: the file is damaged or cut short",))
    return Source(header, interleave(_salvaged_events(path, track.id), _salvaged_triggers(path)))


def _salvaged_events(path: str, track_id: int) -> Iterator[np.ndarray]:
    for packet in _packets(path, "events", track_id):
        yield make_events(packet["t"].view(np.int64), packet["x"], packet["y"], packet["on"])


def _salvaged_triggers(path: str) -> Iterator[tuple[int, np.ndarray]]:
    try:
        for packet in _packets(path, "triggers", None):
            if len(packet):
                yield _edges(packet["t"].view(np.int64), packet["source"])
    except CutShort:  # the event stream ends there, too, and reports it
        return


def _packets(path: str, kind: str, track_id: int | None) -> Iterator[np.ndarray]:
    from faery.extension import aedat

    with aedat.Decoder(path) as decoder:
        packets = iter(decoder)
        while True:
            try:
                track, packet = next(packets)
            except StopIteration:
                return
            except RuntimeError as error:
                raise CutShort(f"what follows the last packet read cannot be decoded ({error})") from error
            if track.data_type == kind and track_id in (None, track.id):
                assert isinstance(packet, np.ndarray)
                yield packet


def encode(path: str, width: int, height: int, lens_toml: str | None) -> Sink:
    """Write an AEDAT4 file; the calibration goes into the event stream's metadata."""
    return _Aedat4Sink(path, width, height, lens_toml)


def encode_live(path: str, width: int, height: int, lens_toml: str | None) -> LiveSink:
    """Write an AEDAT4 file; without the index, which is written on closing, its packets can still be read."""
    return _Aedat4Sink(path, width, height, lens_toml)


class _Aedat4Sink:
    def __init__(self, path: str, width: int, height: int, lens_toml: str | None) -> None:
        import dv_processing as dv

        self._dv = dv
        config = dv.io.MonoCameraWriter.Config("sweepdepth")
        config.addEventStream((width, height))
        config.addTriggerStream()
        if lens_toml is not None:
            config.addStreamMetadata("events", (_LENS_KEY, lens_toml))
        self._writer = dv.io.MonoCameraWriter(path, config)
        self._kinds = {pair: dv.TriggerType(number) for number, pair in AEDAT4_TRIGGERS.items()}

    def write(self, events: np.ndarray, triggers: np.ndarray) -> None:
        if len(events):
            store = self._dv.EventStore()
            columns = (events["timestamp"], events["x"], events["y"], events["polarity"] > 0)
            # The library accepts only single events; this is the fastest loop over them.
            deque(map(store.push_back, *(column.tolist() for column in columns)), maxlen=0)
            self._writer.writeEvents(store)
        for t, edge, channel in triggers.tolist():
            if (edge, channel) not in self._kinds:
                continue  # `RecordingWriter` has reported the loss
            self._writer.writeTrigger(self._dv.Trigger(t, self._kinds[edge, channel]))

    def flush(self) -> None:
        """Does nothing: the library decides when to write packets."""

    def close(self) -> None:
        del self._writer  # the library finishes a file in the writer's destructor
