"""The event sensor on tensors: how many events of each polarity every pixel fires in each step of a sweep.

The pixel of `sensor_kernel`, with these simplifications: time is cut into steps, within which the logarithm of the
response runs straight and events are only counted; readout is instant. A test compares the two.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from ..sensor_kernel import BRIGHT_NOISE, MAX_DECAY
from .lens import Chance
from .rays import compiled

STEPS = 64
"""Of a sweep; an event is known to half of that."""
_WARM_UP = 32
_AT_ONCE = 4  # steps that are one kernel
_LOST = 0.3
_MAX_DECAY, _DIMMED = float(MAX_DECAY), 1 - float(BRIGHT_NOISE)


State = tuple[Tensor, Tensor, Tensor]
"""Drive, response, and the logarithm that each pixel remembers; (N, H, W) each."""


class Sensors(NamedTuple):
    """N sensors, each (N,); names and units of `synth.sensor.Sensor`."""

    on_threshold: Tensor
    off_threshold: Tensor
    threshold_sigma: Tensor
    dark_level: Tensor
    stray_light: Tensor
    bandwidth_hz: Tensor
    refractory_s: Tensor
    leak_hz: Tensor
    shot_noise_hz: Tensor
    hot_fraction: Tensor
    lost: Tensor  # part of the events that the readout loses


def draw_sensors(chance: Chance, count: int) -> Sensors:
    """Anything that is sold, as `config` has it, and a little beyond."""
    on, off = chance.between(0.1, 0.32, count), chance.between(0.1, 0.32, count)
    alike = chance.yes(0.3, count)
    return Sensors(
        on,
        torch.where(alike, on, off),
        chance.between(0.01, 0.05, count),
        chance.by_ratio(5e-5, 1e-3, count),
        chance.between(0.001, 0.01, count),
        chance.by_ratio(70.0, 5000.0, count),
        chance.by_ratio(1e-5, 1e-3, count),
        chance.by_ratio(0.01, 0.3, count),
        chance.by_ratio(0.001, 3.0, count),
        chance.between(0.0, 3e-4, count),
        torch.where(chance.yes(0.3, count), chance.between(0.0, _LOST, count), 0.0),
    )


def count_events(
    stack: Tensor,  # (N, F, H, W) linear radiance, in the order of time
    sensors: Sensors,
    light: Tensor,  # (N,) of full light
    duration_s: Tensor,  # (N,) of a sweep
) -> tuple[Tensor, Tensor]:
    """Counts (N, S, 2, H, W) uint8, ON and OFF, of a sweep through the stack and of one back; both in order of time.

    A coarser sweep before them brings the pixels into their steady state.
    """
    n, _, height, width = stack.shape

    def each(value: Tensor) -> Tensor:
        return value.float()[:, None, None]

    def mismatched(threshold: Tensor) -> Tensor:
        spread = each(sensors.threshold_sigma) * torch.randn(n, height, width, device=stack.device)
        return (each(threshold) + spread).clamp(min=0.02)

    on, off = mismatched(sensors.on_threshold), mismatched(sensors.off_threshold)
    gain, offset = each(light), each(light * sensors.stray_light + sensors.dark_level)
    hot = torch.rand(n, height, width, device=stack.device) < each(sensors.hot_fraction)
    noise = torch.where(hot, 100.0, each(sensors.shot_noise_hz))
    drive = gain * stack[:, -1].float() + offset
    response = drive.clone()
    memory = drive.log() - on * torch.rand_like(drive)
    state: State = (drive, response, memory)
    advance = compiled(_advance, stack.device.type)

    def sweep(state: State, forward: bool, steps: int, keep: bool) -> tuple[State, Tensor]:
        kept = torch.empty(n, steps if keep else 0, 2, height, width, dtype=torch.uint8, device=stack.device)
        dt = each(duration_s) / steps
        fixed = (
            gain, offset, on, off, 2 * torch.pi * each(sensors.bandwidth_hz) * dt,
            each(sensors.leak_hz * sensors.on_threshold) * dt, each(sensors.refractory_s) / dt, noise * dt, hot,
            each(sensors.lost),
        )  # fmt: skip
        for first in range(0, steps, _AT_ONCE):
            images, shares = _frames(first, steps, forward, stack)
            counts, drive, response, memory = advance(images, shares, *state, *fixed)
            state = drive, response, memory
            if keep:
                kept[:, first : first + _AT_ONCE] = counts
        return state, kept

    state, _ = sweep(state, False, _WARM_UP, False)
    state, there = sweep(state, True, STEPS, True)
    _, back = sweep(state, False, STEPS, True)
    return there, back


def _frames(first: int, steps: int, forward: bool, stack: Tensor) -> tuple[Tensor, Tensor]:
    """The pairs of images (2, J, N, H, W) between which a few steps end, and the weights of the second ones (J,)."""
    phase = (first + 1 + torch.arange(_AT_ONCE, device=stack.device)) / steps
    at = (phase if forward else 1 - phase) * (stack.shape[1] - 1)
    lower = at.long().clamp(max=stack.shape[1] - 2)
    return stack.transpose(0, 1)[torch.stack([lower, lower + 1])], at - lower


def _advance(
    images: Tensor, shares: Tensor, drive: Tensor, response: Tensor, memory: Tensor, *fixed: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Counts (N, J, 2, H, W) of J steps, and the state after them."""
    kept = []
    for j in range(_AT_ONCE):
        image = torch.lerp(images[0, j].float(), images[1, j].float(), shares[j])
        counts, drive, response, memory = _step(image, drive, response, memory, *fixed)
        kept.append(counts)
    return torch.stack(kept, dim=1), drive, response, memory


def _step(
    image, drive, response, memory,
    gain, offset, on, off, rate, leak, refractory, noise, hot, lost,
):  # fmt: skip
    """Counts (N, 2, H, W) uint8 of one step, and the state after it; see `sensor_kernel` for the photoreceptor."""
    drive1 = gain * image + offset
    x = (0.5 * rate * (drive + drive1)).clamp(max=_MAX_DECAY)
    mean = drive + (12 + x * (5 + x)) / (24 + x * (6 + x)) * (drive1 - drive)
    grown = response * x.exp()
    response1 = mean * grown / (grown + (mean - response))
    start, end = response.log(), response1.log()
    memory = memory - leak
    held = (end - start) * refractory  # what the response does while the pixel is held, once for each event

    rise, fall = end - memory - on, memory - off - end
    ups = torch.where(rise >= 0, 1 + (rise / (on + held.clamp(min=0))).floor(), 0.0)
    downs = torch.where(fall >= 0, 1 + (fall / (off - held.clamp(max=0))).floor(), 0.0)
    after = memory + ups * (on + held.clamp(min=0)) - downs * (off - held.clamp(max=0))
    after = torch.where(ups > 0, torch.minimum(after, end), torch.where(downs > 0, torch.maximum(after, end), after))

    dimmed = torch.where(hot, 1.0, 1 - _DIMMED * response1.clamp(max=1))
    draw = torch.rand_like(drive)
    expected = noise * dimmed
    noisy = draw < expected
    after = torch.where(noisy, end, after)
    kept = torch.rand_like(drive) >= lost
    up = (draw < 0.5 * expected).float()
    counts = torch.stack([ups + up, downs + noisy.float() - up], dim=1) * kept[:, None]
    return counts.clamp(max=255).to(torch.uint8), drive1, response1, after
