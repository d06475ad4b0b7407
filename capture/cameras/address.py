"""Where events come from: `dv[:SERIAL]`, `tcp://HOST:EVENTS[,TRIGGERS]` or `pipe:PATH`."""

import re
from dataclasses import dataclass
from typing import Any

from ..errors import CameraError

_TCP = re.compile(
    r"tcp://(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<host>[^\s:/,\[\]]+)):(?P<events>\d+)(?:,(?P<triggers>\d+))?"
)
_KNOWN = "dv, dv:SERIAL, tcp://HOST:EVENTS, tcp://HOST:EVENTS,TRIGGERS or pipe:PATH"


@dataclass(frozen=True)
class CameraAddress:
    """A camera's address, with the function that reads it ("module:function" for the worker) and its arguments."""

    text: str
    decoder: str
    arguments: dict[str, Any]

    def __str__(self) -> str:
        return self.text


def parse_address(text: str) -> CameraAddress:
    """Parse the address of a camera.

    Raises:
        CameraError: it is not a valid address.
    """
    if text == "dv" or text.startswith("dv:"):
        serial_number = text[3:]
        if text != "dv" and not serial_number:
            raise CameraError(f"{text}: names no camera; give dv for the only one, or dv:SERIAL")
        return CameraAddress(text, "usb:decode", {"serial_number": serial_number or None})
    if match := _TCP.fullmatch(text):
        ports = [int(match[name]) for name in ("events", "triggers") if match[name] is not None]
        for port in ports:
            if not 0 < port < 65536:
                raise CameraError(f"{text}: {port} is not a port; ports are 1 to 65535")
        if len(set(ports)) < len(ports):
            raise CameraError(f"{text}: events and triggers come from two ports; {ports[0]} is given for both")
        host = match["v6"] or match["host"]
        triggers_port = ports[1] if len(ports) > 1 else None
        return CameraAddress(
            text, "network:decode", {"host": host, "events_port": ports[0], "triggers_port": triggers_port}
        )
    if text.startswith("pipe:") and text != "pipe:":
        return CameraAddress(text, "pipe:decode", {"path": text.removeprefix("pipe:")})
    raise CameraError(f"{text or 'an empty text'}: is no camera's address; give {_KNOWN}")
