"""The network on evidence: a U-Net with weights shared by all candidates and convolutions along them.

    half, quarter, pixel, candidate ─ stem ─ blocks ─────────────────────── + ─ block ─ scores of every candidate,
                                              └─ halved ─ blocks ─ … ─ block ─┘         (C, H/2, W/2): a distribution

Each block convolves over space, with the same weights for every candidate, and then along the candidates. So the
response to focus is the same everywhere in the sweep, and priors on scenes (walls are far) enter only through one
input, the candidate's position. The coarser levels have a large receptive field, and complete surfaces without events
from their surroundings.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from .architecture import EvidenceConfig
from .evidence import CANDIDATE_CHANNELS, HALF_CHANNELS, PIXEL_CHANNELS, QUARTER_CHANNELS

_RAW_ENERGIES_HALF, _RAW_ENERGIES_QUARTER = 2, 2
_ENERGY_GAIN = 4.0


class EvidenceNet(nn.Module):
    """Computes scores of the candidates from the four parts of an `Evidence`."""

    def __init__(self, config: EvidenceConfig) -> None:
        super().__init__()
        self.config = config
        widths, fine = config.widths, config.fine
        first = widths[0]
        self.stem = nn.Conv2d(HALF_CHANNELS, first, 4, stride=2, padding=1, bias=False)
        self.coarse = nn.Conv2d(QUARTER_CHANNELS, first, 1, bias=False)
        self.pixel = nn.Conv2d(PIXEL_CHANNELS, first, 1, bias=False)
        self.candidate = nn.Linear(CANDIDATE_CHANNELS, first)
        self.stem_norm = nn.BatchNorm2d(first)
        self.down = nn.ModuleList(_halving(a, b) for a, b in pairwise(widths))
        levels = list(zip(widths, config.blocks, config.reach, strict=True))
        self.encode = nn.ModuleList(nn.ModuleList(CandidateBlock(w, r) for _ in range(n)) for w, n, r in levels)
        self.lift = nn.ModuleList(nn.Conv2d(b, a, 1, bias=False) for a, b in pairwise(widths))
        self.decode = nn.ModuleList(CandidateBlock(w, r) for w, _, r in levels[:-1])
        self.mix = nn.Conv2d(first, fine, 1)
        self.detail = nn.Conv2d(HALF_CHANNELS, fine, 2, stride=2, bias=False)
        self.score = nn.Conv2d(fine, 4, 1)

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
        about = self.pixel(pixel)[:, None] + self.candidate(candidate.float().transpose(1, 2))[..., None, None]
        x = functional.relu(self.stem_norm(self.stem(half) + self.coarse(quarter) + about.flatten(0, 1)))
        skips = []
        for level, blocks in enumerate(self.encode):
            x = self.down[level - 1](_even(x)) if level else x
            for block in blocks:  # pyright: ignore[reportGeneralTypeIssues]
                x = block(x, count)
            skips.append(x)
        x = skips.pop()
        for lift, block, skip in zip(reversed(self.lift), reversed(self.decode), reversed(skips), strict=True):
            lifted = functional.interpolate(lift(x), scale_factor=2.0, mode="bilinear", align_corners=False)
            x = block(lifted[..., : skip.shape[-2], : skip.shape[-1]] + skip, count)
        fine = functional.relu(self.mix(x) + self.detail(half))
        return functional.pixel_shuffle(self.score(fine), 2).unflatten(0, (samples, count)).squeeze(2)


class CandidateBlock(nn.Module):
    """Residual block: 3×3 over space with shared weights, then `reach` neighbours along the candidates."""

    def __init__(self, width: int, reach: int) -> None:
        super().__init__()
        self.space = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.space_norm = nn.BatchNorm2d(width)
        self.along = nn.Conv2d(width, width, (reach, 1), padding=(reach // 2, 0), bias=False)
        self.along_norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor, count: int) -> Tensor:  # (N·C, width, h, w)
        height, width = x.shape[-2:]
        y = (
            functional.relu(self.space_norm(self.space(x))).unflatten(0, (-1, count)).transpose(1, 2).flatten(3)
        )  # (N, width, C, h·w)
        y = self.along_norm(self.along(y)).unflatten(3, (height, width)).transpose(1, 2).flatten(0, 1)
        return functional.relu(x + y)


def _halving(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 2, stride=2, bias=False), nn.BatchNorm2d(outputs), nn.ReLU(inplace=True)
    )


def _even(x: Tensor) -> Tensor:
    """Pad odd numbers of rows and columns with zeros."""
    bottom, right = x.shape[-2] % 2, x.shape[-1] % 2
    return functional.pad(x, (0, right, 0, bottom)) if bottom or right else x


def _logarithmic(x: Tensor, energies: int) -> Tensor:
    """Apply log(1 + 4x) to the first channels, which are energies, to compress their range."""
    x = x.float()
    return torch.cat([torch.log1p(_ENERGY_GAIN * x[:, :energies]), x[:, energies:]], dim=1)


def _by_candidate(volume: Tensor) -> Tensor:
    """(N, K, C, h, w) → (N·C, K, h, w)."""
    return volume.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
