"""Inference time from the stack of a sweep to depth, by step and by engine of the network.

    ./run bench inference

All engines run in turn on the same inputs; the best of several rounds is printed. "of the limit" is the fraction of the
chip's speed: operations per second in the network's convolutions, relative to those of a large matrix product in single
precision in the same run; bfloat16 may exceed it. The filters are the part of the evidence that needs only one bin at a
time; every template covers the whole sweep.
"""

import argparse
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from sweepdepth import open_recording
from sweepdepth.capture.stack import EventFocalStack
from sweepdepth.capture.sweeps import Direction, Sweep
from sweepdepth.net.distribution import Distribution, normalised
from sweepdepth.net.engines.openvino import OpenVinoEngine
from sweepdepth.net.engines.torch import TorchEngine
from sweepdepth.net.evidence import BINS, make_evidence
from sweepdepth.net.evidence_kernel import pyramid
from sweepdepth.net.weights import SHIPPED, WeightsFile, load_module, open_weights
from sweepdepth.stream.demo import recording_path

SIZES = ((346, 260), (640, 480))
ROUNDS = 12
EVENTS_PER_PIXEL = 1.5


class PlainTorch:
    """The network in plain torch: eager, float32, default memory format."""

    def __init__(self, file: WeightsFile) -> None:
        self._network = load_module(file)

    @torch.inference_mode()
    def __call__(self, inputs: Sequence[np.ndarray]) -> np.ndarray:
        return self._network(*(torch.from_numpy(part[None]) for part in inputs))[0].numpy()


def best_ms(runs: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Milliseconds of each run, alternating, so that background load affects all equally."""
    for run in runs.values():
        run()
    times = {name: [] for name in runs}
    for _, (name, run) in itertools.product(range(ROUNDS), runs.items()):
        start = time.perf_counter()
        run()
        times[name].append(time.perf_counter() - start)
    return {name: 1e3 * min(seconds) for name, seconds in times.items()}


def gigaflops_of(file: WeightsFile, inputs: Sequence[np.ndarray]) -> float:
    """Operations of the network's convolutions, counting multiplications and additions separately."""
    total = 0
    network = load_module(file)

    def count(module: torch.nn.Conv2d, _inputs: Any, output: torch.Tensor) -> None:
        nonlocal total
        total += 2 * output.numel() * module.in_channels * module.kernel_size[0] * module.kernel_size[1]

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    with torch.inference_mode():
        network(*(torch.from_numpy(part[None]) for part in inputs))
    return total * 1e-9


def matrix_gigaflops(n: int = 2048) -> float:
    """Speed of a large matrix product, 10⁹ operations per second."""
    a, b = torch.randn(n, n), torch.randn(n, n)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        torch.mm(a, b)
        seconds.append(time.perf_counter() - start)
    return 2 * n**3 * 1e-9 / min(seconds)


def random_stack(width: int, height: int) -> EventFocalStack:
    """An interpolated stack with about as many events as a sweep over a textured scene."""
    with open_recording(recording_path()) as recording:
        calibration = recording.calibration
    assert calibration is not None
    camera = calibration.camera.model_copy(update={"width": width, "height": height, "cx": width / 2, "cy": height / 2})
    calibration = calibration.model_copy(update={"camera": camera, "breathing": None})
    stack = EventFocalStack.empty(Sweep(0, 200_000, Direction.FAR_TO_NEAR, calibration), BINS, "interpolated")
    random = np.random.default_rng(0)
    counts = random.poisson(EVENTS_PER_PIXEL / BINS, stack.data.shape)
    stack.data[:] = counts * random.choice(np.array([-1.0, 1.0], np.float32), stack.data.shape)
    return stack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", type=Path, default=SHIPPED, help="of a network on evidence")
    options = parser.parse_args()
    file = open_weights(options.weights)
    limit = matrix_gigaflops()
    table = Table(title=f"{options.weights.name}, {torch.get_num_threads()} threads; {limit:.0f} Gflop/s in float32")
    for column in ("step", "frame", "ms", "against eager", "of the limit"):
        table.add_column(column, justify="left" if column == "step" else "right")
    for width, height in SIZES:
        stack = random_stack(width, height)
        evidence = make_evidence(stack)
        inputs = evidence.half, evidence.quarter, evidence.pixel, evidence.candidate
        engines: dict[str, Any] = {
            "torch eager": PlainTorch(file),
            "torch, channels last": TorchEngine(file, "cpu"),
            "OpenVINO": OpenVinoEngine(file, height, width),
        }
        if torch.cuda.is_available():
            engines["torch cuda"] = TorchEngine(file, "cuda")
        scores = engines["OpenVINO"](inputs).copy()
        runs: dict[str, Callable[[], Any]] = {
            "evidence": lambda stack=stack: make_evidence(stack),
            "of it the filters, one thread": lambda stack=stack: list(pyramid(stack.data)),
            **{name: (lambda run=run, inputs=inputs: run(inputs)) for name, run in engines.items()},
            "distribution to depth": lambda scores=scores, size=(height, width): Distribution(
                normalised(scores), size
            ).read(),
        }
        found, work = best_ms(runs), gigaflops_of(file, inputs)
        for name, ms in found.items():
            engine = name in engines
            table.add_row(
                name,
                f"{width}×{height}",
                f"{ms:.1f}",
                f"{found['torch eager'] / ms:.1f}×" if engine else "",
                f"{100 * work / (ms * 1e-3) / limit:.0f} %" if engine else "",
            )
        whole = found["evidence"] + found["OpenVINO"] + found["distribution to depth"]
        table.add_row("evidence to depth", f"{width}×{height}", f"{whole:.1f}", "", "")
    Console().print(table)


if __name__ == "__main__":
    main()
