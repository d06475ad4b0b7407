"""EVT2: words of 32 bits, one event each. https://docs.prophesee.ai/stable/data/encoding_formats/evt2.html

Bits 31–28 are the kind of word: 0 and 1 an OFF and an ON event, 8 the high bits of the time, 10 an external trigger, 14
and 15 other data. Events have 6 bits of time, 11 of x and 11 of y; triggers 6 of time, 5 of channel, and the level.
"""

import numpy as np
from numba import njit, types

from ...events import FALLING, RISING
from .clock import FOLLOWING, LOOKAHEAD_WORDS, PlainClock, advance, kernel_types


@njit(kernel_types(types.uint32), nogil=True, cache=True)
def decode_words(
    words: np.ndarray,  # (N,) uint32
    at: int,
    stop: int,
    out: np.ndarray,  # (2 · M,) int64: memory of M events, timestamp and the rest
    triggers: np.ndarray,  # (K,) TRIGGER_DTYPE
    state: np.ndarray,  # (1,) STATE_DTYPE
    limits: np.ndarray,  # (6,) int64, of EVT2_CLOCK
) -> tuple[int, int, int]:
    """Decode `words[at:stop]`; words after `stop` only help to interpret the clock.

    Returns where it stopped (`out` or `triggers` full, or the clock falls), and the numbers of events and triggers.
    """
    s = state[0]
    following = np.empty(FOLLOWING, np.int64)
    base, high, valid = s.base, s.high, s.valid
    disorder = limits[4]
    n = m = 0
    stop = min(stop, at + len(out) // 2)
    while at < stop:
        word = np.int64(words[np.uint64(at)])
        kind = word >> 28
        if kind <= 1:
            if valid:
                out[np.uint64(2 * n)] = base + (word >> 22 & 0x3F)
                out[np.uint64(2 * n + 1)] = word >> 11 & 0x7FF | (word & 0x7FF) << 16 | kind << 32
                n += 1
            elif high < 0:
                s.early += 1
            else:
                s.stale += 1
        elif kind == 8:
            reading = word & 0xFFFFFFF
            if high < 0 or -disorder <= reading - high <= disorder:
                s.high, s.base, s.valid = reading, (s.wraps * limits[1] + reading) * limits[0] + limits[5], 1
            else:
                k = 0
                for ahead in range(at + 1, min(len(words), at + LOOKAHEAD_WORDS)):
                    if words[ahead] >> 28 == 8:
                        following[k] = words[ahead] & 0xFFFFFFF
                        k += 1
                        if k == FOLLOWING:
                            break
                if not advance(state, reading, following, k, limits):
                    break
            base, high, valid = s.base, s.high, s.valid
        elif kind == 10:
            if not valid:
                s.triggers += 1
            elif m == len(triggers):
                break
            else:
                triggers[m].timestamp = base + (word >> 22 & 0x3F)
                triggers[m].edge = RISING if word & 1 else FALLING
                triggers[m].channel = word >> 8 & 0x1F
                m += 1
        elif kind < 14:
            s.unknown += 1
        at += 1
    return at, n, m


def decode_plainly(
    words: list[int], clock: PlainClock
) -> tuple[list[tuple[int, int, int, int]], list[tuple[int, int, int]]]:
    """The readable reference of `decode_words`: events (t, x, y, p) and triggers (t, edge, channel)."""
    events, triggers = [], []
    highs = [(at, word & 0xFFFFFFF) for at, word in enumerate(words) if word >> 28 == 8]
    for at, word in enumerate(words):
        kind, time = word >> 28, word >> 22 & 0x3F
        if kind == 8:
            later = [reading for where, reading in highs if at < where < at + LOOKAHEAD_WORDS][:FOLLOWING]
            clock.read(word & 0xFFFFFFF, later)
        elif kind in (0, 1) and not clock.valid:
            clock.drop_event()
        elif kind in (0, 1):
            events.append((clock.base + time, word >> 11 & 0x7FF, word & 0x7FF, kind))
        elif kind == 10 and not clock.valid:
            clock.counts["triggers"] += 1
        elif kind == 10:
            triggers.append((clock.base + time, RISING if word & 1 else FALLING, word >> 8 & 0x1F))
        elif kind not in (14, 15):
            clock.counts["unknown"] += 1
    return events, triggers
