"""Exported networks: graph, parameters and calibration for one size of frame, run without torch and without ours.

Either an ONNX file, or a folder with OpenVINO's own form (`model.xml`, `model.bin`). What weights say of themselves is
in the metadata under one key, as JSON, with the size: in ONNX among `metadata_props`, in OpenVINO's form in `rt_info`.
"""

import hashlib
import json
import os
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ...capture.errors import RecordingError, one_line
from ...capture.recordings.atomic import PartialFile, make_folder
from ..weights import (
    IR,
    LARGEST_BYTES,
    ONNX,
    WeightsError,
    WeightsFile,
    load_network,
    open_weights,
    parse_weights,
    parts_of,
    weights_metadata,
)
from . import EngineError

KEY = "sweepdepth"
_FOLDER = "_openvino"


def export(weights: str | Path, out: str | Path, width: int, height: int, *, force: bool = False) -> Path:
    """Write a network for frames of one size, whole or not at all.

    Args:
        weights: a file, or a name of weights that ship.
        out: NAME.onnx, or a folder NAME_openvino.
        width: of the frames, pixels.
        height: of the frames, pixels.
        force: replace what is there.

    Returns:
        `out`.

    Raises:
        WeightsError: the weights are missing, damaged, or exported already; or `out` is of neither form.
        EngineError: what is needed to export is not installed.
        RecordingError: `out` exists and `force` is not given, or it cannot be written.
    """
    out, file = Path(out), open_weights(weights)
    if out.suffix != ONNX and not out.name.endswith(_FOLDER):
        raise WeightsError(f"{out}: networks are exported to NAME{ONNX}, or to a folder NAME{_FOLDER}")
    if file.size is not None:
        raise WeightsError(f"{weights}: is exported already; give the weights it was made of")
    needed = ("openvino", "torch", "onnx", "onnxscript") if out.suffix == ONNX else ("openvino",)
    missing = [module for module in needed if find_spec(module) is None]
    if missing:
        extras = "onnx,openvino,train" if out.suffix == ONNX else "openvino"
        raise EngineError(f"exporting needs {', '.join(missing)}: pip install 'sweepdepth[{extras}]'")
    about = json.dumps({**weights_metadata(file.config, file.facts), "size": [width, height]})
    if out.suffix == ONNX:
        _write_onnx(file, out, width, height, about, force)
    else:
        _write_ir(file, out, width, height, about, force)
    return out


def _write_ir(file: WeightsFile, out: Path, width: int, height: int, about: str, force: bool) -> None:
    from .openvino import make_model, openvino

    if (out.exists() or out.is_symlink()) and not force:
        raise RecordingError(f"{out}: exists; give --force to replace it")
    model = make_model(openvino.Core(), file, height, width)
    model.set_rt_info(about, KEY)
    make_folder(out)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        written = Path(folder) / IR
        openvino.save_model(model, written, compress_to_fp16=False)
        for part in reversed(parts_of(Path(folder))):
            os.replace(part, out / part.name)


def _write_onnx(file: WeightsFile, out: Path, width: int, height: int, about: str, force: bool) -> None:
    partial = PartialFile(out, force, "weights file")
    try:
        partial.path.write_bytes(_as_onnx(file, width, height, about))
        partial.commit()
    finally:
        partial.discard()


def _as_onnx(file: WeightsFile, width: int, height: int, about: str) -> bytes:
    import onnx  # pyright: ignore[reportMissingImports]
    import torch

    from .openvino import make_model, openvino

    shapes = [tuple(part.shape) for part in make_model(openvino.Core(), file, height, width).inputs]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tracing: the shape is meant to be fixed
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            load_network(file),
            tuple(torch.zeros(shape) for shape in shapes),
            path,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
        model = onnx.load(path)
    entry = model.metadata_props.add()
    entry.key, entry.value = KEY, about
    return model.SerializeToString()


def read_exported(path: Path) -> WeightsFile:
    """What an exported network says of itself.

    Raises:
        WeightsError: missing, damaged, or not exported by us.
        EngineError: OpenVINO, which runs it, is not installed.
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
    return parse_weights(path, about, hashlib.sha256(b"".join(content)).hexdigest(), (height, width))


def read_graph(path: Path) -> Any:
    """The graph of an exported network, not yet compiled.

    Raises:
        WeightsError: it is damaged.
        EngineError: OpenVINO is not installed.
    """
    if find_spec("openvino") is None:
        raise EngineError(f"{path}: exported networks are run by OpenVINO: pip install 'sweepdepth[openvino]'")
    from .openvino import openvino

    try:
        return openvino.Core().read_model(parts_of(path)[0])
    except RuntimeError as error:
        raise WeightsError(f"{path}: is damaged, or no network: {one_line(error)}") from error


def _metadata(model: Any) -> str:
    told = model.get_rt_info()
    return (told if KEY in told else told["framework"])[KEY].value
