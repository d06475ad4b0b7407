"""Writer of Prophesee RAW files: EVT2, with triggers.

EVT3 is not used, since its 24-bit clock overflows every 17 seconds, so other programs could not recognise pauses.
"""

import numpy as np
from numba import from_dtype, njit, types

from ...events import EVENT_DTYPE, RISING, TRIGGER_DTYPE, join
from ...sources.chunks import NO_EVENTS, NO_TRIGGERS, Sink
from .clock import EVT2_CLOCK

_STEP_US = EVT2_CLOCK.step_us
_PERIOD = EVT2_CLOCK.period
_CHUNK_EVENTS = 1 << 16
_REPEATED = 4


@njit(
    types.UniTuple(types.int64, 2)(
        types.Array(from_dtype(EVENT_DTYPE), 1, "C"),
        types.Array(from_dtype(TRIGGER_DTYPE), 1, "C"),
        types.int64,
        types.int64,
        types.Array(types.uint32, 1, "C"),
    ),
    nogil=True,
    cache=True,
)
def encode_words(
    events: np.ndarray,  # (N,) EVENT_DTYPE, in time order
    triggers: np.ndarray,  # (M,) TRIGGER_DTYPE, in time order
    start_us: int,
    step: int,  # step (of 64 µs) of the last time word, −1 before the first
    out: np.ndarray,  # uint32, of length `room_needed`
) -> tuple[int, int]:
    """Encode events and triggers as EVT2 words, triggers before simultaneous events. Returns the number of words and
    the step.

    For each overflow of the clock during a pause, the last and the first step are written repeatedly, so that readers
    that count falls of the clock and check the words that follow recognise each overflow.
    """
    n = i = j = 0
    while i < len(events) or j < len(triggers):
        is_trigger = j < len(triggers) and (i == len(events) or triggers[j].timestamp <= events[i].timestamp)
        t = (triggers[j].timestamp if is_trigger else events[i].timestamp) - start_us
        now = t // _STEP_US
        if now != step:
            while step >= 0 and now // _PERIOD > step // _PERIOD and now != step + 1:
                for k in range(_REPEATED):
                    out[n + k] = np.uint32(0x80000000 | (_PERIOD - 1))
                    out[n + _REPEATED + k] = np.uint32(0x80000000)
                n += 2 * _REPEATED
                step = (step // _PERIOD + 1) * _PERIOD
            if now != step:
                out[n] = np.uint32(0x80000000 | now % _PERIOD)
                n += 1
            step = now
        low = (t % _STEP_US) << 22
        if is_trigger:
            e = triggers[j]
            out[n] = np.uint32(0xA0000000 | low | np.int64(e.channel & 0x1F) << 8 | (e.edge == RISING))
            j += 1
        else:
            v = events[i]
            out[n] = np.uint32(np.int64(v.polarity > 0) << 28 | low | np.int64(v.x) << 11 | np.int64(v.y))
            i += 1
        n += 1
    return n, step


def room_needed(events: np.ndarray, triggers: np.ndarray, start_us: int, step: int) -> int:
    """Most words that `encode_words` writes."""
    newest = max(int(array["timestamp"][-1]) for array in (events, triggers) if len(array))
    overflows = ((newest - start_us) // _STEP_US - max(step, 0)) // _PERIOD + 1
    return 2 * (len(events) + len(triggers)) + 2 * _REPEATED * overflows + 1


def encode(path: str, width: int, height: int, lens_toml: str | None) -> Sink:
    """Write a Prophesee RAW file, EVT2; the first timestamp goes into its header, as `t0`."""
    return _RawSink(path, width, height)


class _RawSink:
    def __init__(self, path: str, width: int, height: int) -> None:
        self._file = open(path, "wb")  # noqa: SIM115
        self._size = width, height
        self._start_us: int | None = None
        self._step = -1
        self._triggers = NO_TRIGGERS  # that may still follow the next event

    def write(self, events: np.ndarray, triggers: np.ndarray) -> None:
        self._triggers = join([self._triggers, triggers], TRIGGER_DTYPE)
        for at in range(0, len(events), _CHUNK_EVENTS):
            some = events[at : at + _CHUNK_EVENTS]
            due = int(np.searchsorted(self._triggers["timestamp"], some["timestamp"][-1], side="right"))
            self._put(some, self._triggers[:due])
            self._triggers = self._triggers[due:]

    def close(self) -> None:
        if len(self._triggers):
            self._put(NO_EVENTS, self._triggers)
        if self._start_us is None:
            self._write_header(0)
        self._file.close()

    def _put(self, events: np.ndarray, triggers: np.ndarray) -> None:
        if self._start_us is None:
            self._start_us = min(int(array["timestamp"][0]) for array in (events, triggers) if len(array))
            self._write_header(self._start_us)
        words = np.empty(room_needed(events, triggers, self._start_us, self._step), "<u4")
        n, self._step = encode_words(events, triggers, self._start_us, self._step, words)
        self._file.write(words[:n].data)

    def _write_header(self, start_us: int) -> None:
        width, height = self._size
        self._file.write(
            f"% evt 2.0\n% format EVT2;height={height};width={width}\n% geometry {width}x{height}\n"
            f"% t0 {start_us}\n% end\n".encode()
        )
