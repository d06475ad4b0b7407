"""Prophesee RAW (EVT2, EVT3) and DAT, and Event Stream files, through faery, an optional extra.

faery sets DAT events that are older than their predecessor to its time, and takes a clock of RAW events that falls
back for one that has overflowed; neither can be told afterwards. It writes no triggers.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

import numpy as np

from ..errors import RecordingError
from ..events import FALLING, RISING, make_events, make_triggers
from .source import NO_EVENTS, NO_TRIGGERS, Chunk, Header, Sink, Source

_FAERY_DTYPE = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), (("p", "on"), "?")])
_DAT_DTYPE = np.dtype([("t", "<u8"), ("x", "<u2"), ("y", "<u2"), ("payload", "u1")])
_LONGEST_DAT_PAUSE_US = 1 << 31  # of a clock of 32 bits: beyond it, faery cannot tell a pause from disorder
_NO_SIZE = "it does not say how large its sensor is; give the camera's lens.toml with --lens"


def _extension() -> Any:
    try:
        return import_module("faery.extension")
    except ImportError:
        raise RecordingError("reading and writing this format needs faery; pip install 'sweepdepth[formats]'") from None


def decode_evt(path: str, size: tuple[int, int] | None) -> Source:
    """Open a Prophesee RAW file; triggers come with their channels."""
    decoder = _open(_extension().evt, path, size, None)
    if decoder.version not in ("evt2", "evt3"):
        raise RecordingError(f"it is in {decoder.version.upper()}, which cannot be read; convert it to EVT2 or EVT3")
    return Source(Header(decoder.version.upper(), *decoder.dimensions), _evt_chunks(decoder))


def _evt_chunks(decoder: Any) -> Iterator[Chunk]:
    for packet in _packets(decoder):
        events, triggers = packet.get("events"), packet.get("triggers")
        if triggers is not None and len(triggers):
            edges = np.where(triggers["rising"], RISING, FALLING)
            triggers = make_triggers(triggers["t"].astype(np.int64), edges, triggers["source"])
        yield Chunk(
            NO_EVENTS if events is None else _from_faery(events),
            NO_TRIGGERS if triggers is None else triggers,
        )


def decode_dat(path: str, size: tuple[int, int] | None) -> Source:
    """Open a Prophesee DAT file of contrast detections."""
    decoder = _open(_extension().dat, path, size, None)
    if decoder.event_type != "cd":
        raise RecordingError(f"it holds {decoder.event_type} data, not contrast detections (cd)")
    return Source(
        Header("DAT", *decoder.dimensions),
        (
            Chunk(make_events(e["t"].view(np.int64), e["x"], e["y"], e["payload"]), NO_TRIGGERS)
            for e in _packets(decoder)
        ),
    )


def decode_es(path: str, size: tuple[int, int] | None) -> Source:
    """Open an Event Stream file of DVS or ATIS events; its y axis points up and its clock starts at 0."""
    decoder = _open(_extension().es, path, 0)
    if decoder.event_type not in ("dvs", "atis"):
        raise RecordingError(f"it holds {decoder.event_type} data, not DVS or ATIS events")
    return Source(Header("ES", *decoder.dimensions), _es_chunks(decoder))


def _es_chunks(decoder: Any) -> Iterator[Chunk]:
    height = decoder.dimensions[1]
    for events in _packets(decoder):
        if decoder.event_type == "atis":
            events = events[~events["exposure"]]
        on = events["on" if decoder.event_type == "dvs" else "polarity"]
        yield Chunk(make_events(events["t"].view(np.int64), events["x"], height - 1 - events["y"], on), NO_TRIGGERS)


def _open(library: Any, path: str, *arguments: Any) -> Any:
    try:
        return library.Decoder(path, *arguments).__enter__()
    except BaseException as error:  # faery's panics derive from BaseException
        if "size information" in str(error):
            raise RecordingError(_NO_SIZE) from error
        raise RecordingError(
            f"its header is damaged or of a kind that cannot be read ({_first_line(error)})"
        ) from error


def _packets(decoder: Any) -> Iterator[Any]:
    packets = iter(decoder)
    while True:
        try:
            packet = next(packets)
        except StopIteration:
            return
        except BaseException as error:
            raise RecordingError(f"it is damaged, or its sensor has another size ({_first_line(error)})") from error
        yield packet


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _from_faery(events: np.ndarray) -> np.ndarray:
    return make_events(events["t"].view(np.int64), events["x"], events["y"], events["on"])


def encode_evt(path: str, width: int, height: int, lens_toml: str | None) -> Sink:
    """Write a Prophesee RAW file, EVT2; the first timestamp goes into its header.

    Not EVT3: its clock has 24 bits, and faery loses count of them where events pause for seconds.
    """
    return _FaerySink(_extension().evt.Encoder(path, "evt2", True, (width, height), True), lambda e: {"events": e})


def encode_dat(path: str, width: int, height: int, lens_toml: str | None) -> Sink:
    """Write a Prophesee DAT file, version 2; the first timestamp goes into its header."""
    encoder = _extension().dat.Encoder(path, "dat2", "cd", True, (width, height))
    return _FaerySink(encoder, lambda e: e.astype(_DAT_DTYPE), _LONGEST_DAT_PAUSE_US)


def encode_es(path: str, width: int, height: int, lens_toml: str | None) -> Sink:
    """Write an Event Stream file; its clock starts at 0 with the first event."""

    def flipped(events: np.ndarray) -> np.ndarray:
        events["y"] = height - 1 - events["y"]
        return events

    return _FaerySink(_extension().es.Encoder(path, "dvs", True, (width, height)), flipped)


class _FaerySink:
    def __init__(self, encoder: Any, shape: Callable[[np.ndarray], Any], longest_pause_us: int | None = None) -> None:
        self._encoder = encoder.__enter__()
        self._shape = shape
        self._longest_pause_us = longest_pause_us
        self._last_us: int | None = None

    def write(self, events: np.ndarray, triggers: np.ndarray) -> None:
        if not len(events):
            return
        if self._longest_pause_us is not None:
            self._check_pauses(events["timestamp"], self._longest_pause_us)
        converted = np.empty(len(events), _FAERY_DTYPE)
        for ours, theirs in (("timestamp", "t"), ("x", "x"), ("y", "y"), ("polarity", "on")):
            converted[theirs] = events[ours]
        self._encoder.write(self._shape(converted))

    def close(self) -> None:
        self._encoder.__exit__(None, None, None)

    def _check_pauses(self, times: np.ndarray, longest_us: int) -> None:
        before = times[0] if self._last_us is None else self._last_us
        pause = int(np.diff(times, prepend=before).max())
        if pause > longest_us:
            raise RecordingError(
                f"its clock cannot count a pause of {pause / 6e7:.0f} minutes between events; write .h5 or .aedat4"
            )
        self._last_us = int(times[-1])
