"""The network on evidence as an OpenVINO graph, straight from its parameters: running it needs no torch.

It says once more, operation by operation, what `evidence_net.EvidenceNet.forward` says; a test holds both together.
Batch normalisations are folded into the convolutions before them.
"""

from collections.abc import Mapping

import numpy as np
import openvino
import openvino.opset13 as ops
from openvino import Node

from ..architecture import EvidenceConfig
from ..evidence import CANDIDATE_CHANNELS, CANDIDATES, HALF_CHANNELS, PIXEL_CHANNELS, QUARTER_CHANNELS

_ENERGY_GAIN = 4.0
_EPSILON = 1e-5  # of batch normalisation


def build_graph(
    config: EvidenceConfig, parameters: Mapping[str, np.ndarray], height: int, width: int
) -> openvino.Model:
    """The graph for frames of one size.

    Args:
        config: the network's shape.
        parameters: its parameters and batch statistics by name, float32.
        height: of the frame, pixels.
        width: of the frame, pixels.

    Returns:
        A model from (1, 8, C, h/2, w/2), (1, 6, C, h/4, w/4), (1, 5, h/4, w/4) and (1, 4, C) to scores
        (1, C, h/2, w/2), h and w padded to multiples of 4.
    """
    return _Builder(config, parameters, -(-height // 4), -(-width // 4)).model()


class _Builder:
    def __init__(self, config: EvidenceConfig, parameters: Mapping[str, np.ndarray], rows: int, columns: int) -> None:
        self.config, self.parameters = config, parameters
        self.rows, self.columns, self.count = rows, columns, len(CANDIDATES)

    def model(self) -> openvino.Model:
        count, rows, columns, thin = self.count, self.rows, self.columns, self.config.thin
        half = ops.parameter([1, HALF_CHANNELS, count, 2 * rows, 2 * columns], np.float32, "half")
        quarter = ops.parameter([1, QUARTER_CHANNELS, count, rows, columns], np.float32, "quarter")
        pixel = ops.parameter([1, PIXEL_CHANNELS, rows, columns], np.float32, "pixel")
        candidate = ops.parameter([1, CANDIDATE_CHANNELS, count], np.float32, "candidate")

        fine = _by_candidate(_logarithmic(half, 2, HALF_CHANNELS - 2))
        coarse = _by_candidate(_logarithmic(quarter, 2, QUARTER_CHANNELS - 2))
        scale, shift = self._norm("stem_norm")
        x = ops.add(
            self._convolution(fine, self._of("stem.weight") * scale[:, None, None, None], stride=2, padding=1),
            self._convolution(coarse, self._of("coarse.weight") * scale[:, None, None, None]),
        )
        about = self._convolution(
            _logarithmic(pixel, PIXEL_CHANNELS - 1, 1), self._of("pixel.weight") * scale[:, None, None, None]
        )
        weights = (self._of("candidate.weight") * scale[:, None]).T  # (4, thin)
        condition = ops.matmul(_transposed(candidate, (0, 2, 1)), ops.constant(weights), False, False)
        bias = (self._of("candidate.bias") * scale + shift).reshape(1, 1, thin)
        condition = _reshaped(ops.add(condition, ops.constant(bias)), (count, thin, 1, 1))
        x = ops.relu(ops.add(ops.add(x, about), condition))
        x = self._candidate_block(x, "near")

        wide = self._first(_reshaped(x, (1, count * thin, rows, columns)))
        skips = []
        depth = len(self.config.widths) - 1
        for level in range(depth):
            skips.append(wide)
            wide = self._block(wide, f"down.{level}", stride=2)
        for level in reversed(range(depth)):
            lifted = self._convolution(wide, self._of(f"lift.{level}.weight"))
            size = skips[level].get_output_shape(0)[2:]
            lifted = ops.interpolate(
                lifted, ops.constant(np.array(list(size), np.int64)), "linear_onnx", "sizes",
                coordinate_transformation_mode="half_pixel", axes=ops.constant(np.array([2, 3], np.int64)),
            )  # fmt: skip
            wide = self._block(ops.add(lifted, skips[level]), f"up.{level}")
        context = self._biased(wide, "spread")
        context = _reshaped(context, (count, thin, rows, columns))
        x = self._candidate_block(ops.relu(ops.add(x, context)), "join")

        enlarged = ops.depth_to_space(self._biased(x, "enlarge"), "depth_first", 2)
        last = ops.relu(ops.add(enlarged, self._biased(fine, "detail")))
        scores = _reshaped(self._biased(last, "score"), (1, count, 2 * rows, 2 * columns))
        inputs = [half, quarter, pixel, candidate]
        return openvino.Model([scores], inputs, "evidence")  # pyright: ignore[reportCallIssue]

    def _of(self, name: str) -> np.ndarray:
        return self.parameters[name].astype(np.float32)

    def _norm(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """Scale and shift of a batch normalisation."""
        scale = self._of(f"{name}.weight") / np.sqrt(self._of(f"{name}.running_var") + _EPSILON)
        return scale, self._of(f"{name}.bias") - scale * self._of(f"{name}.running_mean")

    def _convolution(
        self, x: Node, weights: np.ndarray, bias: np.ndarray | None = None, stride: int = 1, padding: int | None = None
    ) -> Node:
        pads = [size // 2 for size in weights.shape[2:]] if padding is None else [padding, padding]
        made = ops.convolution(x, ops.constant(np.ascontiguousarray(weights)), [stride] * 2, pads, pads, [1, 1])
        return made if bias is None else ops.add(made, ops.constant(bias.reshape(1, -1, 1, 1)))

    def _biased(self, x: Node, name: str) -> Node:
        return self._convolution(x, self._of(f"{name}.weight"), self._of(f"{name}.bias"))

    def _normed(self, x: Node, convolution: str, norm: str, stride: int = 1) -> Node:
        """A convolution without bias, then batch normalisation."""
        scale, shift = self._norm(norm)
        return self._convolution(x, self._of(f"{convolution}.weight") * scale[:, None, None, None], shift, stride)

    def _first(self, x: Node) -> Node:
        return self._block(ops.relu(self._normed(x, "gather.0", "gather.1")), "first")

    def _block(self, x: Node, name: str, stride: int = 1) -> Node:
        y = ops.relu(self._normed(x, f"{name}.one.0", f"{name}.one.1", stride))
        y = self._normed(y, f"{name}.two.0", f"{name}.two.1")
        if f"{name}.short.weight" in self.parameters:
            x = self._convolution(x, self._of(f"{name}.short.weight"), stride=stride)
        return ops.relu(ops.add(y, x))

    def _candidate_block(self, x: Node, name: str) -> Node:
        thin, space = self.config.thin, self.rows * self.columns
        y = ops.relu(self._normed(x, f"{name}.space.0", f"{name}.space.1"))
        y = _reshaped(_transposed(_reshaped(y, (self.count, thin, space)), (1, 0, 2)), (1, thin, self.count, space))
        y = self._normed(y, f"{name}.along", f"{name}.norm")
        y = _transposed(_reshaped(y, (thin, self.count, space)), (1, 0, 2))
        return ops.relu(ops.add(x, _reshaped(y, (self.count, thin, self.rows, self.columns))))


def _logarithmic(x: Node, energies: int, others: int) -> Node:
    """The first channels, which are energies, through log(1 + 4x)."""
    parts = ops.variadic_split(x, ops.constant(1), ops.constant(np.array([energies, others], np.int64)))
    grown = ops.add(ops.multiply(parts.output(0), ops.constant(np.float32(_ENERGY_GAIN))), ops.constant(np.float32(1)))
    return ops.concat([ops.log(grown).output(0), parts.output(1)], 1)


def _by_candidate(volume: Node) -> Node:
    """(1, K, C, h, w) → (C, K, h, w)."""
    _, channels, count, height, width = volume.get_output_shape(0)
    return _reshaped(_transposed(volume, (0, 2, 1, 3, 4)), (count, channels, height, width))


def _transposed(x: Node, order: tuple[int, ...]) -> Node:
    return ops.transpose(x, ops.constant(np.array(order, np.int64)))


def _reshaped(x: Node, shape: tuple[int, ...]) -> Node:
    return ops.reshape(x, ops.constant(np.array(shape, np.int64)), False)
