"""Cameras and lens drivers on USB, and missing permissions to open them."""

import grp
import os
import stat
from pathlib import Path

from ..findings import Finding

INIVATION = "152a"
"""USB vendor of iniVation's cameras; their products are 84xx (libcaer's udev rules)."""

PROPHESEE = {("04b4", "00f4"), ("04b4", "00f5"), ("31f7", "0003")}
"""EVK3 and EVK4, recognised by their bridge chips (OpenEB's udev rules); read through files or a pipe, not directly."""

RULE = 'SUBSYSTEM=="usb", ATTRS{idVendor}=="152a", ATTRS{idProduct}=="84[0-1]?", MODE="0666"'
RULE_FILE = "/etc/udev/rules.d/65-event-cameras.rules"
_RULE_FOLDERS = ("etc/udev/rules.d", "lib/udev/rules.d", "usr/lib/udev/rules.d", "run/udev/rules.d")
_SERIAL_NAMES = ("ttyACM*", "ttyUSB*")


def look(root: str | Path = "/") -> list[Finding]:
    """Findings on every camera and serial port, and on missing ones; `root` is the root of the file system."""
    root = Path(root)
    cameras = _cameras(root)
    if not cameras:
        cameras = [
            Finding(
                "camera", "missing", "no event camera is plugged in", "plug it into a USB 3 port, with its own cable"
            )
        ]
    return [*cameras, _rule(root), *_serial_ports(root)]


def _cameras(root: Path) -> list[Finding]:
    found = []
    for device in sorted((root / "sys/bus/usb/devices").glob("*")):
        vendor, product = _text(device / "idVendor"), _text(device / "idProduct")
        name = " ".join(filter(None, (_text(device / "manufacturer"), _text(device / "product")))) or "camera"
        serial = _text(device / "serial")
        if vendor == INIVATION and product.startswith("84"):
            bus, number = _text(device / "busnum"), _text(device / "devnum")
            node = root / "dev/bus/usb" / f"{int(bus or 0):03d}" / f"{int(number or 0):03d}"
            found.append(_camera(name, serial, node))
        elif (vendor, product) in PROPHESEE:
            message = f"{name} {serial}".strip() + " is plugged in; sweepdepth does not open it by itself"
            remedy = "record .raw with its maker's software, or send its events through a pipe (docs/pipe.md)"
            found.append(Finding("camera", "ok", message, remedy))
    return found


def _camera(name: str, serial: str, node: Path) -> Finding:
    address = f"--camera dv:{serial}" if serial else "--camera dv"
    if os.access(node, os.R_OK | os.W_OK):
        return Finding("camera", "ok", f"{name} {serial}".strip() + f" is plugged in; {address}")
    return Finding(
        "camera",
        "failed",
        f"{name} {serial}".strip() + f" is plugged in, but this user may not open {node}",
        f"write this line into {RULE_FILE}, run `sudo udevadm control --reload-rules`, and plug it in again: {RULE}",
    )


def _rule(root: Path) -> Finding:
    for folder in _RULE_FOLDERS:
        for path in sorted((root / folder).glob("*.rules")):
            if INIVATION in _text(path):
                return Finding("udev rule", "ok", f"{path} lets users open iniVation's cameras")
    return Finding(
        "udev rule",
        "missing",
        "no udev rule lets users open iniVation's cameras",
        f"write this line into {RULE_FILE}, and run `sudo udevadm control --reload-rules`: {RULE}",
    )


def _serial_ports(root: Path) -> list[Finding]:
    ports = sorted(path for name in _SERIAL_NAMES for path in (root / "dev").glob(name))
    if not ports:
        return [Finding("lens driver", "missing", "no serial port is there, so no Optotune driver", "plug it in")]
    return [_serial_port(path) for path in ports]


def _serial_port(path: Path) -> Finding:
    if os.access(path, os.R_OK | os.W_OK):
        message = f"{path} may be a lens driver: sweepdepth lens test --driver optotune:{path} --lens lens.toml"
        return Finding("serial port", "ok", message)
    group = "dialout"
    try:
        found = path.stat()
        if found.st_mode & stat.S_IWGRP:
            group = grp.getgrgid(found.st_gid).gr_name
    except (OSError, KeyError):
        pass
    remedy = f"run `sudo usermod -aG {group} $USER`, and log in again"
    return Finding("serial port", "failed", f"this user may not open {path}", remedy)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
