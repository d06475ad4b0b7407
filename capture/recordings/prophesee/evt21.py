"""EVT2.1: words of 64 bits, each with up to 32 events of a row.
https://docs.prophesee.ai/stable/data/encoding_formats/evt21.html

The upper half of a word is an EVT2 word. For events, each bit set in the lower half is an event, and x is that of bit
0. Cameras write the halves in either order, and some files have the bytes reversed.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.extending import intrinsic

from ...events import FALLING, RISING
from .clock import FOLLOWING, LOOKAHEAD_WORDS, NEAR_US, PlainClock, advance, kernel_types


def _count_trailing_zeros(context: Any, bits: Any) -> Any:
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return types.int64(types.int64), generate


lowest_bit: Any = intrinsic(_count_trailing_zeros)
"""For kernels: the index of the lowest bit set in an int64 that is not 0."""


@njit(kernel_types(types.uint32, types.int64), nogil=True, cache=True)
def decode_words(
    words: np.ndarray,  # (2 · N,) uint32, halves
    at: int,
    stop: int,
    out: np.ndarray,  # (2 · M,) int64: memory of M events, timestamp and the rest
    triggers: np.ndarray,  # (K,) TRIGGER_DTYPE
    state: np.ndarray,  # (1,) STATE_DTYPE
    limits: np.ndarray,  # (6,) int64, of EVT2_CLOCK
    upper: int,  # index of the upper half: 1, or 0 in Prophesee's "legacy" order
) -> tuple[int, int, int]:
    """Decode the words `at` to `stop`; later words only help to interpret the clock.

    Returns where it stopped (`out` or `triggers` full, or the clock falls), and the numbers of events and triggers.
    """
    s = state[0]
    following = np.empty(FOLLOWING, np.int64)
    base, high, valid = s.base, s.high, s.valid
    disorder = limits[4]
    n = m = 0
    room = len(out) // 2 - 32
    while at < stop:
        word = np.int64(words[np.uint64(2 * at + upper)])
        kind = word >> 28
        if kind <= 1:
            bits = np.int64(words[np.uint64(2 * at + 1 - upper)])
            if n > room:
                break
            if valid:
                t = base + (word >> 22 & 0x3F)
                rest = word >> 11 & 0x7FF | (word & 0x7FF) << 16 | kind << 32
                while bits:
                    out[np.uint64(2 * n)] = t
                    out[np.uint64(2 * n + 1)] = rest + lowest_bit(bits)
                    n += 1
                    bits &= bits - 1
            else:
                while bits:
                    if high < 0:
                        s.early += 1
                    else:
                        s.stale += 1
                    bits &= bits - 1
        elif kind == 8:
            reading = word & 0xFFFFFFF
            if high < 0 or -disorder <= reading - high <= disorder:
                s.high, s.base, s.valid = reading, (s.wraps * limits[1] + reading) * limits[0] + limits[5], 1
            else:
                k = 0
                for ahead in range(at + 1, min(len(words) // 2, at + LOOKAHEAD_WORDS)):
                    if words[2 * ahead + upper] >> 28 == 8:
                        following[k] = words[2 * ahead + upper] & 0xFFFFFFF
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
    """The readable reference of `decode_words` on 64-bit words: events (t, x, y, p) and triggers (t, edge, channel)."""
    events, triggers = [], []
    highs = [(at, word >> 32 & 0xFFFFFFF) for at, word in enumerate(words) if word >> 60 == 8]
    for at, word in enumerate(words):
        kind, time = word >> 60, word >> 54 & 0x3F
        bits = [bit for bit in range(32) if word >> bit & 1]
        if kind == 8:
            later = [reading for where, reading in highs if at < where < at + LOOKAHEAD_WORDS][:FOLLOWING]
            clock.read(word >> 32 & 0xFFFFFFF, later)
        elif kind in (0, 1):
            for bit in bits:
                if clock.valid:
                    events.append((clock.base + time, (word >> 43 & 0x7FF) + bit, word >> 32 & 0x7FF, kind))
                else:
                    clock.drop_event()
        elif kind == 10 and not clock.valid:
            clock.counts["triggers"] += 1
        elif kind == 10:
            triggers.append((clock.base + time, RISING if word >> 32 & 1 else FALLING, word >> 40 & 0x1F))
        elif kind not in (14, 15):
            clock.counts["unknown"] += 1
    return events, triggers


def find_order(content: bytes, claimed: str | None) -> str:
    """Detect the byte order from the first words: "little", "legacy" (upper half first) or "big".

    Time words are consecutive only in the right order. With too few of them, the header's claim is used, or else
    little-endian.
    """
    content = content[: len(content) // 8 * 8]
    halves, reversed_halves = np.frombuffer(content, "<u4"), np.frombuffer(content, ">u4")
    upper_halves = {"little": halves[1::2], "legacy": halves[0::2], "big": reversed_halves[0::2]}
    steady = {}
    for name, upper in upper_halves.items():
        steps = np.diff((upper[upper >> 28 == 8] & 0xFFFFFFF).astype(np.int64))
        steady[name] = np.count_nonzero((steps > 0) & (steps <= NEAR_US // 64))
    best = max(steady, key=lambda name: steady[name])
    likely = claimed if claimed is not None and claimed in steady else "little"
    return best if steady[best] > 2 * steady[likely] else likely
