"""What training minimises, and what an output says: distributions over candidates, or positions with their variance."""

import torch
from torch import Tensor

from ..evidence import CANDIDATES

BETA = 1.0
"""Weight of a pixel's likelihood by its variance to this power: keeps uncertain pixels from being given up (Seitzer
et al., "On the pitfalls of heteroscedastic uncertainty estimation with probabilistic neural networks", ICLR 2022)."""

SQUARED_ERROR_WEIGHT = 8.0
"""Of the squared error of a distribution's mean, beside its cross-entropy."""


def position_loss(
    prediction: Tensor,  # (N, 1 or 2, H, W): position, log variance
    position: Tensor,  # (N, H, W): true position in the range, 0 far and 1 near; outside [0, 1] beyond its ends
    weight: Tensor,  # (N, H, W)
) -> Tensor:
    """Mean loss of a U-Net's output. Beyond the range the right answer is its end, and the deviation covers what is
    beyond.

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
    """Cross-entropy to the two candidates about the truth, and the squared error of the mean inside the range.

    Each 2×2 pixels share a distribution, and are asked of it one by one.
    """
    at = torch.from_numpy(CANDIDATES).to(scores.device)
    likely = scores.float().log_softmax(1)
    position, weight = (_by_four(image, scores.shape[-2:]) for image in (position, weight))
    place = (position.clamp(float(at[0]), float(at[-1])) - at[0]) / (at[1] - at[0])
    lower = place.floor().clamp(0, len(at) - 2).long()
    share = place - lower
    entropy = -((1 - share) * likely.gather(1, lower) + share * likely.gather(1, lower + 1))
    mean = torch.einsum("nchw,c->nhw", likely.exp(), at.clamp(0, 1))[:, None]
    loss = entropy + SQUARED_ERROR_WEIGHT * (mean - position.clamp(0, 1)) ** 2
    return (loss * weight).sum() / weight.sum().clamp(min=1.0)


def read_distribution(scores: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Mean position inside the range and deviation of distributions, (N, H, W) each, the same for each 2×2 pixels."""
    at = torch.from_numpy(CANDIDATES).to(scores.device).clamp(0, 1)
    likely = scores.float().softmax(1)
    mean = torch.einsum("nchw,c->nhw", likely, at)
    deviation = (torch.einsum("nchw,c->nhw", likely, at**2) - mean**2).clamp(min=1e-6).sqrt()
    return _enlarged(mean, size), _enlarged(deviation, size)


def _by_four(image: Tensor, half: tuple[int, ...] | torch.Size) -> Tensor:
    """(N, H, W) → (N, 4, H/2, W/2), padded by zeros where the frame was."""
    bottom, right = 2 * half[0] - image.shape[-2], 2 * half[1] - image.shape[-1]
    image = torch.nn.functional.pad(image, (0, right, 0, bottom))
    return torch.nn.functional.pixel_unshuffle(image[:, None], 2)


def _enlarged(image: Tensor, size: tuple[int, int]) -> Tensor:
    return image.repeat_interleave(2, -2).repeat_interleave(2, -1)[..., : size[0], : size[1]]
