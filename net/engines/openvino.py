"""OpenVINO engine: compiles the network for the CPU, in bfloat16 if supported.

Networks on evidence are built from their parameters without torch (`evidence_graph`). U-Nets are exported by torch; the
export is cached in the user's cache folder by the weights' hash and the frame size, so that later starts do not import
torch, which takes seconds.
"""

import os
import warnings
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from ..architecture import EvidenceConfig, UNetConfig
from ..exported_graph import EngineError, import_openvino, read_graph
from ..weights import WeightsFile, load_module, read_parameters

openvino = import_openvino()

_KEPT = 64  # most exports in the cache, each as large as the weights


class OpenVinoEngine:
    """Engine for one frame size."""

    name = "openvino"

    def __init__(self, file: WeightsFile, height: int, width: int) -> None:
        core = openvino.Core()
        self._compiled = core.compile_model(
            make_model(core, file, height, width), "CPU", {"PERFORMANCE_HINT": "LATENCY"}
        )
        self._request = self._compiled.create_infer_request()

    def __call__(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        batch = [np.ascontiguousarray(part[None]) for part in inputs]
        return self._request.infer(batch, share_inputs=True)[0][0]


def make_model(core: openvino.Core, file: WeightsFile, height: int, width: int) -> openvino.Model:
    """Load the network of a weights file for one frame size, without compiling it.

    Raises:
        WeightsError: the parameters are damaged or do not fit the configuration.
        EngineError: torch is needed, but not installed.
    """
    if file.size is not None:
        return read_graph(file.path)
    if isinstance(file.config, EvidenceConfig):
        from .evidence_graph import build_graph

        return build_graph(file.config, read_parameters(file), height, width)
    return _cached(core, _cache_path(file.digest, height, width)) or _export(file, height, width)


def _export(file: WeightsFile, height: int, width: int) -> openvino.Model:
    try:
        import torch
    except ModuleNotFoundError as error:
        raise EngineError(
            f"{file.path}: U-Nets need torch for their first run: pip install 'sweepdepth[train]'"
        ) from error
    assert isinstance(file.config, UNetConfig)
    example = torch.zeros(1, file.config.representation.channels, height, width)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # tracing warns about the fixed shape, which is intended
        model = openvino.convert_model(load_module(file), example_input=example, input=[tuple(example.shape)])
    path = _cache_path(file.digest, height, width)
    with suppress(OSError, RuntimeError):  # without a cache, only the next start is slower
        path.parent.mkdir(parents=True, exist_ok=True)
        _prune(path.parent)
        partial = path.with_name(f"{path.stem}.{os.getpid()}.xml")
        openvino.save_model(model, partial, compress_to_fp16=True)
        partial.with_suffix(".bin").replace(path.with_suffix(".bin"))
        partial.replace(path)
    return model


def _cached(core: openvino.Core, path: Path) -> openvino.Model | None:
    """The cached export, if it exists and is valid."""
    if not (path.exists() and path.with_suffix(".bin").exists()):
        return None
    with suppress(RuntimeError):
        return core.read_model(path)
    return None


def _cache_path(digest: str, height: int, width: int) -> Path:
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    version = openvino.__version__.partition("-")[0]
    return home / "sweepdepth" / f"{digest[:24]}-{width}x{height}-openvino-{version}.xml"


def _prune(folder: Path) -> None:
    """Delete the oldest exports of a large cache."""
    exports = sorted(folder.glob("*.xml"), key=lambda path: path.stat().st_mtime)
    for path in exports[: -_KEPT + 1]:
        path.unlink(missing_ok=True)
        path.with_suffix(".bin").unlink(missing_ok=True)
