"""Endless training samples: batches (channels, position, weight) made on the device that trains."""

from collections.abc import Iterator
from typing import Annotated, Protocol

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor

from . import channels
from .lens import Chance, Lens, draw_light
from .packed import split_pool
from .pixels import count_events, draw_sensors
from .pool import PatchPool, Pool

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


class EndlessConfig(BaseModel):
    """How endless samples are made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    height: Annotated[int, Field(ge=16)] = 144
    width: Annotated[int, Field(ge=16)] = 192
    patch_scenes: Annotated[int, Field(ge=8)] = 4096
    """How many patch scenes are kept, 1.8 MB each; sweeps are drawn from them."""
    renewed: Annotated[int, Field(ge=0)] = 16
    """New patch scenes before each of their batches."""
    at_once: Annotated[int, Field(ge=1)] = 8
    """Scenes made together: each takes 0.2 GB meanwhile."""
    batch: Annotated[int, Field(ge=2, multiple_of=2)] = 64
    """Sweeps in a batch, two of each scene drawn: one there and one back."""
    rendered: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the batches from rendered scenes, where there are any."""


class EndlessSamples(Iterator[Batch]):
    """Batches without end: patch scenes, and between them rendered ones. The same seed gives the same batches.

    Iterating anew goes on where the last iteration stopped.
    """

    def __init__(
        self,
        config: EndlessConfig,
        representation: Representation,
        rendered: Pool | None,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.config, self.representation, self.seed = config, representation, seed
        self._chance, self._rendered = Chance(seed, device), rendered
        self._patches: PatchPool | None = None
        self._number = 0

    def __next__(self) -> Batch:
        config = self.config
        if not self._number:
            torch.manual_seed(self.seed)
        share = config.rendered if self._rendered is not None else 0.0
        self._number += 1
        if self._rendered is not None and int(self._number * share) > int((self._number - 1) * share):
            return make_batch(self._rendered, self._chance, self.representation, config.batch)
        new = config.renewed
        if self._patches is None:
            self._patches = PatchPool(self._chance, config.patch_scenes, config.height, config.width)
            new = config.patch_scenes
        for _ in range(0, new, config.at_once):
            self._patches.renew(config.at_once)
        return make_batch(self._patches, self._chance, self.representation, config.batch)


VALIDATION_BATCHES = 4


def endless_batches(
    config: EndlessConfig,
    representation: Representation,
    rendered: Pool | None,
    validated: float,
    seed: int,
    device: torch.device | str,
) -> tuple[EndlessSamples, list[Batch]]:
    """Batches to train on, and a few to validate: of rendered scenes that are kept from training, a share of them."""
    kept = None
    if rendered is not None and validated and rendered.size > 1:
        rendered, kept = split_pool(rendered, validated)
    training = EndlessSamples(config, representation, rendered, seed=seed, device=device)
    if kept is None:
        return training, []
    torch.manual_seed(seed)
    chance = Chance(seed, device)
    return training, [make_batch(kept, chance, representation, config.batch) for _ in range(VALIDATION_BATCHES)]


@torch.no_grad()
def make_batch(pool: Pool, chance: Chance, representation: Representation, count: int) -> Batch:
    """`count` sweeps over scenes of a pool: each of `count`/2 scenes is swept there and back, or photographed twice."""
    half = count // 2
    stacks, position, lens = pool.draw(chance, half)
    light = draw_light(chance, half)
    if representation.source == "frames":
        twice = Lens(*(torch.cat([v, v]) for v in lens)), type(light)(*(torch.cat([v, v]) for v in light))
        images = channels.photographs(
            torch.cat([stacks, stacks]), *twice, representation.bins, representation.frame_rate_hz
        )
        direction = torch.ones(count, device=images.device)
        shown = [images]
        wrongs = channels.Wrongs(*(torch.zeros(count, device=images.device) for _ in channels.Wrongs._fields))
        lens, light = twice
    else:
        forward = chance.yes(0.5, half)
        stacks[~forward] = stacks[~forward].flip(1)
        there, back = count_events(stacks, draw_sensors(chance, half), light.on_chip(lens), light.duration_s)
        way = torch.where(forward, 1.0, -1.0)
        direction = torch.cat([way, -way])
        lens, light = Lens(*(torch.cat([v, v]) for v in lens)), type(light)(*(torch.cat([v, v]) for v in light))
        wrongs = channels.draw_wrongs(chance, count)
        steps = channels.event_steps(torch.cat([there, back]), direction, lens, wrongs)
        bins = channels.event_bins(steps, direction, wrongs, representation.bins)
        if representation.polarity == "signed":
            bins = bins[:, :1] - bins[:, 1:]
        bins = bins.arcsinh() if representation.compressed else bins
        shown = [bins.flatten(1, 2)]
        if representation.times:
            shown.append(channels.event_times(steps))
    if representation.conditions:
        shown.append(channels.conditions(lens, light, direction, wrongs, *position.shape[-2:]))
    position = torch.cat([position, position])
    return torch.cat(shown, dim=1), position, torch.ones_like(position)
