"""Reads exported networks, as written by `sweepdepth export`: graph and metadata.

An export is an ONNX file, or a folder in OpenVINO's format (`model.xml`, `model.bin`). The metadata of the weights and
the frame size are stored as JSON under one key: in ONNX in `metadata_props`, in OpenVINO's format in `rt_info`.
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
"""Graph file in the folder of a network exported for OpenVINO; its parameters are in `model.bin`."""
LARGEST_BYTES = 1 << 30


class WeightsError(SweepdepthError):
    """A weights file that is missing, damaged or of another kind."""


class EngineError(SweepdepthError):
    """An engine that is not installed."""


def is_exported(path: Path) -> bool:
    """Whether a path is an exported network: an ONNX file, or a folder with an OpenVINO graph."""
    return path.suffix == ONNX or (path / IR).is_file()


def parts_of(path: Path) -> list[Path]:
    """The files of weights or of an exported network, one or two."""
    return [path / IR, (path / IR).with_suffix(".bin")] if path.is_dir() else [path]


def import_openvino() -> Any:
    """Import OpenVINO without the telemetry that its converter sends to Google Analytics."""
    sys.modules.setdefault("openvino_telemetry", None)  # pyright: ignore[reportArgumentType]
    import openvino

    return openvino


def read_graph(path: Path) -> Any:
    """Read the graph of an exported network, without compiling it.

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
    """Read an exported network's metadata, the SHA-256 of its files, and height and width of its frames.

    Raises:
        WeightsError: missing, damaged, or not written by `export`.
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
        raise WeightsError(f"{path}: was not written by `sweepdepth export`") from error
    return about, hashlib.sha256(b"".join(content)).hexdigest(), (height, width)


def _metadata(model: Any) -> str:
    known = model.get_rt_info()
    return (known if KEY in known else known["framework"])[KEY].value
