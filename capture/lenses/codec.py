"""Serial protocol of the Optotune Lens Driver 4: commands and answers as bytes.

From "Electrical Lens Driver 4", Optotune's manual of the driver. Numbers are big-endian. Every command except the
handshake ends with a CRC-16, every answer with a CRC-16 and a line end. Commands that set a current, a bound, a
frequency or a focal power are answered only if they fail.
"""

import struct
from typing import Literal

BAUD = 115_200
HANDSHAKE, READY = b"Start", b"Ready\r\n"
FULL_SCALE = 4095
"""Raw value of the maximum current."""

MAX_CURRENT_MA = 292.84
"""Default maximum current, which is also the largest that can be set."""

TEMPERATURE_STEP_C = 0.0625
_POWER_STEPS, _POWER_OFFSET = 200, 5.0
_SHORTEST = 3  # one letter and the CRC

Mode = Literal["current", "sine", "square", "triangle", "focal power", "analog"]
_MODES: dict[Mode, bytes] = {
    "current": b"D",
    "sine": b"S",
    "square": b"Q",
    "triangle": b"T",
    "focal power": b"C",
    "analog": b"A",
}

GET_CURRENT = b"Ar\0\0"
GET_FIRMWARE = b"V\0"
GET_FIRMWARE_TYPE = b"H"
GET_MAX_CURRENT = b"CrMA\0\0"
GET_MODE = b"MMA"
GENERATOR_MODES = (2, 3, 4)
"""Numbers of the modes sine, triangle and square in the answer to `GET_MODE`."""

GET_SERIAL_NUMBER = b"X"
GET_TEMPERATURE = b"TCA"


def crc16(data: bytes) -> int:
    """CRC-16 with the reflected polynomial 0xA001 and initial value 0."""
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return crc


def command(body: bytes) -> bytes:
    """A command with its CRC, as sent over the line."""
    return body + struct.pack("<H", crc16(body))


def set_mode(mode: Mode) -> bytes:
    return b"Mw" + _MODES[mode] + b"A"


def set_current(raw: int) -> bytes:
    return b"Aw" + struct.pack(">h", raw)


def set_bounds(lower_raw: int, upper_raw: int) -> tuple[bytes, bytes]:
    """Two commands: the lower and the upper current of the signal generator."""
    return b"PwLA" + struct.pack(">hxx", lower_raw), b"PwUA" + struct.pack(">hxx", upper_raw)


def set_frequency(hertz: float) -> bytes:
    return b"PwFA" + struct.pack(">I", round(1000 * hertz))


def set_focal_power(diopters: float, firmware_type: str) -> bytes:
    return b"PwDA" + struct.pack(">hxx", _raw_power(diopters, firmware_type))


def set_temperature_limits(lowest_c: float, highest_c: float) -> bytes:
    return b"PwTA" + struct.pack(">hh", round(16 * highest_c), round(16 * lowest_c))


def raw_current(milliamperes: float, max_current_ma: float) -> int:
    """A current as the driver's raw value."""
    return round(milliamperes * FULL_SCALE / max_current_ma)


def power_range(tail: bytes, firmware_type: str) -> tuple[float, float]:
    """Lowest and highest focal power in diopters, from the last four bytes of an answer about mode or limits."""
    highest, lowest = struct.unpack(">hh", tail)
    offset = _POWER_OFFSET if firmware_type == "A" else 0.0
    return lowest / _POWER_STEPS - offset, highest / _POWER_STEPS - offset


def take_answer(buffer: bytearray) -> tuple[bytes | None, bool]:
    """Remove the first complete answer, and everything before it, from the received bytes.

    Returns its payload without the CRC (None if there is none yet), and whether damaged bytes preceded it. Payloads may
    contain line ends, so an answer ends at the first line end with a matching CRC.
    """
    starts = [0]
    at = buffer.find(b"\r\n")
    while at >= 0:
        for start in starts:
            payload, crc = bytes(buffer[start : at - 2]), bytes(buffer[at - 2 : at])
            if at - start >= _SHORTEST and struct.pack("<H", crc16(payload)) == crc:
                del buffer[: at + 2]
                return payload, start > 0
        starts.append(at + 2)
        at = buffer.find(b"\r\n", at + 1)
    return None, False


def _raw_power(diopters: float, firmware_type: str) -> int:
    return round(_POWER_STEPS * (diopters + (_POWER_OFFSET if firmware_type == "A" else 0.0)))
