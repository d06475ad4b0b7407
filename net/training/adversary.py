"""Adversarial loss: a discriminator of true and estimated depth maps.

Goodfellow et al., "Generative adversarial nets", NIPS 2014, on patches (Isola et al., CVPR 2017). The gradient is
reversed between the two networks (Ganin and Lempitsky, ICML 2015), so one optimizer trains both.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Adversary(nn.Module):
    """Patch discriminator: depth map and image in, logits of being the true depth out, for patches of about 30 px."""

    def __init__(self, weight: float, width: int = 32) -> None:
        super().__init__()
        self.weight = weight
        self.judge = nn.Sequential(
            nn.Conv2d(2, width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, stride=2, padding=1),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 1, 4, padding=1),
        )

    def forward(self, found: Tensor, true: Tensor, image: Tensor) -> Tensor:
        """The discriminator's loss; its gradient with respect to `found` is reversed and multiplied by `weight`.

        Args:
            found: (N, H, W) estimated positions in the range.
            true: (N, H, W) true positions.
            image: (N, H, W) first input channel.

        Returns:
            Scalar.
        """
        judgements = [self.judge(torch.stack([depth, image], 1)) for depth in (true, _reversed(found, self.weight))]
        return sum(
            (
                functional.binary_cross_entropy_with_logits(out, torch.full_like(out, truth))
                for out, truth in zip(judgements, (1.0, 0.0), strict=True)
            ),
            torch.zeros((), device=found.device),
        )


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, weight: float) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.weight = weight
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        return -ctx.weight * gradient, None


def _reversed(value: Tensor, weight: float) -> Tensor:
    return _Reversal.apply(value, weight)  # pyright: ignore[reportReturnType]
