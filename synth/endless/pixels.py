"""The event sensor on tensors: how many events of each polarity every pixel fires in each step of a sweep.

The pixel of `sensor_kernel`, with these simplifications: time is cut into steps, within which the logarithm of the
response runs straight and events are only counted; readout is instant. A test compares the two.
"""

from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor

from ..sensor_kernel import BRIGHT_NOISE, MAX_DECAY
from .lens import Chance
from .rays import compiled

STEPS = 64
"""Of a sweep; an event is known to half of that."""
_WARM_UP = 32
_LOST = 0.3


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
    step = compiled(_step) if stack.device.type == "cuda" else _step

    def sweep(state: State, forward: bool, steps: int, keep: bool) -> tuple[State, Tensor]:
        kept = torch.empty(n, steps if keep else 0, 2, height, width, dtype=torch.uint8, device=stack.device)
        dt = each(duration_s) / steps
        fixed = (
            gain, offset, on, off, 2 * torch.pi * each(sensors.bandwidth_hz) * dt,
            each(sensors.leak_hz * sensors.on_threshold) * dt, each(sensors.refractory_s) / dt, noise * dt, hot,
            each(sensors.lost),
        )  # fmt: skip
        for j in range(steps):
            lower, upper, share = _frames(j, steps, forward, stack.shape[1])
            share = _scalar(share, stack.device)
            counts, drive, response, memory = step(stack[:, lower], stack[:, upper], share, *state, *fixed)
            state = drive, response, memory
            if keep:
                kept[:, j] = counts
        return state, kept

    state, _ = sweep(state, False, _WARM_UP, False)
    state, there = sweep(state, True, STEPS, True)
    _, back = sweep(state, False, STEPS, True)
    return there, back


def _frames(j: int, steps: int, forward: bool, count: int) -> tuple[int, int, float]:
    """The two images between which step j ends, and the weight of the second."""
    phase = (j + 1) / steps
    at = (phase if forward else 1 - phase) * (count - 1)
    lower = min(int(at), count - 2)
    return lower, lower + 1, at - lower


@cache
def _scalar(value: float, device: torch.device) -> Tensor:
    return torch.tensor(value, device=device)


def _step(
    lower, upper, share, drive, response, memory,
    gain, offset, on, off, rate, leak, refractory, noise, hot, lost,
):  # fmt: skip
    """Counts (N, 2, H, W) uint8 of one step, and the state after it; see `sensor_kernel` for the photoreceptor."""
    drive1 = gain * (lower.float() + share * (upper.float() - lower.float())) + offset
    x = (0.5 * rate * (drive + drive1)).clamp(max=float(MAX_DECAY))
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

    dimmed = torch.where(hot, 1.0, 1 - (1 - float(BRIGHT_NOISE)) * response1.clamp(max=1))
    draw = torch.rand_like(drive)
    expected = noise * dimmed
    noisy = draw < expected
    after = torch.where(noisy, end, after)
    kept = torch.rand_like(drive) >= lost
    up = (draw < 0.5 * expected).float()
    counts = torch.stack([ups + up, downs + noisy.float() - up], dim=1) * kept[:, None]
    return counts.clamp(max=255).to(torch.uint8), drive1, response1, after
