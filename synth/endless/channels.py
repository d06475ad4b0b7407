"""From event counts, or images, to the channels that a network sees: `net.representation` on tensors, tests compare."""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from ..conventional import FULL_WELL_ELECTRONS, PHOTONS_PER_LUX, QUANTUM_EFFICIENCY, READ_NOISE_ELECTRONS
from .lens import Chance, Lens, Light

_TYPICAL_BLUR_PX, _TYPICAL_MOTION_PX, _TYPICAL_DURATION_S = 8.0, 4.0, 0.2
_NEVER = -1.0
ACROSS, DOWN = -4, -3
"""The channels of `conditions`, which come last, that change sign in a mirror."""
_EXPOSURE_SAMPLES = 256


class Wrongs(NamedTuple):
    """What a calibration is wrong about, and what is lost of a sweep; each (N,)."""

    lag: Tensor  # of the sweep's duration
    breathing: Tensor  # error of the change of magnification
    drift_x: Tensor  # px that the image moves over the sweep
    drift_y: Tensor
    missing: Tensor  # part of the sweep whose events are lost: at the start, or at the end where it is negative


def draw_wrongs(chance: Chance, count: int) -> Wrongs:
    """Small errors, as `net.augmentation` has them."""

    def seldom(share: float, value: Tensor) -> Tensor:
        return torch.where(chance.yes(share, count), value, 0.0)

    return Wrongs(
        0.005 * chance.normal(count),
        0.004 * chance.normal(count),
        seldom(0.33, chance.normal(count)),
        seldom(0.33, chance.normal(count)),
        seldom(0.3, chance.between(-0.08, 0.08, count)),
    )


NO_WRONGS = Wrongs(*(torch.zeros(1) for _ in Wrongs._fields))


def event_steps(
    counts: Tensor,  # (N, S, 2, H, W) uint8, ON and OFF, in order of time
    direction: Tensor,  # (N,) +1 far→near, −1 near→far
    lens: Lens,
    wrongs: Wrongs,
) -> Tensor:
    """(N, S, 2, H, W) half: far→near (a sweep the other way is reversed, and its signs are), breathing undone."""
    _, steps, _, height, width = counts.shape
    out = torch.zeros(counts.shape, dtype=_half(counts.device), device=counts.device)
    sweep, time, sign, y, x = found = counts.nonzero(as_tuple=True)
    backward = direction[sweep] < 0
    focus = torch.where(backward, steps - 1 - time, time)
    sign = torch.where(backward, 1 - sign, sign)
    drifted = (time + 0.5) / steps - 0.5
    magnification = 1 + (lens.breathing + wrongs.breathing)[sweep] * ((focus + 0.5) / steps)
    places, inside = [], torch.ones_like(backward)
    for at, size, centre, drift in (
        (y, height, lens.centre_y, wrongs.drift_y),
        (x, width, lens.centre_x, wrongs.drift_x),
    ):
        fixed = size / 2 + centre[sweep]
        moved = (at + 0.5 + drift.expand(len(direction))[sweep] * drifted).floor() + 0.5
        place = ((moved - fixed) / magnification + fixed).floor().long()
        inside &= (place >= 0) & (place < size)
        places.append(place)
    target = tuple(index[inside] for index in (sweep, focus, sign, *places))
    return out.index_put_(target, counts[found][inside].to(out.dtype), accumulate=True)


def event_bins(
    steps: Tensor,  # (N, S, 2, H, W)
    direction: Tensor,
    wrongs: Wrongs,
    bins: int,
) -> Tensor:
    """(N, 2, B, H, W) float32: the event focal stack, ON and OFF apart."""
    n, count, _, height, width = steps.shape
    middle = (torch.arange(count, device=steps.device) + 0.5) / count
    phase = torch.where(direction[:, None] > 0, middle, 1 - middle)
    missing = wrongs.missing.to(steps.device)[:, None]
    lost = ((missing > 0) & (phase < missing)) | ((missing < 0) & (phase > 1 + missing))
    believed = (middle - direction[:, None] * wrongs.lag.to(steps.device)[:, None]).clamp(0, 1)
    at = believed * (bins - 1)
    weight = (1 - (at[..., None] - torch.arange(bins, device=steps.device)).abs()).clamp(min=0)
    weight = (weight * ~lost[..., None]).to(steps.dtype)  # (N, S, B)
    out = weight.expand(n, -1, -1).mT @ steps.reshape(n, count, -1)
    return out.reshape(n, bins, 2, height, width).transpose(1, 2).float()


def event_times(steps: Tensor) -> Tensor:
    """(N, 4, H, W): where in the range each pixel's first and last events are: OFF, then ON."""
    count = steps.shape[1]
    fired = steps > 0
    any_ = fired.any(1)
    first = fired.float().argmax(1)
    last = count - 1 - fired.flip(1).float().argmax(1)
    first, last = (torch.where(any_, (t + 0.5) / count, _NEVER) for t in (first, last))  # (N, 2, H, W), ON, OFF
    return torch.stack([first[:, 1], last[:, 1], first[:, 0], last[:, 0]], dim=1)


def conditions(lens: Lens, light: Light, direction: Tensor, wrongs: Wrongs, height: int, width: int) -> Tensor:
    """(N, 5, H, W): see `net.representation.sweep_conditions`."""
    n = len(direction)
    out = torch.empty(n, 5, height, width, device=direction.device)
    scale = (lens.breathing + wrongs.breathing)[:, None] / _TYPICAL_MOTION_PX
    x, y = (torch.arange(size, device=direction.device) + 0.5 - size / 2 for size in (width, height))
    out[:, 0] = (lens.blur_px / _TYPICAL_BLUR_PX).log2()[:, None, None]
    out[:, 1] = (scale * (x - lens.centre_x[:, None]))[:, None, :]
    out[:, 2] = (scale * (y - lens.centre_y[:, None]))[:, :, None]
    out[:, 3] = direction[:, None, None].float()
    out[:, 4] = (light.duration_s / _TYPICAL_DURATION_S).log2()[:, None, None]
    return out


def photographs(
    stack: Tensor,  # (N, F, H, W) radiance, far to near
    lens: Lens,
    light: Light,
    bins: int,
    frame_rate_hz: float | None,
) -> Tensor:
    """(N, B, H, W): what a conventional camera sees during the sweep, as `Representation.of_frames` shows it."""
    n, count, height, width = stack.shape
    device = stack.device
    if frame_rate_hz is None:
        frames = torch.full((n,), bins, device=device)
    else:
        frames = (light.duration_s * frame_rate_hz).round().clamp(min=2).long()
    most = int(frames.max())
    number = torch.arange(most, device=device)
    middle = (number + 0.5) / frames[:, None]  # (N, M), beyond 1 where there is no such frame
    chip_lux = light.illuminance_lux / (4 * lens.f_number**2)
    per_s = QUANTUM_EFFICIENCY * PHOTONS_PER_LUX * chip_lux * (lens.pitch_um * 1e-6) ** 2
    frame_s = light.duration_s / frames
    exposure_s = torch.minimum(frame_s, FULL_WELL_ELECTRONS / per_s)
    electrons = (per_s * exposure_s)[:, None, None, None]

    instants = (torch.arange(_EXPOSURE_SAMPLES, device=device) + 0.5) / _EXPOSURE_SAMPLES
    reach = (exposure_s / light.duration_s / 2).clamp(min=0.5 / _EXPOSURE_SAMPLES)[:, None, None]
    open_ = ((instants - middle[..., None]).abs() <= reach).float()  # (N, M, instants)
    at = instants * (count - 1)
    between = (1 - (at[:, None] - torch.arange(count, device=device)).abs()).clamp(min=0)  # (instants, F)
    weight = open_ @ between
    weight = weight / weight.sum(-1, keepdim=True).clamp(min=1e-6)
    images = torch.einsum("nmf,nfhw->nmhw", weight, stack.float()) * electrons
    images = images + images.clamp(min=0).sqrt() * torch.randn_like(images)
    images = images + READ_NOISE_ELECTRONS * torch.randn_like(images)
    images = images.clamp(max=FULL_WELL_ELECTRONS) / electrons

    images = undo_breathing(images, lens, middle)
    wanted = torch.linspace(0, 1, bins, device=device)
    place = (wanted[None] * frames[:, None] - 0.5).clamp(min=0)
    place = torch.minimum(place, (frames - 1)[:, None].float())
    mixing = (1 - (place[..., None] - number).abs()).clamp(min=0)
    mixed = torch.einsum("nbm,nmhw->nbhw", mixing, images)
    used = (number < frames[:, None]).float()[..., None, None]
    mean = (images * used).sum((1, 2, 3), keepdim=True) / (frames[:, None, None, None] * height * width)
    return (mixed.clamp(min=0) / mean.clamp(min=1e-9)).sqrt() - 1


def undo_breathing(images: Tensor, lens: Lens, focus: Tensor) -> Tensor:
    """Images (N, M, H, W) in the geometry of the far end, from that of their focus (N, M)."""
    n, m, height, width = images.shape
    magnification = (1 + lens.breathing[:, None] * focus).reshape(-1, 1, 1)
    grid = torch.empty(n * m, height, width, 2, device=images.device)
    for axis, (size, centre) in enumerate(((width, lens.centre_x), (height, lens.centre_y))):
        at = (2 * torch.arange(size, device=images.device) + 1) / size - 1
        fixed = (centre * 2 / size).repeat_interleave(m)[:, None, None]
        grid[..., axis] = fixed + ((at if axis == 0 else at[:, None]) - fixed) * magnification
    read = functional.grid_sample(
        images.reshape(n * m, 1, height, width), grid, padding_mode="border", align_corners=False
    )
    return read.reshape(images.shape)


def _half(device: torch.device) -> torch.dtype:
    return torch.float16 if device.type == "cuda" else torch.float32
