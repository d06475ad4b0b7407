"""CURVE key files: `NAME.key` to share and `NAME.key_secret` to keep, in the format of czmq and `zmq.auth`.

A publisher has a key pair and a folder with the `.key` of every client it allows; a client has a key pair and the
publisher's `.key`.
"""

import os
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path

import zmq
from zmq.auth import load_certificate
from zmq.utils import z85

from ...capture.atomic import make_folder, refuse_replacing
from ...capture.errors import WireError


@dataclass(frozen=True)
class KeyPair:
    """A CURVE key pair, each half as 40 characters of Z85 (ZeroMQ RFC 32)."""

    public: bytes
    secret: bytes = field(repr=False)


def new_keys(name: str, folder: str | Path = ".", force: bool = False) -> tuple[Path, Path]:
    """Make a key pair: `NAME.key`, which is public, and `NAME.key_secret`, readable only by its owner.

    Returns both paths, the public one first.

    Raises:
        WireError: the name is not a plain file name, a file of that name exists and `force` is not set, or it cannot be
            written.
        RecordingError: the folder cannot be made, or a file of that name is of another kind.
    """
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise WireError(f"key name {name!r}: expected letters, digits, '.', '-' and '_' only")
    paths = Path(folder, f"{name}.key"), Path(folder, f"{name}.key_secret")
    for path in paths:
        if path.exists() and not force:
            raise WireError(f"{path}: exists already; choose another name, or --force to replace it")
        refuse_replacing(path, force, "key")
    make_folder(paths[0].parent)
    public, secret = (key.decode() for key in zmq.curve_keypair())
    try:
        _write(paths[0], 0o644, name, f'    public-key = "{public}"\n')
        _write(paths[1], 0o600, name, f'    public-key = "{public}"\n    secret-key = "{secret}"\n')
    except OSError as error:
        raise WireError(f"{error.filename or folder}: cannot be written: {error.strerror}") from error
    return paths


def load_public_key(path: str | Path) -> bytes:
    """Load the public key, from either file.

    Raises:
        WireError: the file cannot be read or holds no public key.
    """
    return _load(Path(path))[0]


def load_key_pair(path: str | Path) -> KeyPair:
    """Load both keys, from a `.key_secret` file.

    Raises:
        WireError: the file cannot be read, holds no key pair, or others may read it.
    """
    path = Path(path)
    public, secret = _load(path)
    if secret is None:
        raise WireError(f"{path}: holds no secret key; give the .key_secret file that `sweepdepth keys new` wrote")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise WireError(f"{path}: others may read this secret key; run: chmod 600 {path}")
    return KeyPair(public, secret)


def load_clients(folder: str | Path) -> dict[Path, bytes]:
    """Load the public keys of all `.key` files in a folder: the clients that a publisher allows.

    Raises:
        WireError: there is no such folder, it holds no key, or one of its keys is damaged.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise WireError(f"{folder}: is not a folder; expected one with the .key file of every allowed client")
    clients = {path: load_public_key(path) for path in sorted(folder.glob("*.key"))}
    if not clients:
        raise WireError(f"{folder}: holds no .key file; copy the .key of every client that may connect there")
    return clients


def _write(path: Path, mode: int, name: str, keys: str) -> None:
    # Created rather than overwritten, so that an old file's permissions or link target cannot expose the secret.
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(f'metadata\n    name = "{name}"\ncurve\n{keys}')


def _load(path: Path) -> tuple[bytes, bytes | None]:
    try:
        public, secret = load_certificate(path)
    except OSError as error:
        raise WireError(f"{path}: cannot be read: {error.strerror or 'no such file'}") from error
    except (ValueError, IndexError) as error:
        raise WireError(f"{path}: holds no public key; expected a file that `sweepdepth keys new` wrote") from error
    if not all(_is_key(key) for key in (public, secret) if key is not None):
        raise WireError(f"{path}: holds a damaged key; expected 40 characters of Z85 in quotes")
    return public, secret


def _is_key(text: bytes) -> bool:
    try:
        return len(z85.decode(text)) == 32
    except (KeyError, ValueError, struct.error):
        return False
