"""The network's engines: milliseconds a frame, their ratio to plain torch in the same run, and what int8 costs.

    ./run bench inference --data dataset

Every engine runs in turn on the same channels, the best of several rounds counts. "of the limit" is the share of the
chip's own speed: the multiplications and additions of the network's convolutions a second, over those that one large
matrix product in single precision reaches in the same run. With --data the error against the truth is measured too;
int8 needs `pip install nncf`, and takes its ranges from the same data.
"""

import argparse
import itertools
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import torch
from rich.console import Console
from rich.table import Table

from sweepdepth.net.cases import Case, find_cases
from sweepdepth.net.engines.openvino import OpenVinoEngine
from sweepdepth.net.engines.torch import TorchEngine
from sweepdepth.net.representation import Representation
from sweepdepth.net.weights import SHIPPED, WeightsFile, load_network, open_weights

SIZES = ((346, 260), (640, 480))
ROUNDS = 12

Run = Callable[[np.ndarray], np.ndarray]


class PlainTorch:
    """The network as anyone would run it first: eager, float32, no memory format."""

    def __init__(self, file: WeightsFile) -> None:
        self._network = load_network(file)

    @torch.inference_mode()
    def __call__(self, channels: np.ndarray) -> np.ndarray:
        return self._network(torch.from_numpy(channels[None]))[0].numpy()


class Int8:
    """OpenVINO with weights and activations in 8 bits, as NNCF quantises them after training."""

    def __init__(self, file: WeightsFile, height: int, width: int, examples: list[np.ndarray]) -> None:
        import nncf  # pyright: ignore[reportMissingImports]

        shape = (1, file.config.representation.channels, height, width)
        model = openvino.convert_model(load_network(file), example_input=torch.zeros(shape), input=[shape])
        fitting = [_fitted(example, height, width)[None] for example in examples]
        quantized: Any = nncf.quantize(model, nncf.Dataset(fitting), subset_size=len(fitting))
        self._compiled = openvino.Core().compile_model(quantized, "CPU", {"PERFORMANCE_HINT": "LATENCY"})

    def __call__(self, channels: np.ndarray) -> np.ndarray:
        return self._compiled([channels[None]])[0][0]


def engines(file: WeightsFile, height: int, width: int, examples: list[np.ndarray]) -> dict[str, Run]:
    """All that can be compared here, by name."""
    runs: dict[str, Run] = {"torch eager": PlainTorch(file), "torch, channels last": TorchEngine(file, "cpu")}
    runs["OpenVINO"] = OpenVinoEngine(file, height, width)
    if examples and find_spec("nncf"):
        runs["OpenVINO int8"] = Int8(file, height, width, examples)
    if torch.cuda.is_available():
        runs["torch cuda"] = TorchEngine(file, "cuda")
    return runs


def best_ms(runs: dict[str, Run], channels: np.ndarray) -> dict[str, float]:
    """Milliseconds of each, in turns, so that a busy machine is busy for all of them."""
    for run in runs.values():
        run(channels)
    times = {name: [] for name in runs}
    for _, (name, run) in itertools.product(range(ROUNDS), runs.items()):
        start = time.perf_counter()
        run(channels)
        times[name].append(time.perf_counter() - start)
    return {name: 1e3 * min(seconds) for name, seconds in times.items()}


def gigaflops_of(file: WeightsFile, height: int, width: int) -> float:
    """Operations of the network's convolutions, multiplications and additions counted apart."""
    total = 0
    network = load_network(file)

    def count(module: torch.nn.Conv2d, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += 2 * output.numel() * module.in_channels * module.kernel_size[0] * module.kernel_size[1]

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network(torch.zeros(1, file.config.representation.channels, height, width))
    return total * 1e-9


def matrix_gigaflops(n: int = 2048) -> float:
    """What a product of two large matrices reaches, operations a second · 10⁻⁹."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 * 1e-9 / min(seconds)


def channels_of(case: Case, representation: Representation) -> np.ndarray:
    return representation.of_events(case.events, case.sweep)


def error_of(run: Run, cases: list[Case], representation: Representation) -> float:
    """RMSE inside the sweep range, as a part of it; mean over the cases."""
    errors = []
    for case in cases:
        sweep = case.calibration.sweep
        position = (1 / case.truth - sweep.far_diopters) / sweep.range_diopters
        inside = (position >= 0) & (position <= 1)
        if inside.any():
            found = run(channels_of(case, representation))[0].clip(0, 1)
            errors.append(np.sqrt(np.mean((found - position)[inside] ** 2)))
    return float(np.mean(errors))


def _fitted(channels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Channels cut or filled up with nothing to a size."""
    out = np.zeros((len(channels), height, width), np.float32)
    part = channels[:, :height, :width]
    out[:, : part.shape[1], : part.shape[2]] = part
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=SHIPPED)
    parser.add_argument("--data", type=Path, help="dataset, or folder of recordings with depth")
    parser.add_argument("--cases", type=int, default=40)
    options = parser.parse_args()
    file = open_weights(options.weights)
    representation = file.config.representation
    cases = list(itertools.islice(find_cases(options.data), options.cases)) if options.data else []
    examples = [channels_of(case, representation) for case in cases]
    limit = matrix_gigaflops()
    table = Table(title=f"{options.weights.name}, {torch.get_num_threads()} threads; {limit:.0f} Gflop/s in float32")
    for column in ("engine", "frame", "ms", "against eager", "of the limit", "RMSE of range"):
        table.add_column(column, justify="left" if column == "engine" else "right")
    for width, height in SIZES:
        channels = _fitted(
            np.random.default_rng(0).poisson(0.2, (representation.channels, height, width)), height, width
        )
        runs = engines(file, height, width, examples)
        found, work = best_ms(runs, channels), gigaflops_of(file, height, width)
        same_size = [case for case in cases if case.truth.shape == (height, width)]
        for name, ms in found.items():
            error = f"{error_of(runs[name], same_size, representation):.4f}" if same_size else ""
            share = f"{100 * work / (ms * 1e-3) / limit:.0f} %"
            table.add_row(name, f"{width}×{height}", f"{ms:.1f}", f"{found['torch eager'] / ms:.1f}×", share, error)
    Console().print(table)


if __name__ == "__main__":
    main()
