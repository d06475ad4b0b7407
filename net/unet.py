"""U-Nets from the channels of a `Representation` to each pixel's position in the sweep range."""

import math
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..capture.files.photographs import PLANS
from .architecture import UNetConfig
from .representation import CONDITIONS, TYPICAL_BLUR_PX

LOG_VARIANCE = (-9.0, 1.0)
"""Bounds on the predicted log variance: deviations from 1 % to 165 % of the range."""

_WIDTH_UNIT_PX = 4.0
"""Scale of the predicted blur widths, so that outputs are near 1."""


class DepthNet(nn.Module):
    """U-Net of residual blocks; the input is padded to a multiple of its downsampling, and the output cropped."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        channels, widths = config.representation.channels, config.widths
        outputs = {"position": 1 + config.probabilistic, "distribution": config.representation.bins, "blur": 3}
        if config.stem == 1:
            self.stem = _convolution(channels, widths[0], 3)
        else:
            self.stem = _convolution(channels, widths[0], 4, stride=2, padding=1)
        self.first = Block(widths[0], widths[0])
        self.down = nn.ModuleList(Block(a, b, stride=2) for a, b in pairwise(widths))
        self.lift = nn.ModuleList(nn.Conv2d(b, a, 1, bias=False) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Block(2 * a, a) for a in widths[:-1])
        self.head = nn.Conv2d(widths[0], outputs[config.answer] * config.stem**2, 1)
        nn.init.zeros_(self.head.weight)
        assert self.head.bias is not None
        nn.init.zeros_(self.head.bias)

    @property
    def multiple(self) -> int:
        """Frames are padded to multiples of this many pixels."""
        return self.config.stem * 2 ** (len(self.config.widths) - 1)

    def forward(self, channels: Tensor) -> Tensor:  # (N, C, H, W)
        """(N, 1 or 2, H, W): position in the range, 0 far to 1 near, and log variance."""
        height, width = channels.shape[-2:]
        bottom, right = -height % self.multiple, -width % self.multiple
        x = self.first(self.stem(functional.pad(channels, (0, right, 0, bottom))))
        skips = []
        for block in self.down:
            skips.append(x)
            x = block(x)
        for lift, block, skip in zip(reversed(self.lift), reversed(self.up), reversed(skips), strict=True):
            x = functional.interpolate(lift(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], dim=1))
        out = functional.pixel_shuffle(self.head(x), self.config.stem)[..., :height, :width]
        if self.config.answer == "distribution":
            return _moments(functional.softplus(out) + 1e-4)
        if self.config.answer == "blur":
            range_px = TYPICAL_BLUR_PX * torch.exp(math.log(2) * channels[:, -CONDITIONS : 1 - CONDITIONS])
            return torch.cat([_from_blur(out[:, :2], range_px), _bounded(out[:, 2:])], dim=1)
        position = out[:, :1] + 0.5
        return torch.cat([position, _bounded(out[:, 1:])], dim=1) if self.config.probabilistic else position


def _bounded(raw: Tensor) -> Tensor:
    low, high = LOG_VARIANCE
    return low + (high - low) * torch.sigmoid(raw)


def _moments(weights: Tensor) -> Tensor:  # (N, K, H, W), positive
    """Mean position and log variance of distributions over positions evenly spaced in the range (in EDFV, NeurIPS 2025,
    in depth)."""
    probable = weights / weights.sum(1, keepdim=True)
    at = torch.linspace(0, 1, weights.shape[1], device=weights.device, dtype=weights.dtype)[:, None, None]
    mean = (probable * at).sum(1, keepdim=True)
    variance = (probable * (at - mean) ** 2).sum(1, keepdim=True)
    low, high = LOG_VARIANCE
    return torch.cat([mean, variance.clamp(math.exp(low), math.exp(high)).log()], dim=1)


def _from_blur(raw: Tensor, range_px: Tensor) -> Tensor:  # (N, 2, H, W), (N, 1, H, W)
    """Position from the blur widths of a pair of images in pixels.

    A surface at x is blurred by sᵢ = B·|pᵢ − x|, pᵢ being the focus of image i and B the blur over the whole range; so
    s₁² − s₂² = B²·(p₁ − p₂)·(p₁ + p₂ − 2x), whatever the signs.
    """
    (first, _), (second, _) = PLANS["focus_pair"]
    one, two = (_WIDTH_UNIT_PX * functional.softplus(raw)).square().split(1, dim=1)
    position = (first + second) / 2 - (one - two) / (2 * range_px**2 * (first - second))
    return position.clamp(-0.5, 1.5)


class Block(nn.Module):
    """Two convolutions with a residual connection (He et al., CVPR 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.one = _convolution(inputs, outputs, 3, stride=stride)
        self.two = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        self.stride = stride
        same = inputs == outputs and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # A 1×1 convolution with a stride, in channels-last order, writes beyond its memory in oneDNN's backward pass on
        # processors with AVX2 (torch 2.13), so the input is thinned out instead.
        thinned = x[..., :: self.stride, :: self.stride]
        return functional.relu(self.two(self.one(x)) + self.short(thinned))


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1, padding: int | None = None) -> nn.Sequential:
    padding = size // 2 if padding is None else padding
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )
