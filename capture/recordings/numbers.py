"""Parses lines of text as events: a kernel that reads decimal numbers exactly, and its readable reference."""

import re
from decimal import Decimal, InvalidOperation

import numpy as np
from numba import njit

WHITE = 0
"""Separator of columns that are separated by white space."""

_MOST_DIGITS = 18
_LARGEST = 1 << 62
_TRIMMED = b" \t\"'()[]{}"
_ON_WORDS = (b"t", b"true", b"on", b"yes", b"pos", b"positive", b"p", b"+")
_OFF_WORDS = (b"f", b"false", b"off", b"no", b"neg", b"negative", b"n", b"-")
_ON_KEYS, _OFF_KEYS = (tuple(int.from_bytes(word, "big") for word in words) for words in (_ON_WORDS, _OFF_WORDS))


@njit(nogil=True, cache=True)
def _number(text: np.ndarray, at: int, end: int, comma: bool) -> tuple[bool, int, int]:
    """Parse text[at:end] as a decimal number: whether it is one, its mantissa and its power of ten."""
    negative = False
    if at < end and (text[at] == 43 or text[at] == 45):
        negative = text[at] == 45
        at += 1
    mantissa = exponent = digits = 0
    seen = point = False
    while at < end:
        c = text[at]
        if 48 <= c <= 57:
            seen = True
            if digits < _MOST_DIGITS:
                mantissa = mantissa * 10 + (c - 48)
                if mantissa:
                    digits += 1
                if point:
                    exponent -= 1
            elif not point:
                exponent += 1
        elif not point and (c == 46 or (comma and c == 44)):
            point = True
        else:
            break
        at += 1
    if at < end and seen and (text[at] | 32) == 101:  # e
        at += 1
        down = False
        if at < end and (text[at] == 43 or text[at] == 45):
            down = text[at] == 45
            at += 1
        power = 0
        seen = False
        while at < end and 48 <= text[at] <= 57:
            seen = True
            power = min(power * 10 + (text[at] - 48), 10_000)
            at += 1
        exponent += -power if down else power
    return seen and at == end, -mantissa if negative else mantissa, exponent


@njit(nogil=True, cache=True)
def _word(text: np.ndarray, at: int, end: int) -> int:
    """1 or 0 for a word that means ON or OFF, −1 for any other."""
    if end - at > 8 or at == end:
        return -1
    key = 0
    for i in range(at, end):
        key = key << 8 | (text[i] | 32)  # in lower case
    for word in _ON_KEYS:
        if key == word:
            return 1
    for word in _OFF_KEYS:
        if key == word:
            return 0
    return -1


@njit(nogil=True, cache=True)
def _pixel(mantissa: int, exponent: int) -> int:
    """The pixel coordinate: −1 for negative numbers, at most 32767; −2 for fractions."""
    while exponent < 0 and mantissa != 0:
        if mantissa % 10:
            return -2
        mantissa //= 10
        exponent += 1
    while exponent > 0 and 0 < mantissa < 32_768:
        mantissa *= 10
        exponent -= 1
    return max(-1, min(32_767, mantissa))


@njit(nogil=True, cache=True)
def read_lines(
    text: np.ndarray,  # (B,) uint8, whole lines
    at: int,
    separator: int,
    places: np.ndarray,  # (4,) int64: the columns of t, x, y and polarity
    mantissa: np.ndarray,  # (N,) int64: of the times
    exponent: np.ndarray,  # (N,) int32: their powers of ten
    x: np.ndarray,  # (N,) int16
    y: np.ndarray,  # (N,) int16
    polarity: np.ndarray,  # (N,) int8
) -> tuple[int, int, bool]:
    """Read lines from `at` on until the text ends or the output is full; blank lines and comments (#, %, //) are
    skipped.

    Returns the number of events read, the start of the next line, and whether that line is not an event.
    """
    n, end = 0, len(text)
    last_column = max(max(places[0], places[1]), max(places[2], places[3]))
    comma = separator != 44
    while at < end and n < len(mantissa):
        line = at
        while at < end and (text[at] == 32 or text[at] == 9):
            at += 1
        if at == end or text[at] == 10 or text[at] == 13:
            at += 1
            continue
        if text[at] == 35 or text[at] == 37 or (text[at] == 47 and at + 1 < end and text[at + 1] == 47):
            while at < end and text[at] != 10 and text[at] != 13:
                at += 1
            continue
        if separator != 0:
            at = line
        column, done, good = 0, False, True
        while not done and good:
            start = at
            if separator == 0:
                while at < end and text[at] != 32 and text[at] != 9 and text[at] != 10 and text[at] != 13:
                    at += 1
            else:
                while at < end and text[at] != separator and text[at] != 10 and text[at] != 13:
                    at += 1
            stop = at
            while start < stop and _is_trimmed(text[start]):
                start += 1
            while stop > start and _is_trimmed(text[stop - 1]):
                stop -= 1
            if column == places[3]:
                word = _word(text, start, stop)
                if word >= 0:
                    polarity[n] = word
                else:
                    good, number, _ = _number(text, start, stop, comma)
                    polarity[n] = 1 if number > 0 else 0
            elif column == places[0]:
                good, mantissa[n], exponent[n] = _number(text, start, stop, comma)
            elif column == places[1] or column == places[2]:
                good, number, power = _number(text, start, stop, comma)
                pixel = _pixel(number, power)
                good = good and pixel > -2
                if column == places[1]:
                    x[n] = pixel
                else:
                    y[n] = pixel
            column += 1
            if separator == 0:
                while at < end and (text[at] == 32 or text[at] == 9):
                    at += 1
                done = at >= end or text[at] == 10 or text[at] == 13
            else:
                done = at >= end or text[at] == 10 or text[at] == 13
                at += 0 if done else 1
        if not good or column <= last_column:
            return n, line, True
        n += 1
        if at < end:
            at += 1
    return n, at, False


@njit(nogil=True, cache=True)
def _is_trimmed(c: int) -> bool:
    return c == 32 or c == 9 or c == 34 or c == 39 or c == 40 or c == 41 or c == 91 or c == 93 or c == 123 or c == 125


def read_line_plainly(line: bytes, separator: int, places: list[int]) -> tuple[Decimal, int, int, int] | None:
    """The readable reference of `read_lines` for one line that is not blank or a comment; None if it is not an
    event."""
    line = line.strip(b" \t") if separator == WHITE else line
    fields = re.split(rb"[ \t]+", line) if separator == WHITE else line.split(bytes([separator]))
    values = []
    for place in places:
        if place >= len(fields):
            return None
        field = fields[place].strip(_TRIMMED)
        if separator != ord(","):
            field = field.replace(b",", b".", 1)
        if place == places[3] and field.lower() in _ON_WORDS + _OFF_WORDS:
            field = b"1" if field.lower() in _ON_WORDS else b"0"
        if not re.fullmatch(rb"[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?", field):
            return None
        try:
            values.append(Decimal(field.decode()))
        except InvalidOperation:
            return None
    t, x, y, p = values
    if x != x.to_integral_value() or y != y.to_integral_value():
        return None
    return t, int(max(min(x, 32_767), -1)), int(max(min(y, 32_767), -1)), int(p > 0)


@njit(nogil=True, cache=True)
def scale(
    mantissa: np.ndarray,  # (N,) int64
    exponent: np.ndarray,  # (N,) int32
    shift: int,
    out: np.ndarray,  # (N,) int64
) -> None:
    """`out = round(mantissa · 10^(exponent + shift))`, halves away from zero, at most ±2⁶²."""
    for i in range(len(mantissa)):
        m, power = mantissa[i], exponent[i] + shift
        negative = m < 0
        m = abs(m)
        while power > 0 and 0 < m < _LARGEST:
            m = m * 10 if m <= _LARGEST // 10 else _LARGEST
            power -= 1
        if power < 0:
            divisor = 1
            for _ in range(min(-power, 18)):
                divisor *= 10
            m = 0 if power < -18 else m // divisor + (1 if m % divisor >= divisor - divisor // 2 else 0)
        m = min(m, _LARGEST)
        out[i] = -m if negative else m


@njit(nogil=True, cache=True)
def finest_power(mantissa: np.ndarray, exponent: np.ndarray) -> int:
    """The largest power of ten, at most 9, that divides all numbers; floating-point noise counts."""
    finest = 9
    for i in range(len(mantissa)):
        m, power = mantissa[i], exponent[i]
        if m == 0 or power >= finest:
            continue
        while power < finest and m % 10 == 0:
            m //= 10
            power += 1
        finest = min(finest, power)
    return finest


def _compile() -> None:
    """Compile the kernels on import, outside the worker's time limit per step."""
    columns = [np.empty(1, dtype) for dtype in (np.int64, np.int32, np.int16, np.int16, np.int8)]
    read_lines(np.frombuffer(b"1,2,3,1\n", np.uint8), 0, 44, np.arange(4), *columns)
    scale(columns[0], columns[1], 0, np.empty(1, np.int64))
    finest_power(columns[0], columns[1])


_compile()
