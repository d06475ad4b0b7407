"""What a generation job is given, looked at before it starts: files of the user's, and lenses that can be drawn."""

import json
from pathlib import Path

from .config import ConfigError, GenerationConfig
from .draws import sample_calibration

_BLEND_HEADS = (b"BLENDER", b"\x28\xb5\x2f\xfd", b"\x1f\x8b")  # plain, or compressed with Zstandard or gzip
_LENSES_TRIED = 8


def check_inputs(config: GenerationConfig, seed: int = 0) -> None:
    """Make sure that the files that a configuration names are what they should be, and that there are such lenses.

    Raises:
        ConfigError: one is not; the message names it.
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
    """Why a model cannot be read; empty if nothing speaks against it."""
    if path.suffix.lower() == ".glb":
        return "" if _head(path).startswith(b"glTF") else "it is no binary glTF file"
    if path.suffix.lower() == ".gltf":
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            uris = [str(b["uri"]) for b in values.get("buffers", []) if "uri" in b]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return "it is no glTF file"
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
