"""Focal stacks: the views of a light field, shifted and added for every focus; on a GPU as one convolution."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..refocus import BLEND, shift_and_add
from .lens import FOCUS_SAMPLES, Lens
from .rays import aperture


def focal_stacks(
    views: Tensor,  # (B, K, H + 2·(margin + pad), W + 2·(margin + pad))
    lens: Lens,
    margin: int,  # px that refocusing needs
    pad: int,  # px that breathing needs
) -> Tensor:
    """(B, F, H, W): images at even steps of the sweep, as the lens breathes."""
    if views.device.type != "cpu":
        return breathe(refocus_views(views, lens, margin), lens, pad)
    height, width = (size - 2 * (margin + pad) for size in views.shape[-2:])
    columns = _reading_positions(lens, lens.centre_x, width, 0, margin + pad)
    rows = _reading_positions(lens, lens.centre_y, height, 1, margin + pad)
    weights = np.full(views.shape[1], 1 / views.shape[1], np.float32)
    out = np.empty((len(views), FOCUS_SAMPLES, height, width), np.float32)
    threads = torch.get_num_threads()
    bands = np.linspace(0, height, threads + 1).astype(int)

    def work(job: tuple[int, int]) -> None:
        at, band = job
        place = columns[at].numpy(), rows[at].numpy()
        shift_and_add(views[at].numpy(), *place, weights, bands[band], bands[band + 1], out[at])

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, [(at, band) for at in range(len(views)) for band in range(threads)]))
    return torch.from_numpy(out).clamp(min=1e-5)


def _reading_positions(lens: Lens, centre: Tensor, size: int, axis: int, margin: int) -> Tensor:
    """(B, F, K, size) float32: where `shift_and_add` reads along an axis."""
    offsets, jitter = aperture(centre.device)
    focus = torch.linspace(0, 1, FOCUS_SAMPLES, device=centre.device)[:, None, None]
    place = torch.arange(size, device=centre.device) + 0.5
    blur, breathing, fixed = (v[:, None, None, None] for v in (lens.blur_px, lens.breathing, size / 2 + centre))
    at = fixed + (place - fixed) / (1 + breathing * focus)
    at = at - blur * offsets[:, axis, None] * (focus - 0.5) - jitter[:, axis, None] + margin - 0.5
    sample = at.floor()
    return sample + ((at - sample - 0.5) / BLEND + 0.5).clamp(0, 1)


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
