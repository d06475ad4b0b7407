"""Checks of a generation job's inputs before it starts: the user's files, and whether lenses can be drawn."""

import json
from pathlib import Path

from .config import ConfigError, GenerationConfig
from .draws import sample_calibration

_BLEND_HEADS = (b"BLENDER", b"\x28\xb5\x2f\xfd", b"\x1f\x8b")  # plain, or compressed with Zstandard or gzip
_LENSES_TRIED = 8


def check_inputs(config: GenerationConfig, seed: int = 0) -> None:
    """Check the files that a configuration names, and that its lens ranges can be satisfied.

    Raises:
        ConfigError: a check fails; the message names the file or key.
    """
    if config.scene.blend is not None and not _head(config.scene.blend).startswith(_BLEND_HEADS):
        raise ConfigError(f"{config.scene.blend}: is not a Blender file; save the scene as .blend")
    for path in config.scene.assets:
        reason = _fault(path)
        if reason:
            raise ConfigError(f"{path}: cannot be used as a model: {reason}")
    for index in range(_LENSES_TRIED):
        sample_calibration(seed, index, config)


def _fault(path: Path) -> str:
    """Why a model cannot be read; empty if it looks valid."""
    if path.suffix.lower() == ".glb":
        return "" if _head(path).startswith(b"glTF") else "it is not a binary glTF file"
    if path.suffix.lower() == ".gltf":
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            uris = [str(b["uri"]) for b in values.get("buffers", []) if "uri" in b]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return "it is not a glTF file"
        missing = [uri for uri in uris if not uri.startswith("data:") and not (path.parent / uri).exists()]
        return f"its file {missing[0]} is missing" if missing else ""
    with path.open("rb") as file:
        return "" if any(line.startswith(b"f ") for line in file) else "it has no faces"


def _head(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(8)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
