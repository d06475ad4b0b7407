"""The network on evidence: the same for every candidate, with a U-Net over all of them for what is far away.

    half, quarter ─ stem ─ block ─┬───────────────── + ─ block ─ score of every candidate
    (the same weights for every   └─ all candidates ─ U-Net ─┘   (C, H/2, W/2): a distribution
     candidate)                      side by side

The path that all candidates share knows what focus looks like, wherever in the sweep it happens. The U-Net sees far:
it completes surfaces without events from what surrounds them.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from .architecture import EvidenceConfig
from .evidence import CANDIDATE_CHANNELS, CANDIDATES, HALF_CHANNELS, PIXEL_CHANNELS, QUARTER_CHANNELS

_RAW_ENERGIES_HALF, _RAW_ENERGIES_QUARTER = 2, 2
_ENERGY_GAIN = 4.0


class EvidenceNet(nn.Module):
    """Scores of the candidates from the four parts of an `Evidence`."""

    def __init__(self, config: EvidenceConfig) -> None:
        super().__init__()
        self.config = config
        count, thin, widths = len(CANDIDATES), config.thin, config.widths
        self.stem = nn.Conv2d(HALF_CHANNELS, thin, 4, stride=2, padding=1, bias=False)
        self.coarse = nn.Conv2d(QUARTER_CHANNELS, thin, 1, bias=False)
        self.pixel = nn.Conv2d(PIXEL_CHANNELS, thin, 1, bias=False)
        self.candidate = nn.Linear(CANDIDATE_CHANNELS, thin)
        self.stem_norm = nn.BatchNorm2d(thin)
        self.near = CandidateBlock(thin)
        self.gather = _convolution(count * thin, widths[0], 1)
        self.first = Block(widths[0], widths[0])
        self.down = nn.ModuleList(Block(a, b, stride=2) for a, b in pairwise(widths))
        self.lift = nn.ModuleList(nn.Conv2d(b, a, 1, bias=False) for a, b in pairwise(widths))
        self.up = nn.ModuleList(Block(a, a) for a in widths[:-1])
        self.spread = nn.Conv2d(widths[0], count * thin, 1)
        self.join = CandidateBlock(thin)
        self.enlarge = nn.Conv2d(thin, 4 * config.fine, 1)
        self.detail = nn.Conv2d(HALF_CHANNELS, config.fine, 1)
        self.score = nn.Conv2d(config.fine, 1, 1)

    def forward(self, half: Tensor, quarter: Tensor, pixel: Tensor, candidate: Tensor) -> Tensor:
        """Scores (logits).

        Args:
            half: (N, 8, C, H/2, W/2), as `Evidence.half`.
            quarter: (N, 6, C, H/4, W/4).
            pixel: (N, 5, H/4, W/4).
            candidate: (N, 4, C).

        Returns:
            (N, C, H/2, W/2); their softmax is the distribution over the candidates.
        """
        samples, _, count = half.shape[:3]
        half = _by_candidate(_logarithmic(half, _RAW_ENERGIES_HALF))
        quarter = _by_candidate(_logarithmic(quarter, _RAW_ENERGIES_QUARTER))
        pixel = _logarithmic(pixel, PIXEL_CHANNELS - 1)
        x = self.stem(half) + self.coarse(quarter)
        about = self.pixel(pixel)[:, None] + self.candidate(candidate.float().transpose(1, 2))[..., None, None]
        x = functional.relu(self.stem_norm(x + about.flatten(0, 1)))
        x = self.near(x, count)

        wide = self.first(self.gather(x.unflatten(0, (samples, count)).flatten(1, 2)))
        skips = []
        for block in self.down:
            skips.append(wide)
            wide = block(wide)
        for lift, block, skip in zip(reversed(self.lift), reversed(self.up), reversed(skips), strict=True):
            lifted = functional.interpolate(lift(wide), size=skip.shape[-2:], mode="bilinear", align_corners=False)
            wide = block(lifted + skip)
        context = self.spread(wide).unflatten(1, (count, -1)).flatten(0, 1)
        x = self.join(functional.relu(x + context), count)

        fine = functional.relu(functional.pixel_shuffle(self.enlarge(x), 2) + self.detail(half))
        return self.score(fine).unflatten(0, (samples, count)).squeeze(2)


class CandidateBlock(nn.Module):
    """Residual: 3×3 over space for every candidate alike, then three neighbours along the candidates."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.space = _convolution(width, width, 3)
        self.along = nn.Conv2d(width, width, (3, 1), padding=(1, 0), bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor, count: int) -> Tensor:  # (N·C, width, h, w)
        height, width = x.shape[-2:]
        y = self.space(x).unflatten(0, (-1, count)).transpose(1, 2).flatten(3)  # (N, width, C, h·w)
        y = self.norm(self.along(y)).unflatten(3, (height, width)).transpose(1, 2).flatten(0, 1)
        return functional.relu(x + y)


class Block(nn.Module):
    """Two convolutions with a residual connection (He et al., CVPR 2016)."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1) -> None:
        super().__init__()
        self.one = _convolution(inputs, outputs, 3, stride)
        self.two = nn.Sequential(nn.Conv2d(outputs, outputs, 3, padding=1, bias=False), nn.BatchNorm2d(outputs))
        same = inputs == outputs and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.two(self.one(x)) + self.short(x))


def _convolution(inputs: int, outputs: int, size: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, size, stride=stride, padding=size // 2, bias=False),
        nn.BatchNorm2d(outputs),
        nn.ReLU(inplace=True),
    )


def _logarithmic(x: Tensor, energies: int) -> Tensor:
    """The first channels, which are energies, through log(1 + 4x): single events and floods of them in one scale."""
    x = x.float()
    return torch.cat([torch.log1p(_ENERGY_GAIN * x[:, :energies]), x[:, energies:]], dim=1)


def _by_candidate(volume: Tensor) -> Tensor:
    """(N, K, C, h, w) → (N·C, K, h, w)."""
    return volume.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
