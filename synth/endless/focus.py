"""Focal stacks: the views of a light field, shifted and added for every focus, as one convolution."""

import torch
from torch import Tensor
from torch.nn import functional

from ..refocus import BLEND
from .lens import FOCUS_SAMPLES, Lens
from .rays import aperture


def refocus_views(
    views: Tensor,  # (B, K, H + 2·margin, W + 2·margin)
    lens: Lens,
    margin: int,
) -> Tensor:
    """(B, F, H, W): images at even steps of the sweep, without breathing. See `refocus`, which says the same."""
    offsets, jitter = aperture(views.device)
    steps = torch.linspace(0, 1, FOCUS_SAMPLES, device=views.device)
    shift = lens.blur_px[:, None, None, None] * offsets * (steps[:, None, None] - 0.5) + jitter  # (B, F, K, 2)
    at = margin - shift
    sample = at.floor()
    share = ((at - sample - 0.5) / BLEND + 0.5).clamp(0, 1)
    tap = torch.arange(2 * margin + 1, device=views.device)
    near = tap == sample[..., None].long()
    weight = near * (1 - share[..., None]) + (tap == sample[..., None].long() + 1) * share[..., None]
    across, down = weight[..., 0, :], weight[..., 1, :]  # (B, F, K, taps)
    kind = torch.float16 if views.device.type == "cuda" else torch.float32
    kernel = (down[..., :, None] * across[..., None, :] / views.shape[1]).to(kind)
    return torch.cat([functional.conv2d(one[None], k) for one, k in zip(views.to(kind), kernel, strict=True)])


def breathe(
    stack: Tensor,  # (B, F, H + 2·pad, W + 2·pad)
    lens: Lens,
    pad: int,
) -> Tensor:
    """(B, F, H, W): magnified about its centre as the lens breathes."""
    b, f, tall, wide = stack.shape
    height, width = tall - 2 * pad, wide - 2 * pad
    magnification = 1 + lens.breathing[:, None] * torch.linspace(0, 1, f, device=stack.device)
    shrunk = 1 / magnification.reshape(-1, 1, 1)
    grid = torch.empty(b * f, height, width, 2, device=stack.device)
    for axis, (size, whole, centre) in enumerate(((width, wide, lens.centre_x), (height, tall, lens.centre_y))):
        at = torch.arange(size, device=stack.device) + 0.5 - size / 2
        fixed = centre.repeat_interleave(f)[:, None, None]
        grid[..., axis] = (fixed + ((at if axis == 0 else at[:, None]) - fixed) * shrunk) / (whole / 2)
    images = stack.reshape(b * f, 1, tall, wide).float()
    read = functional.grid_sample(images, grid, mode="bicubic", padding_mode="border", align_corners=False)
    return read.reshape(b, f, height, width).clamp(min=1e-5)


def expose(
    stack: Tensor,  # (B, F, H, W) radiance
    key: Tensor,  # (B,) geometric mean
) -> Tensor:
    """The stack scaled to an exposure."""
    mean = stack[:, FOCUS_SAMPLES // 2].clamp(min=1e-4).log().mean((-2, -1)).exp()
    return stack * (key / mean)[:, None, None, None]
