"""Sweeps over scenes of a pool, and what a network sees of them."""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from .channels import Wrongs, conditions, draw_wrongs, event_bins, event_steps, event_times, photographs
from .lens import Chance, Lens, Light, draw_light
from .pixels import count_events, draw_sensors
from .pool import Pool

Batch = tuple[Tensor, Tensor, Tensor]
"""Channels (N, C, H, W), true position in the range (N, H, W), and weight (N, H, W); float32."""


class Representation(Protocol):
    """What a network is shown, as `net.representation` says it."""

    @property
    def source(self) -> str: ...
    @property
    def bins(self) -> int: ...
    @property
    def polarity(self) -> str: ...
    @property
    def compressed(self) -> bool: ...
    @property
    def times(self) -> bool: ...
    @property
    def conditions(self) -> bool: ...
    @property
    def frame_rate_hz(self) -> float | None: ...


@dataclass(frozen=True)
class Sweeps:
    """N sweeps over scenes of a pool: N/2 of them there, and the same back."""

    stacks: Tensor  # (N, F, H, W) float16, radiance, far to near
    position: Tensor  # (N, H, W), true, in the range
    lens: Lens
    light: Light
    direction: Tensor  # (N,) +1 far→near, −1 near→far
    wrongs: Wrongs
    steps: Tensor | None  # (N, S, 2, H, W), their events, if asked for


@torch.no_grad()
def draw_sweeps(pool: Pool, chance: Chance, count: int, events: bool = True) -> Sweeps:
    """Sweeps over scenes of a pool, by sensors of any kind."""
    half = count // 2
    stacks, position, lens = pool.draw(chance, half)
    light = draw_light(chance, half)
    forward = chance.yes(0.5, half)
    way = torch.where(forward, 1.0, -1.0)
    counts = None
    if events:
        in_time = torch.where(forward[:, None, None, None], stacks, stacks.flip(1))
        counts = torch.cat(count_events(in_time, draw_sensors(chance, half), light.on_chip(lens), light.duration_s))
    direction = torch.cat([way, -way])
    lens = Lens(*(torch.cat([value, value]) for value in lens))
    light = Light(*(torch.cat([value, value]) for value in light))
    wrongs = draw_wrongs(chance, count) if events else Wrongs(*(torch.zeros_like(direction) for _ in Wrongs._fields))
    steps = None if counts is None else event_steps(counts, direction, lens, wrongs)
    return Sweeps(torch.cat([stacks, stacks]), torch.cat([position, position]), lens, light, direction, wrongs, steps)


@torch.no_grad()
def show(sweeps: Sweeps, representation: Representation) -> Batch:
    """What a network sees of some sweeps."""
    if representation.source == "frames":
        bins, rate = representation.bins, representation.frame_rate_hz
        shown = [photographs(sweeps.stacks, sweeps.lens, sweeps.light, bins, rate)]
    else:
        assert sweeps.steps is not None
        counts = event_bins(sweeps.steps, sweeps.direction, sweeps.wrongs, representation.bins)
        if representation.polarity == "signed":
            counts = counts[:, :1] - counts[:, 1:]
        shown = [(counts.arcsinh() if representation.compressed else counts).flatten(1, 2)]
        if representation.times:
            shown.append(event_times(sweeps.steps))
    if representation.conditions:
        size = sweeps.position.shape[-2:]
        shown.append(conditions(sweeps.lens, sweeps.light, sweeps.direction, sweeps.wrongs, *size))
    return torch.cat(shown, dim=1), sweeps.position, torch.ones_like(sweeps.position)
