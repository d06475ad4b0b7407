"""Weights files: safetensors in float16, with the network's configuration and what is known of it in the metadata."""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from ..capture.errors import SweepdepthError, one_line
from ..capture.recordings.atomic import PartialFile
from .architecture import NetworkConfig

if TYPE_CHECKING:
    from .model import DepthNet

FORMAT = "sweepdepth-weights/1"
BEGAN = "began with"
"""Among the facts: those of the weights that training started from."""
_MOST_TOLD = 8
SHIPPED = Path(__file__).with_name("weights") / "default.safetensors"
"""The weights that come with the package."""

_LARGEST_BYTES = 1 << 30
_LONGEST_HEADER = 1 << 24
_COUNTER = "num_batches_tracked"  # of batch normalisation; nothing depends on it


class WeightsError(SweepdepthError):
    """A weights file that is missing, damaged or of another kind."""


@dataclass(frozen=True)
class WeightsFile:
    """A weights file, checked as far as that goes without torch."""

    path: Path
    config: NetworkConfig
    facts: Mapping[str, Any] = field(default_factory=dict)  # training, metrics, …: JSON values
    digest: str = ""  # SHA-256 of the file

    @property
    def deviation(self) -> tuple[float, float]:
        """What the network's own deviation is multiplied by, and the one that stands in where it has none."""
        known = self.facts.get("deviation", {})
        return float(known.get("scale", 1.0)), float(known.get("constant", 0.29))


def save_weights(path: str | Path, network: "DepthNet", facts: Mapping[str, Any], *, force: bool = False) -> None:
    """Write a network's parameters and batch statistics; the file appears whole, or not at all.

    Raises:
        RecordingError: the file exists and `force` is not given, or cannot be written.
    """
    from safetensors.torch import save

    tensors = {name: value.detach().cpu().half().contiguous() for name, value in network.state_dict().items()}
    metadata = {"format": FORMAT, "network": network.config.model_dump_json(), "facts": json.dumps(dict(facts))}
    content = save({n: t for n, t in tensors.items() if not n.endswith(_COUNTER)}, metadata)
    partial = PartialFile(path, force, "weights file")
    try:
        partial.path.write_bytes(content)
        partial.commit()
    finally:
        partial.discard()


def open_weights(path: str | Path) -> WeightsFile:
    """Read what a weights file says of itself.

    Raises:
        WeightsError: missing, damaged, or no weights of a network of ours.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        if size > _LARGEST_BYTES:
            raise WeightsError(f"{path}: is too large to be weights of sweepdepth ({size:,} bytes)")
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        if length > min(size, _LONGEST_HEADER):
            raise ValueError("no safetensors header")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        if metadata.get("format") != FORMAT:
            raise WeightsError(
                f"{path}: holds no weights of sweepdepth (format {metadata.get('format')!r:.80}, expected {FORMAT!r})"
            )
        config = NetworkConfig.model_validate_json(metadata["network"])
        facts = json.loads(metadata["facts"])
        if not isinstance(facts, dict):
            raise ValueError("its facts are no JSON object")
        file = WeightsFile(path, config, facts, hashlib.sha256(content).hexdigest())
        if not all(0 < number < math.inf for number in file.deviation):
            raise ValueError(f"its deviations are {file.deviation}")
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (
        ValidationError,
        struct.error,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise WeightsError(f"{path}: is damaged, or no weights file: {one_line(error)}") from error
    return file


def load_network(file: WeightsFile) -> "DepthNet":
    """The network itself, ready for inference. Nothing in the file is run, whatever it holds.

    Raises:
        WeightsError: the parameters are damaged or do not fit the configuration.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from .model import DepthNet

    try:
        found = {name: tensor.float() for name, tensor in load(file.path.read_bytes()).items()}
        with torch.device("meta"):  # no memory: the configuration may ask for anything
            expected = {n: t.shape for n, t in DepthNet(file.config).state_dict().items() if not n.endswith(_COUNTER)}
    except OSError as error:
        raise WeightsError(f"{file.path}: cannot be read: {error.strerror or error}") from error
    except (SafetensorError, RuntimeError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{file.path}: is damaged: {one_line(error)}") from error
    for name in sorted(expected.keys() | found.keys()):
        wanted, there = expected.get(name), found[name].shape if name in found else None
        if wanted != there:
            raise WeightsError(
                f"{file.path}: does not fit its own configuration: {name} is {_shape(there)}, expected {_shape(wanted)}"
            )
    network = DepthNet(file.config)
    network.load_state_dict(found, strict=False)
    if not all(bool(value.isfinite().all()) for value in network.state_dict().values()):
        raise WeightsError(f"{file.path}: holds numbers that are not finite")
    return network.eval()


def describe_weights(path: str | Path) -> dict[str, dict[str, Any]]:
    """Sections of facts about a weights file, for `sweepdepth info`.

    Raises:
        WeightsError: missing, damaged, or no weights of a network of ours.
    """
    file = open_weights(path)
    shown = file.config.representation
    network = {
        "preset": file.config.name,
        "sees": f"{shown.channels} channels: {shown.bins} bins of {shown.source}"
        + (f", {shown.polarity}" if shown.source == "events" else ""),
        "widths": ", ".join(map(str, file.config.widths)),
        "states its deviation": "yes" if file.config.probabilistic else "no, a constant stands in",
        "size": f"{file.path.stat().st_size / 1e6:.2f} MB",
        "SHA-256": file.digest,
    }
    return {"network": network} | _sections(file.facts)


def _sections(facts: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, dict[str, Any]]:
    """What is said of a network, and then of the weights that its training began with, and so on."""
    found = {
        prefix + name: {key: value for key, value in part.items() if not isinstance(value, dict)}
        for name, part in {"facts": facts, **facts}.items()
        if isinstance(part, dict) and name != BEGAN
    }
    began = facts.get(BEGAN)
    if isinstance(began, dict) and depth < _MOST_TOLD:
        found |= _sections(began, f"{prefix}{BEGAN} ", depth + 1)
    return found


def _shape(shape: Any) -> str:
    return "absent" if shape is None else "×".join(map(str, shape)) or "a number"
