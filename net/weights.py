"""Weights files: safetensors in float16, with the network's configuration and facts about it in the metadata."""

import hashlib
import json
import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import TypeAdapter, ValidationError

from ..capture.atomic import PartialFile
from ..capture.errors import one_line
from ..capture.files.facts import Facts, Measured
from ..capture.files.photographs import PLANS
from .architecture import EvidenceConfig, NetworkConfig, UNetConfig, parameter_shapes
from .evidence import CANDIDATES
from .exported_graph import LARGEST_BYTES, WeightsError, is_exported, parts_of, read_about

if TYPE_CHECKING:
    from torch import nn

FORMAT = "sweepdepth-weights/1"
INITIAL_WEIGHTS = "began with"
"""Key in the facts for the facts of the weights that training started from."""
_MOST_GENERATIONS = 8
SUFFIX = ".safetensors"
SHIPPED = Path(__file__).with_name("shipped") / f"default{SUFFIX}"
"""The shipped weights, used by default."""

_CONFIG: TypeAdapter[NetworkConfig] = TypeAdapter(NetworkConfig)
_INTERIM = ["thin"]
"""Setting that only the interim network on evidence had, of 1.4 million parameters."""
_LONGEST_HEADER = 1 << 24
_COUNTER = "num_batches_tracked"  # of batch normalisation; unused in inference
_STATISTICS = "running_mean", "running_var"
"""Stored in 32 bits, since variances may exceed the range of float16."""


@dataclass(frozen=True)
class WeightsFile:
    """A weights file, validated as far as possible without torch."""

    path: Path
    config: NetworkConfig
    facts: Mapping[str, Any] = field(default_factory=dict)  # on training, metrics, …: JSON values
    digest: str = ""  # SHA-256 of the file
    size: tuple[int, int] | None = None  # height and width in pixels that an exported network is limited to

    @property
    def deviation(self) -> tuple[float, float]:
        """Factor on the network's predicted deviation, and the constant used if it predicts none."""
        known = self.facts.get("deviation", {})
        return float(known.get("scale", 1.0)), float(known.get("constant", 0.29))

    def calibrated(self, spread: np.ndarray) -> np.ndarray:
        """Calibrate standard deviations of distributions by interpolating the measured calibration curve."""
        known = self.facts.get("deviation", {})
        scale, _ = self.deviation
        if "knots" not in known:
            return scale * spread
        stated, actual = known["knots"]
        return np.interp(spread, stated, actual).astype(np.float32)

    @property
    def temperature(self) -> float:
        """Softmax temperature of the candidates' scores, which calibrates the distributions."""
        return float(self.facts.get("deviation", {}).get("temperature", 1.0))


def weights_metadata(config: NetworkConfig, facts: Mapping[str, Any]) -> dict[str, str]:
    """The metadata of a weights file; `parse_weights` reads it."""
    return {"format": FORMAT, "network": _CONFIG.dump_json(config).decode(), "facts": json.dumps(dict(facts))}


def save_weights(path: str | Path, network: "nn.Module", facts: Mapping[str, Any], *, force: bool = False) -> None:
    """Write a network's parameters, in 16 bits, and batch statistics, atomically.

    Raises:
        RecordingError: the file exists and `force` is not given, or cannot be written.
    """
    from safetensors.torch import save

    config: NetworkConfig = network.config  # pyright: ignore[reportAssignmentType]
    tensors = {
        name: (value.float() if name.rpartition(".")[2] in _STATISTICS else value.half()).detach().cpu().contiguous()
        for name, value in network.state_dict().items()
    }
    metadata = weights_metadata(config, facts)
    content = save({n: t for n, t in tensors.items() if not n.endswith(_COUNTER)}, metadata)
    with PartialFile(path, force, "weights file") as partial:
        partial.write_bytes(content)


def shipped_weights() -> dict[str, Path]:
    """The shipped weights by name, `default` first."""
    found = {path.stem: path for path in sorted(SHIPPED.parent.glob(f"*{SUFFIX}"))}
    return {SHIPPED.stem: SHIPPED, **found} if SHIPPED.exists() else found


def is_weights(path: Path) -> bool:
    """Whether a path looks like weights: a shipped name, the suffix, or a folder written by `export`."""
    named = not path.exists() and str(path) in shipped_weights()
    return named or path.suffix == SUFFIX or is_exported(path)


def find_weights(path: str | Path) -> Path:
    """Resolve the name of shipped weights to their file; other paths are returned unchanged.

    Raises:
        WeightsError: it is neither a known name nor an existing path.
    """
    named = shipped_weights()
    if str(path) in named:
        return named[str(path)]
    path = Path(path)
    if not path.suffix and not path.exists():
        raise WeightsError(f"{path}: there are no weights of this name, and no such file; names: {', '.join(named)}")
    return path


def open_weights(path: str | Path) -> WeightsFile:
    """Read the metadata of a weights file.

    Args:
        path: of the file or of an exported network, or a name in `shipped_weights`.

    Raises:
        WeightsError: missing, damaged, or not a sweepdepth weights file.
    """
    path = find_weights(path)
    if is_exported(path):
        return parse_weights(path, *read_about(path))
    try:
        size = path.stat().st_size
        if size > LARGEST_BYTES:
            raise WeightsError(f"{path}: is too large to be weights of sweepdepth ({size:,} bytes)")
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        if length > min(size, _LONGEST_HEADER):
            raise ValueError("no safetensors header")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    except (struct.error, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path}: is damaged, or no weights file: {one_line(error)}") from error
    return parse_weights(path, metadata, hashlib.sha256(content).hexdigest())


def parse_weights(
    path: Path, metadata: Mapping[str, Any], digest: str, size: tuple[int, int] | None = None
) -> WeightsFile:
    """Validate the metadata of weights.

    Args:
        path: of the weights.
        metadata: `format`, and as JSON texts `network` and `facts`.
        digest: SHA-256 of the file.
        size: height and width in pixels, for exported networks.

    Raises:
        WeightsError: damaged, or not a sweepdepth weights file.
    """
    try:
        if metadata.get("format") != FORMAT:
            raise WeightsError(
                f"{path}: holds no weights of sweepdepth (format {metadata.get('format')!r:.80}, expected {FORMAT!r})"
            )
        config = _read_config(path, metadata["network"])
        facts = json.loads(metadata["facts"])
        if not isinstance(facts, dict):
            raise ValueError("its facts are no JSON object")
        file = WeightsFile(path, config, facts, digest, size)
        if not all(0 < number < math.inf for number in (*file.deviation, file.temperature)):
            raise ValueError(f"its deviations are {file.deviation}, its temperature is {file.temperature}")
        if not (
            np.isfinite(calibrated := file.calibrated(np.array([0.0, 0.1, 0.5]))).all() and (calibrated >= 0).all()
        ):
            raise ValueError("its deviations are not numbers")
    except (
        ValidationError,
        KeyError,
        ValueError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise WeightsError(f"{path}: is damaged, or no weights file: {one_line(error)}") from error
    return file


def _read_config(path: Path, text: str) -> NetworkConfig:
    """Read a network's configuration.

    Raises:
        WeightsError: it has other settings than the networks of this version.
        ValueError: it is damaged.
    """
    values = json.loads(text)
    kinds = {kind.model_fields["kind"].default: kind for kind in (UNetConfig, EvidenceConfig)}
    known = kinds[values["kind"]].model_fields if values.get("kind") in kinds else values
    if unknown := sorted(values.keys() - known.keys()):
        which = (
            "holds the interim network on evidence, from before version 0.1.0, which this version cannot run"
            if values.get("kind") == "evidence" and unknown == _INTERIM
            else f"holds a network of another version of sweepdepth, with settings {one_line(', '.join(unknown))}"
        )
        raise WeightsError(f"{path}: {which}; use --weights default, or train the network again")
    return _CONFIG.validate_json(text)


def make_network(config: NetworkConfig) -> "nn.Module":
    """Make an untrained network with this configuration."""
    if isinstance(config, EvidenceConfig):
        from .evidence_net import EvidenceNet

        return EvidenceNet(config)
    from .unet import DepthNet

    return DepthNet(config)


def read_parameters(file: WeightsFile) -> dict[str, np.ndarray]:
    """Read parameters and batch statistics by name, float32, without torch. No code in the file is executed.

    Raises:
        WeightsError: they are damaged or do not match the configuration; or the network was exported.
    """
    if file.size is not None:
        raise WeightsError(f"{file.path}: is an exported network; give the weights that it was exported from")
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        found = {name: array.astype(np.float32) for name, array in load(file.path.read_bytes()).items()}
    except OSError as error:
        raise WeightsError(f"{file.path}: cannot be read: {error.strerror or error}") from error
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{file.path}: is damaged: {one_line(error)}") from error
    if isinstance(file.config, EvidenceConfig):
        _compare(file, found, parameter_shapes(file.config))
    for name, array in found.items():
        if not np.isfinite(array).all():
            raise WeightsError(f"{file.path}: holds numbers that are not finite, in {name}")
    return found


def load_module(file: WeightsFile) -> "nn.Module":
    """Load the network for inference in torch. No code in the file is executed.

    Raises:
        WeightsError: the parameters are damaged or do not fit the configuration.
    """
    import torch

    found = {name: torch.from_numpy(array) for name, array in read_parameters(file).items()}
    try:
        with torch.device("meta"):  # allocates no memory, since the configuration may be arbitrarily large
            expected = {name: tuple(value.shape) for name, value in make_network(file.config).state_dict().items()}
    except (RuntimeError, ValueError) as error:
        raise WeightsError(f"{file.path}: is damaged: {one_line(error)}") from error
    _compare(file, found, {name: shape for name, shape in expected.items() if not name.endswith(_COUNTER)})
    network = make_network(file.config)
    network.load_state_dict(found, strict=False)
    return network.eval()


def _compare(file: WeightsFile, found: Mapping[str, Any], expected: Mapping[str, tuple[int, ...]]) -> None:
    for name in sorted(expected.keys() | found.keys()):
        wanted, there = expected.get(name), tuple(found[name].shape) if name in found else None
        if wanted != there:
            raise WeightsError(
                f"{file.path}: does not fit its own configuration: {name} is {_shape(there)}, expected {_shape(wanted)}"
            )


def describe_weights(path: str | Path) -> Facts:
    """Describe a weights file, for `sweepdepth info`.

    Raises:
        WeightsError: missing, damaged, or not a sweepdepth weights file.
    """
    file = open_weights(path)
    shown = file.config.representation
    if isinstance(file.config, EvidenceConfig):
        sees = f"evidence of {shown.source} for {len(CANDIDATES)} candidate distances"
    else:
        what = f"photographs {shown.source}" if shown.source in PLANS else f"{shown.bins} bins of {shown.source}"
        sees = f"{file.config.representation.channels} channels: {what}"
        sees += f", {shown.polarity}" if shown.source == "events" else ""
    size = sum(part.stat().st_size for part in parts_of(file.path))
    network = {
        "preset": file.config.name,
        "sees": sees,
        "widths": Measured(", ".join(map(str, file.config.widths)), widths=list(file.config.widths)),
        "predicts its deviation": Measured(
            "yes" if file.config.probabilistic else "no, a constant is used",
            states_its_deviation=file.config.probabilistic,
        ),
        **({} if file.size is None else {"exported for": _exported_for(*file.size)}),
        "size": Measured(f"{size / 1e6:.2f} MB", bytes=size),
        "SHA-256": file.digest,
    }
    return {"network": network} | _sections(file.facts)


def _exported_for(height: int, width: int) -> Measured:
    return Measured(f"{width}×{height} pixels", width=width, height=height)


def _sections(facts: Mapping[str, Any], prefix: str = "", depth: int = 0) -> dict[str, dict[str, Any]]:
    """Facts of the weights, then those of the weights that training started from, and so on."""
    found = {
        prefix + name: {key: value for key, value in part.items() if not isinstance(value, dict)}
        for name, part in {"facts": facts, **facts}.items()
        if isinstance(part, dict) and name != INITIAL_WEIGHTS
    }
    began = facts.get(INITIAL_WEIGHTS)
    if isinstance(began, dict) and depth < _MOST_GENERATIONS:
        found |= _sections(began, f"{prefix}{INITIAL_WEIGHTS} ", depth + 1)
    return found


def _shape(shape: Any) -> str:
    return "absent" if shape is None else "×".join(map(str, shape)) or "a number"
