"""What `sweepdepth export` wrote, read back: the graph, and what it says of itself.

Either an ONNX file, or a folder with OpenVINO's own form (`model.xml`, `model.bin`). What weights say of themselves is
in the metadata under one key, as JSON, with the size: in ONNX among `metadata_props`, in OpenVINO's form in `rt_info`.
"""

import hashlib
import json
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..capture.errors import SweepdepthError, one_line

KEY = "sweepdepth"
ONNX = ".onnx"
IR = "model.xml"
"""The graph in a folder of an exported network for OpenVINO; its parameters are in `model.bin`."""
LARGEST_BYTES = 1 << 30


class WeightsError(SweepdepthError):
    """A weights file that is missing, damaged or of another kind."""


class EngineError(SweepdepthError):
    """An engine that is not installed."""


def is_exported(path: Path) -> bool:
    """Whether a path is what `export` writes: an ONNX file, or a folder with a graph for OpenVINO."""
    return path.suffix == ONNX or (path / IR).is_file()


def parts_of(path: Path) -> list[Path]:
    """The files of weights, one or two."""
    return [path / IR, (path / IR).with_suffix(".bin")] if path.is_dir() else [path]


def import_openvino() -> Any:
    """OpenVINO, without the report of its use that its converter sends to Google Analytics."""
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
    import openvino

    return openvino


def read_graph(path: Path) -> Any:
    """The graph of an exported network, not yet compiled.

    Raises:
        WeightsError: it is damaged.
        EngineError: OpenVINO is not installed.
    """
    if find_spec("openvino") is None:
        raise EngineError(f"{path}: exported networks are run by OpenVINO: pip install 'sweepdepth[openvino]'")
    try:
        return import_openvino().Core().read_model(parts_of(path)[0])
    except RuntimeError as error:
        raise WeightsError(f"{path}: is damaged, or no network: {one_line(error)}") from error


def read_about(path: Path) -> tuple[dict[str, Any], str, tuple[int, int]]:
    """What an exported network says of itself, the SHA-256 of its files, and height and width of its frames.

    Raises:
        WeightsError: missing, damaged, or not exported by us.
        EngineError: OpenVINO is not installed.
    """
    try:
        content = [part.read_bytes() for part in parts_of(path) if part.stat().st_size <= LARGEST_BYTES]
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read: {error.strerror or error}") from error
    try:
        about = json.loads(_metadata(read_graph(path)))
        width, height = map(int, about["size"])
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise WeightsError(f"{path}: is no network that `sweepdepth export` wrote") from error
    return about, hashlib.sha256(b"".join(content)).hexdigest(), (height, width)


def _metadata(model: Any) -> str:
    known = model.get_rt_info()
    return (known if KEY in known else known["framework"])[KEY].value
