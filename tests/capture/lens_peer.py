"""A simulated Lens Driver 4 on a pseudo-terminal, run as `python lens_peer.py LINK`.

It implements the protocol of the manual, checks every CRC with its own polynomial division, and simulates faults on
request. `LINK` is a symbolic link to the pseudo-terminal, like the stable name of a serial device. Requests are JSON
objects on standard input, one per line: {"corrupt": n} answers, {"garble": n} commands on their way, {"slow": seconds},
{"mute": true}, {"unplug": true}, {"plug": true, "powered": false}, {"state": true}. The answer to each is the state,
also one line.
"""

import json
import os
import select
import struct
import sys
import time
import tty
from typing import ClassVar


def remainder(data: bytes) -> bytes:
    """CRC-16/ARC by long division of the bit string, least significant bits first."""
    bits = [(byte >> k) & 1 for byte in data for k in range(8)] + [0] * 16
    divisor = [1, 1, *[0] * 12, 1, 0, 1]  # x^16 + x^15 + x^2 + 1
    for i in range(len(bits) - 16):
        if bits[i]:
            for k, bit in enumerate(divisor):
                bits[i + k] ^= bit
    value = sum(bit << (15 - k) for k, bit in enumerate(bits[-16:]))
    reflected = int(f"{value:016b}"[::-1], 2)
    return struct.pack("<H", reflected)


class LensDriver:
    """The firmware. Lengths are those of complete commands without CRC."""

    LENGTHS: ClassVar = {b"A": 4, b"C": 6, b"H": 1, b"M": 3, b"P": 8, b"T": 3, b"V": 2, b"X": 1}
    MODES: ClassVar = {"D": 1, "S": 2, "T": 3, "Q": 4, "C": 5, "A": 6}

    def __init__(self, firmware_type: str) -> None:
        self.type = firmware_type
        self.power_on()
        self.wrong_crcs = self.commands = 0
        self.currents: list[int] = []  # every constant current so far, in order
        self.powers: list[tuple[float, float]] = []

    def power_on(self) -> None:
        self.mode, self.current, self.lower, self.upper, self.millihertz = "D", 0, 0, 0, 0
        self.limits: tuple[int, int] | None = None
        self.power = 0
        self.moded_at = time.monotonic()

    def state(self) -> dict:
        return {
            "mode": self.mode,
            "current": self.current,
            "lower": self.lower,
            "upper": self.upper,
            "millihertz": self.millihertz,
            "power": self.power,
            "moded_at": self.moded_at,
            "rests": self.mode == "D" and self.current == 0,
            "wrong_crcs": self.wrong_crcs,
            "commands": self.commands,
            "currents": self.currents,
            "powers": self.powers,
            "now": time.monotonic(),
        }

    def take(self, received: bytearray) -> list[bytes]:
        """Answers to all complete commands in the received bytes."""
        answers = []
        while received:
            if received.startswith(b"Start"):
                del received[:5]
                answers.append(b"Ready\r\n")
                continue
            if b"Start".startswith(bytes(received[:5])):
                break
            length = self.LENGTHS.get(bytes(received[:1]))
            if length is None:
                del received[:1]
                continue
            if received[:1] == b"M" and received[1:2] == b"w":
                length = 4
            if len(received) < length + 2:
                break
            body, crc = bytes(received[:length]), bytes(received[length : length + 2])
            self.commands += 1
            if remainder(body) != crc:
                self.wrong_crcs += 1
                received.clear()
                answers.append(self.framed(b"E1"))
                break
            del received[: length + 2]
            answer = self.obey(body)
            if answer is not None:
                answers.append(self.framed(answer))
        return answers

    @staticmethod
    def framed(payload: bytes) -> bytes:
        return payload + remainder(payload) + b"\r\n"

    def obey(self, body: bytes) -> bytes | None:
        if body.startswith(b"Aw"):
            (self.current,) = struct.unpack(">h", body[2:])
            if self.mode == "D":
                self.currents.append(self.current)
            return None
        if body.startswith(b"Ar"):
            return b"A" + struct.pack(">h", self.current)
        if body == b"CrMA\0\0":
            return b"CMA" + struct.pack(">H", 29284)
        if body == b"H":
            return b"H" + self.type.encode()
        if body == b"V\0":
            return b"V" + struct.pack(">BBHH", 1, 11, 2748, 13)  # 13 in there looks like half a line end
        if body == b"X":
            return b"XAB\r\nCD42"  # a line end inside an answer ends nothing
        if body == b"TCA":
            return b"TCA" + struct.pack(">h", int(26.5 / 0.0625))
        if body == b"MMA":
            return b"MMA" + bytes([self.MODES[self.mode]])
        if body.startswith(b"Mw") and chr(body[2]) in self.MODES:
            if body[2:3] == b"C" and self.limits is None:
                return b"E2"
            self.mode, self.moded_at = chr(body[2]), time.monotonic()
            if self.mode == "D":
                self.currents.append(self.current)
            return b"M" + body[2:4] + (b"" if self.mode != "C" else b"\0" + self.range())
        if body.startswith(b"PwTA"):
            self.limits = struct.unpack(">hh", body[4:])
            return b"PTA\0" + self.range()
        if body.startswith((b"PwUA", b"PwLA")):
            (value,) = struct.unpack(">hxx", body[4:])
            if body[2:3] == b"U":
                self.upper = value
            else:
                self.lower = value
            return None
        if body.startswith(b"PwFA"):
            (self.millihertz,) = struct.unpack(">I", body[4:])
            return None
        if body.startswith(b"PwDA") and self.mode == "C":
            self.power = struct.unpack(">hxx", body[4:])[0]
            self.powers.append((time.monotonic(), self.power / 200 - 5 * (self.type == "A")))
            return None
        return b"E3"

    def range(self) -> bytes:
        offset = 5 if self.type == "A" else 0
        return struct.pack(">hh", round(200 * (3 + offset)), round(200 * (-2 + offset)))


class Port:
    """The pseudo-terminal behind the symbolic link, plugged in or not."""

    def __init__(self, link: str) -> None:
        self.link = link
        self.master = -1

    def plug(self) -> None:
        self.master, slave = os.openpty()
        tty.setraw(slave)
        name = os.ttyname(slave)
        self.slave = slave  # kept open, so that the line lives while no program has it
        os.symlink(name, self.link + ".new")
        os.replace(self.link + ".new", self.link)

    def unplug(self) -> None:
        os.unlink(self.link)
        os.close(self.slave)
        os.close(self.master)
        self.master = -1


def main() -> None:
    link, firmware_type = sys.argv[1:]
    driver, port = LensDriver(firmware_type), Port(link)
    port.plug()
    received = bytearray()
    corrupt = garble = 0
    slow, mute = 0.0, False
    outgoing: list[tuple[float, bytes]] = []
    print("ready", flush=True)
    while True:
        ready, _, _ = select.select([0] + [port.master] * (port.master >= 0), [], [], 0.005)
        if 0 in ready:
            line = sys.stdin.readline()
            if not line:
                return
            order = json.loads(line)
            corrupt, garble = order.get("corrupt", corrupt), order.get("garble", garble)
            slow, mute = order.get("slow", slow), order.get("mute", mute)
            if order.get("unplug"):
                port.unplug()
                received.clear()
                outgoing.clear()
            if order.get("plug"):
                if not order["powered"]:
                    driver.power_on()
                port.plug()
            print(json.dumps(driver.state()), flush=True)
        if port.master in ready and port.master >= 0:
            try:
                data = bytearray(os.read(port.master, 4096))
            except OSError:
                data = bytearray()
            if garble and data:
                data[len(data) // 2] ^= 0x10
                garble -= 1
            received += data
            for answer in driver.take(received):
                if not mute:
                    if corrupt and answer != b"Ready\r\n":
                        answer = bytes([answer[0] ^ 1]) + answer[1:]
                        corrupt -= 1
                    outgoing.append((time.monotonic() + slow, answer))
        while outgoing and outgoing[0][0] <= time.monotonic() and port.master >= 0:
            os.write(port.master, outgoing.pop(0)[1])


if __name__ == "__main__":
    main()
