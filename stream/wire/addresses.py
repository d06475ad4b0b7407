"""Checks of addresses: whether they are valid, free, and local to this machine."""

import contextlib
import errno
import ipaddress
import os
import re
import socket
import stat
from pathlib import Path

import zmq

from ...capture.errors import WireError


def check_address(address: str) -> None:
    """Check that an address is valid, and unambiguous for libzmq.

    Raises:
        WireError: the address is malformed.
    """
    tcp = re.fullmatch(r"tcp://(?:\[[^\[\]]+\]|[^\[\]:]+):(\d{1,5}|\*)", address)
    ipc = re.fullmatch(r"ipc://(.*[^*/].*)", address)
    if not (tcp or ipc) or (tcp and tcp[1] != "*" and int(tcp[1]) > 65535):
        raise WireError(f"{address}: is not an address; expected tcp://HOST:PORT or ipc://PATH")
    if ipc and len(os.fsencode(ipc[1])) > zmq.IPC_PATH_MAX_LEN:
        raise WireError(f"{address}: this path is too long; expected at most {zmq.IPC_PATH_MAX_LEN} bytes")


def check_free(address: str) -> None:
    """Check that an `ipc://` path is free, since libzmq would delete an existing file.

    Raises:
        WireError: it is a file, or a socket in use.
    """
    if not address.startswith("ipc://"):
        return
    path = Path(address.removeprefix("ipc://"))
    with contextlib.suppress(OSError):
        if not stat.S_ISSOCK(path.stat().st_mode):
            raise WireError(f"{address}: a file of that name is there already; choose another path")
        # A socket without a listener was left by a killed publisher, and may be deleted.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.connect(str(path))
            raise WireError(f"{address}: is in use; stop the other publisher or choose another path")


def is_local(address: str) -> bool:
    """Whether only this machine can connect to the address."""
    if address.startswith("ipc://"):
        return True
    host = address.removeprefix("tcp://").rpartition(":")[0]
    try:
        return host == "localhost" or ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def advice(error: zmq.ZMQError) -> str:
    """Explain why binding failed, with a remedy."""
    ways = {
        zmq.EADDRINUSE: "is in use; stop the other publisher or choose another port",
        zmq.EADDRNOTAVAIL: "is not an address of this machine; 127.0.0.1 always is",
        errno.ENODEV: "is no name or address of a network interface here; 127.0.0.1 always works",
        zmq.EINVAL: "is malformed; expected tcp://HOST:PORT or ipc://PATH",
    }
    return ways.get(error.errno or 0, f"cannot be bound ({os.strerror(error.errno or 0).lower()}); choose another")
