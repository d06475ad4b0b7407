"""Endless training samples: batches (channels, position, weight) made on the device that trains."""

from collections.abc import Iterator
from typing import Annotated, Self

import torch
from pydantic import BaseModel, ConfigDict, Field

from .channels import ACROSS, DOWN
from .lens import Chance
from .packed import split_pool
from .pool import PatchPool, Pool
from .sweeps import Batch, Representation, Sweeps, draw_sweeps, show


class EndlessConfig(BaseModel):
    """How endless samples are made."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    height: Annotated[int, Field(ge=16)] = 144
    width: Annotated[int, Field(ge=16)] = 192
    patch_scenes: Annotated[int, Field(ge=8)] = 4096
    """How many patch scenes are kept in the end, 1.8 MB each; sweeps are drawn from them."""
    renewed: Annotated[int, Field(ge=0)] = 16
    """New patch scenes before each of their batches; as many as a batch has sweeps before the first."""
    at_once: Annotated[int, Field(ge=1)] = 8
    """Scenes made together: each takes 0.2 GB meanwhile."""
    batch: Annotated[int, Field(ge=2, multiple_of=2)] = 64
    """Sweeps in a batch, two of each scene drawn: one there and one back."""
    rendered: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Share of the batches from rendered scenes, where there are any."""
    shown: Annotated[int, Field(ge=1)] = 1
    """How often each sweep is shown on the mean, in a mirror or not, among others: where making them takes longest."""

    def for_cpu(self, rendered: Pool | None) -> Self:
        """The same where making a sweep takes twice as long as learning from it: few patch scenes, as large as the
        rendered ones, and each sweep shown again."""
        height, width = (96, 128) if rendered is None else rendered.position.shape[-2:]
        few = {"patch_scenes": 256, "renewed": 2, "at_once": 1, "rendered": 0.75, "shown": 4}
        return self.model_copy(update={"height": height, "width": width, **few})


SHELF = 16
"""Batches among which those are mixed that are shown again."""


class EndlessSweeps:
    """Sweeps without end: over patch scenes, and between them over rendered ones. The same seed gives the same."""

    def __init__(
        self, config: EndlessConfig, rendered: Pool | None, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> None:
        self.config = config
        self.chance, self._rendered = Chance(seed, device), rendered
        self._patches: PatchPool | None = None
        self._number = 0
        torch.manual_seed(seed)  # of the pixels' noise

    def next(self, events: bool = True) -> Sweeps:
        """The next batch of them."""
        config = self.config
        share = config.rendered if self._rendered is not None else 0.0
        self._number += 1
        if self._rendered is not None and int(self._number * share) > int((self._number - 1) * share):
            return draw_sweeps(self._rendered, self.chance, config.batch, events)
        new = config.renewed
        if self._patches is None:
            self._patches = PatchPool(self.chance, config.patch_scenes, config.height, config.width)
            new = min(config.patch_scenes, config.batch)
        for _ in range(0, new, config.at_once):
            self._patches.renew(config.at_once)
        return draw_sweeps(self._patches, self.chance, config.batch, events)


class EndlessSamples(Iterator[Batch]):
    """Batches without end, of `EndlessSweeps`. Iterating anew goes on where the last iteration stopped."""

    def __init__(self, sweeps: EndlessSweeps, representation: Representation) -> None:
        self._sweeps, self._representation = sweeps, representation
        self._shelf: list[Batch] = []
        self._number = 0

    def __next__(self) -> Batch:
        shown = self._sweeps.config.shown
        if shown == 1:
            return self._new()
        if self._number % shown == 0 or len(self._shelf) < 2:
            self._shelf = [*self._shelf[1 - SHELF :], self._new()]
        self._number += 1
        return self._mixed()

    def _new(self) -> Batch:
        return show(self._sweeps.next(self._representation.source == "events"), self._representation)

    def _mixed(self) -> Batch:
        """A batch of samples from anywhere on the shelf, each in a mirror or not."""
        chance, count = self._sweeps.chance, self._sweeps.config.batch
        which = torch.stack([chance.integers(len(self._shelf), count), chance.integers(count, count)], dim=1).tolist()
        picked = [[self._shelf[i][part][j] for i, j in which] for part in range(3)]
        channels, position, weight = (torch.stack(part) for part in picked)
        for axis, motion in ((-1, ACROSS), (-2, DOWN)):
            mirrored = chance.yes(0.5, count)
            for part in (channels, position, weight):
                part[mirrored] = part[mirrored].flip(axis)
            if self._representation.conditions:
                channels[mirrored, motion] *= -1
        return channels, position, weight


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
    chance = Chance(seed, device)
    count = VALIDATION_BATCHES if kept is not None else 0
    events = representation.source == "events"
    validation = [
        show(draw_sweeps(kept, chance, config.batch, events), representation) for _ in range(count) if kept is not None
    ]
    sweeps = EndlessSweeps(config, rendered, seed=seed, device=device)
    return EndlessSamples(sweeps, representation), validation
