"""Exports networks for one frame size, to be run without torch, also by other programs.

`exported_graph` describes the format and reads it.
"""

import json
import os
import tempfile
import warnings
from importlib.util import find_spec
from pathlib import Path

from ...capture.atomic import PartialFile, make_folder
from ...capture.errors import RecordingError
from ..exported_graph import IR, KEY, ONNX, EngineError, WeightsError, import_openvino, parts_of
from ..weights import WeightsFile, load_module, open_weights, weights_metadata

_FOLDER = "_openvino"


def export(weights: str | Path, out: str | Path, width: int, height: int, *, force: bool = False) -> Path:
    """Export a network for one frame size, atomically.

    Args:
        weights: a file, or the name of shipped weights.
        out: NAME.onnx, or a folder NAME_openvino.
        width: of the frames, pixels.
        height: of the frames, pixels.
        force: replace an existing export.

    Returns:
        `out`.

    Raises:
        WeightsError: the weights are missing, damaged or already exported; or `out` has neither form.
        EngineError: a library needed for the export is not installed.
        RecordingError: `out` exists and `force` is not given, or it cannot be written.
    """
    out, file = Path(out), open_weights(weights)
    if out.suffix != ONNX and not out.name.endswith(_FOLDER):
        raise WeightsError(f"{out}: networks are exported to NAME{ONNX}, or to a folder NAME{_FOLDER}")
    if file.size is not None:
        raise WeightsError(f"{weights}: is already exported; give the weights that it was exported from")
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
    from .openvino import make_model

    if (out.exists() or out.is_symlink()) and not force:
        raise RecordingError(f"{out}: exists; give --force to replace it")
    make_folder(out)
    model = make_model(import_openvino().Core(), file, height, width)
    model.set_rt_info(about, KEY)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        written = Path(folder) / IR
        import_openvino().save_model(model, written, compress_to_fp16=False)
        for part in reversed(parts_of(Path(folder))):
            os.replace(part, out / part.name)


def _write_onnx(file: WeightsFile, out: Path, width: int, height: int, about: str, force: bool) -> None:
    with PartialFile(out, force, "weights file") as partial:
        partial.write_bytes(_as_onnx(file, width, height, about))


def _as_onnx(file: WeightsFile, width: int, height: int, about: str) -> bytes:
    import onnx  # pyright: ignore[reportMissingImports]
    import torch

    from .openvino import make_model

    shapes = [tuple(part.shape) for part in make_model(import_openvino().Core(), file, height, width).inputs]
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns about the fixed shape, which is intended
        path = Path(folder) / "network.onnx"
        torch.onnx.export(
            load_module(file),
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
