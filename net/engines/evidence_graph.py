"""Builds the network on evidence as an OpenVINO graph from its parameters, without torch.

It reproduces `evidence_net.EvidenceNet.forward` operation by operation; a test compares the two. Batch normalisations
are folded into the preceding convolutions. All convolutions are three-dimensional, over candidates, rows and columns,
with size 1 along some axes, so that no transposes are needed between spatial convolutions and those along candidates.
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
    """Build the graph for one frame size.

    Args:
        config: the network's configuration.
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
        count, rows, columns = self.count, self.rows, self.columns
        half = ops.parameter([1, HALF_CHANNELS, count, 2 * rows, 2 * columns], np.float32, "half")
        quarter = ops.parameter([1, QUARTER_CHANNELS, count, rows, columns], np.float32, "quarter")
        pixel = ops.parameter([1, PIXEL_CHANNELS, rows, columns], np.float32, "pixel")
        candidate = ops.parameter([1, CANDIDATE_CHANNELS, count], np.float32, "candidate")

        fine = _logarithmic(half, 2, HALF_CHANNELS - 2)
        coarse = _logarithmic(quarter, 2, QUARTER_CHANNELS - 2)
        scale, shift = self._norm("stem_norm")
        x = ops.add(
            self._convolution(fine, _scaled(self._of("stem.weight"), scale), stride=2, padding=1),
            self._convolution(coarse, _scaled(self._of("coarse.weight"), scale)),
        )
        flat = _reshaped(_logarithmic(pixel, PIXEL_CHANNELS - 1, 1), (1, PIXEL_CHANNELS, 1, rows, columns))
        about = self._convolution(flat, _scaled(self._of("pixel.weight"), scale))
        condition = self._convolution(
            _reshaped(candidate, (1, CANDIDATE_CHANNELS, count, 1, 1)),
            _scaled(self._of("candidate.weight")[:, :, None, None], scale),
            self._of("candidate.bias") * scale + shift,
        )
        x = ops.relu(ops.add(x, ops.add(about, condition)))

        skips = []
        for level, blocks in enumerate(self.config.blocks):
            x = self._halved(x, f"down.{level - 1}") if level else x
            for number in range(blocks):
                x = self._block(x, f"encode.{level}.{number}")
            skips.append(x)
        x = skips.pop()
        for level in reversed(range(len(skips))):
            x = self._block(self._lifted(x, skips[level], f"lift.{level}"), f"decode.{level}")
        detail = self._convolution(fine, self._of("detail.weight"), stride=2, padding=0)
        last = ops.relu(ops.add(self._biased(x, "mix"), detail))
        scores = _reshaped(self._biased(last, "score"), (4, count, rows, columns))
        scores = ops.depth_to_space(_transposed(scores, (1, 0, 2, 3)), "depth_first", 2)
        scores = _reshaped(scores, (1, count, 2 * rows, 2 * columns))
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
        """Convolution over rows and columns, the same for every candidate."""
        pads = [0, *(size // 2 if padding is None else padding for size in weights.shape[2:])]
        return self._general(x, weights[:, :, None], bias, [1, stride, stride], pads, pads)

    def _general(
        self,
        x: Node,
        weights: np.ndarray,  # (outputs, inputs, candidates, rows, columns)
        bias: np.ndarray | None,
        strides: list[int],
        begin: list[int],
        end: list[int],
    ) -> Node:
        made = ops.convolution(x, ops.constant(np.ascontiguousarray(weights)), strides, begin, end, [1, 1, 1])
        return made if bias is None else ops.add(made, ops.constant(bias.reshape(1, -1, 1, 1, 1)))

    def _biased(self, x: Node, name: str) -> Node:
        return self._convolution(x, self._of(f"{name}.weight"), self._of(f"{name}.bias"))

    def _halved(self, x: Node, name: str) -> Node:
        scale, shift = self._norm(f"{name}.1")
        height, width = _size(x)
        weights = _scaled(self._of(f"{name}.0.weight"), scale)[:, :, None]
        return ops.relu(self._general(x, weights, shift, [1, 2, 2], [0, 0, 0], [0, height % 2, width % 2]))

    def _lifted(self, x: Node, skip: Node, name: str) -> Node:
        """Upsample a level's output and combine it with the skip connection."""
        (height, width), (rows, columns) = _size(x), _size(skip)
        x = ops.interpolate(
            self._convolution(x, self._of(f"{name}.weight")),
            ops.constant(np.array([self.count, 2 * height, 2 * width], np.int64)),
            "linear_onnx",
            "sizes",
            coordinate_transformation_mode="half_pixel",
            axes=ops.constant(np.array([2, 3, 4], np.int64)),
        )
        if (2 * height, 2 * width) != (rows, columns):
            ends, axes = np.array([rows, columns], np.int64), np.array([3, 4], np.int64)
            start, step = np.zeros(2, np.int64), np.ones(2, np.int64)
            x = ops.slice(x, *(ops.constant(part) for part in (start, ends, step, axes)))
        return ops.add(x, skip)

    def _block(self, x: Node, name: str) -> Node:
        scale, shift = self._norm(f"{name}.space_norm")
        y = ops.relu(self._convolution(x, _scaled(self._of(f"{name}.space.weight"), scale), shift))
        scale, shift = self._norm(f"{name}.along_norm")
        weights = _scaled(self._of(f"{name}.along.weight"), scale)[..., None]  # (outputs, inputs, reach, 1, 1)
        reach = [weights.shape[2] // 2, 0, 0]
        return ops.relu(ops.add(x, self._general(y, weights, shift, [1, 1, 1], reach, reach)))


def _scaled(weights: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Scale a convolution's weights by a factor per output."""
    return weights * scale.reshape(-1, *(1,) * (weights.ndim - 1))


def _size(x: Node) -> tuple[int, int]:
    """Height and width of (1, K, C, h, w)."""
    height, width = list(x.get_output_shape(0))[3:]
    return height, width


def _logarithmic(x: Node, energies: int, others: int) -> Node:
    """Apply log(1 + 4x) to the first channels, which are energies."""
    parts = ops.variadic_split(x, ops.constant(1), ops.constant(np.array([energies, others], np.int64)))
    grown = ops.add(ops.multiply(parts.output(0), ops.constant(np.float32(_ENERGY_GAIN))), ops.constant(np.float32(1)))
    return ops.concat([ops.log(grown).output(0), parts.output(1)], 1)


def _transposed(x: Node, order: tuple[int, ...]) -> Node:
    return ops.transpose(x, ops.constant(np.array(order, np.int64)))


def _reshaped(x: Node, shape: tuple[int, ...]) -> Node:
    return ops.reshape(x, ops.constant(np.array(shape, np.int64)), False)
