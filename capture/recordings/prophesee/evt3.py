"""EVT3: words of 16 bits, each of which updates part of the decoder's state.
https://docs.prophesee.ai/stable/data/encoding_formats/evt3.html

Bits 15–12 are the kind of word: 0 a row, 2 an event in it, 3 the start of a vector, 4 and 5 vectors of 12 and 8 pixels
with one bit per event, 6 and 8 the low and the high 12 bits of the time, 10 an external trigger, 7, 14 and 15 other
data. Bit 11 of kinds 2 and 3 is the polarity.
"""

import numpy as np
from numba import njit, types

from ...events import FALLING, RISING
from .clock import FOLLOWING, LOOKAHEAD_WORDS, PlainClock, advance, kernel_types
from .evt21 import lowest_bit


@njit(kernel_types(types.uint16), nogil=True, cache=True)
def decode_words(
    words: np.ndarray,  # (N,) uint16
    at: int,
    stop: int,
    out: np.ndarray,  # (2 · M,) int64: memory of M events, timestamp and the rest
    triggers: np.ndarray,  # (K,) TRIGGER_DTYPE
    state: np.ndarray,  # (1,) STATE_DTYPE
    limits: np.ndarray,  # (6,) int64, of EVT3_CLOCK
) -> tuple[int, int, int]:
    """Decode `words[at:stop]`; words after `stop` only help to interpret the clock.

    Returns where it stopped (`out` or `triggers` full, or the clock falls), and the numbers of events and triggers.
    """
    s = state[0]
    following = np.empty(FOLLOWING, np.int64)
    high, base, low, x, y, on = s.high, s.base, s.low, s.x, s.y, s.on
    timed = s.valid != 0
    known = timed and y >= 0
    t, row = base + low, y << 16
    disorder = limits[4]
    n = m = 0
    room = len(out) // 2 - 12
    while at < stop:
        word = np.int64(words[np.uint64(at)])
        kind = word >> 12
        if kind == 2:
            if known:
                if n > room:
                    break
                out[np.uint64(2 * n)] = t
                out[np.uint64(2 * n + 1)] = word & 0x7FF | row | (word >> 11 & 1) << 32
                n += 1
            elif high < 0 or y < 0:
                s.early += 1
            else:
                s.stale += 1
        elif kind == 0:
            y = word & 0x7FF
            row = y << 16
            known = timed
        elif kind == 6:
            low = word & 0xFFF
            t = base + low
        elif kind == 4 or kind == 5:
            bits = word & (0xFFF if kind == 4 else 0xFF)
            if n > room:
                break
            if known:
                rest = row | on << 32
                while bits:
                    out[np.uint64(2 * n)] = t
                    out[np.uint64(2 * n + 1)] = rest + x + lowest_bit(bits)
                    n += 1
                    bits &= bits - 1
            else:
                while bits:
                    if high < 0 or y < 0:
                        s.early += 1
                    else:
                        s.stale += 1
                    bits &= bits - 1
            x = min(x + (12 if kind == 4 else 8), 0x7000)
        elif kind == 3:
            x = word & 0x7FF
            on = word >> 11 & 1
        elif kind == 8:
            reading = word & 0xFFF
            before = base
            if high < 0 or -disorder <= reading - high <= disorder:
                s.high, s.base, s.valid = reading, (s.wraps * limits[1] + reading) * limits[0] + limits[5], 1
            else:
                k = 0
                for ahead in range(at + 1, min(len(words), at + LOOKAHEAD_WORDS)):
                    if words[ahead] >> 12 == 8:
                        following[k] = words[ahead] & 0xFFF
                        k += 1
                        if k == FOLLOWING:
                            break
                if not advance(state, reading, following, k, limits):
                    break
            base, high, timed = s.base, s.high, s.valid != 0
            if base != before:
                low = 0  # until the low bits arrive
            known = timed and y >= 0
            t = base + low
        elif kind == 10:
            if not timed:
                s.triggers += 1
            elif m == len(triggers):
                break
            else:
                triggers[m].timestamp = t
                triggers[m].edge = RISING if word & 1 else FALLING
                triggers[m].channel = word >> 8 & 0xF
                m += 1
        elif kind != 7 and kind < 14:
            s.unknown += 1
        at += 1
    s.low, s.x, s.y, s.on = low, x, y, on
    return at, n, m


def decode_plainly(
    words: list[int], clock: PlainClock
) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int, int]]]:
    """The readable reference of `decode_words`: events (t, x, y, p) and triggers (t, edge, channel)."""
    events, triggers = [], []
    highs = [(at, word & 0xFFF) for at, word in enumerate(words) if word >> 12 == 8]
    y, low, x, on = None, 0, 0, 0
    for at, word in enumerate(words):
        kind, content = word >> 12, word & 0xFFF
        found = []  # x and polarity of the word's events
        if kind == 0:
            y = content & 0x7FF
        elif kind == 2:
            found = [(content & 0x7FF, content >> 11)]
        elif kind == 3:
            x, on = content & 0x7FF, content >> 11
        elif kind in (4, 5):
            width = 12 if kind == 4 else 8
            found = [(x + bit, on) for bit in range(width) if content >> bit & 1]
            x = min(x + width, 0x7000)
        elif kind == 6:
            low = content
        elif kind == 8:
            before = clock.base
            later = [reading for where, reading in highs if at < where < at + LOOKAHEAD_WORDS][:FOLLOWING]
            clock.read(content, later)
            low = low if clock.base == before else 0
        elif kind == 10 and not clock.valid:
            clock.counts["triggers"] += 1
        elif kind == 10:
            triggers.append((clock.base + low, RISING if content & 1 else FALLING, content >> 8))
        elif kind not in (7, 14, 15):
            clock.counts["unknown"] += 1
        for event_x, polarity in found:
            if y is None:
                clock.counts["early"] += 1
            elif not clock.valid:
                clock.drop_event()
            else:
                events.append((clock.base + low, event_x, y, polarity))
    return events, triggers
