"""Loss functions, and decoding of outputs: distributions over candidates, or positions with variance."""

import numpy as np
import torch
from torch import Tensor

from ..distribution import moments, normalised
from ..evidence import CANDIDATES

BETA = 1.0
"""Exponent of the variance in the weight of a pixel's likelihood (β-NLL), so that uncertain pixels are still fitted
(Seitzer et al., "On the pitfalls of heteroscedastic uncertainty estimation with probabilistic neural networks", ICLR
2022)."""

RANKED_WEIGHT = 16.0
"""Weight of a distribution's ranked probability score, relative to its cross-entropy."""


def position_loss(
    prediction: Tensor,  # (N, 1 or 2, H, W): position, log variance
    position: Tensor,  # (N, H, W): true position in the range, 0 far and 1 near; outside [0, 1] beyond its ends
    weight: Tensor,  # (N, H, W)
) -> Tensor:
    """Mean loss of a U-Net's output. Beyond the range, the target is its end, and the deviation covers the rest.

    With one channel it is the squared error, otherwise the β-weighted negative log likelihood.
    """
    nearest = position.clamp(0, 1)
    error = (prediction[:, 0] - nearest) ** 2
    if prediction.shape[1] == 1:
        loss = error
    else:
        log_variance = prediction[:, 1]
        error = error + (position.clamp(-0.5, 1.5) - nearest) ** 2
        loss = 0.5 * (error * torch.exp(-log_variance) + log_variance)
        loss = loss * torch.exp(BETA * log_variance.detach())
    return (loss * weight).sum() / weight.sum().clamp(min=1.0)


def distribution_loss(
    scores: Tensor,  # (N, C, H/2, W/2), frames padded to multiples of 4
    position: Tensor,  # (N, H, W), in the order of the candidates
    weight: Tensor,  # (N, H, W)
) -> Tensor:
    """Cross-entropy to the two candidates around the truth, and the continuous ranked probability score.

    Cross-entropy makes distributions sharp; the score, E|X − y| − E|X − X′| / 2, is the mean absolute error of a
    distribution and says how far off a wrong candidate is (Gneiting and Raftery, "Strictly proper scoring rules,
    prediction, and estimation", JASA 2007, eq. 21). Blocks of 2×2 pixels share a distribution, and the loss is computed
    for each pixel.
    """
    at = torch.from_numpy(CANDIDATES).to(scores.device)
    step = at[1] - at[0]
    likely = scores.float().log_softmax(1)
    position, weight = (_by_four(image, scores.shape[-2:]) for image in (position, weight))
    position = position.clamp(float(at[0]), float(at[-1]))
    place = (position - at[0]) / step
    lower = place.floor().clamp(0, len(at) - 2).long()
    share = place - lower
    entropy = -((1 - share) * likely.gather(1, lower) + share * likely.gather(1, lower + 1))
    probability = likely.exp()
    below = probability.cumsum(1)
    spread = step * (below * (1 - below)).sum(1, keepdim=True)  # E|X − X′| / 2
    distance = torch.stack(
        [(probability * (at[:, None, None] - y[:, None]).abs()).sum(1) for y in position.unbind(1)], dim=1
    )
    loss = entropy + RANKED_WEIGHT * (distance - spread)
    return (loss * weight).sum() / weight.sum().clamp(min=1.0)


def read_distribution(scores: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Trimmed mean of the position inside the range and deviation of distributions, (N, H, W) each.

    Each is the same for the 2×2 pixels that share a distribution.
    """
    read = [moments(normalised(one), CANDIDATES) for one in scores.float().cpu().numpy()]
    position, deviation = (torch.from_numpy(np.stack(part)).to(scores.device) for part in zip(*read, strict=True))
    return _enlarged(position, size), _enlarged(deviation, size)


def _by_four(image: Tensor, half: tuple[int, ...] | torch.Size) -> Tensor:
    """(N, H, W) → (N, 4, H/2, W/2), zero-padded like the frame."""
    bottom, right = 2 * half[0] - image.shape[-2], 2 * half[1] - image.shape[-1]
    image = torch.nn.functional.pad(image, (0, right, 0, bottom))
    return torch.nn.functional.pixel_unshuffle(image[:, None], 2)


def _enlarged(image: Tensor, size: tuple[int, int]) -> Tensor:
    return image.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., : size[0], : size[1]]
