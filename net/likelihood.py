"""What training minimises: a Gaussian likelihood of positions in the sweep range, or their squared error."""

import torch
from torch import Tensor

BETA = 1.0
"""Weight of a pixel's likelihood by its variance to this power: keeps uncertain pixels from being given up (Seitzer
et al., "On the pitfalls of heteroscedastic uncertainty estimation with probabilistic neural networks", ICLR 2022)."""


def training_loss(
    prediction: Tensor,  # (N, 1 or 2, H, W): position, log variance
    position: Tensor,  # (N, H, W): true position in the range, 0 far and 1 near; outside [0, 1] beyond its ends
    weight: Tensor,  # (N, H, W)
) -> Tensor:
    """Mean loss over all pixels. Beyond the range the right answer is its end, and the deviation covers what is beyond.

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
