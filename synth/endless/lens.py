"""What is drawn of lens, sweep and light for endless samples; lengths along the sweep are in parts of its range."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

FOCUS_SAMPLES = 32
"""Images of a focal stack, ends included: at the greatest blur its diameter changes by 0.8 px from one to the next."""

BLUR_PX = (4.0, 26.0)
BREATHING = 0.05
"""Greatest change of magnification over the sweep."""
CENTRE_PX = (110.0, 82.0)
"""How far frames of 128×96 within one of 346×260 lie from its middle, across and down."""
SWEEP_S = (0.06, 0.5)
F_NUMBER = (1.2, 4.0)
PITCH_UM = (9.0, 18.5)
ILLUMINANCE_LUX = (100.0, 2000.0)


class Lens(NamedTuple):
    """Lenses and their sweeps, each (B,)."""

    blur_px: Tensor  # diameter over the whole range
    breathing: Tensor  # change of magnification over the whole range
    centre_x: Tensor  # px from the frame's middle to where breathing leaves things in place
    centre_y: Tensor
    f_number: Tensor
    pitch_um: Tensor


class Light(NamedTuple):
    """How fast a sweep is, and how bright its scene; each (B,)."""

    duration_s: Tensor
    illuminance_lux: Tensor  # on a white surface

    def on_chip(self, lens: Lens) -> Tensor:
        """(B,): of full light, white under 1000 lux through f/2."""
        return self.illuminance_lux / 1000 * (2 / lens.f_number) ** 2


class Chance:
    """Random tensors on one device from one generator."""

    def __init__(self, seed: int, device: torch.device | str) -> None:
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(seed)

    def unit(self, *shape: int) -> Tensor:
        """Evenly in [0, 1)."""
        return torch.rand(shape, generator=self.generator, device=self.device)

    def between(self, low: float | Tensor, high: float | Tensor, *shape: int) -> Tensor:
        """Evenly in [low, high)."""
        return low + (high - low) * self.unit(*shape)

    def by_ratio(self, low: float, high: float, *shape: int) -> Tensor:
        """Evenly in the logarithm."""
        return torch.exp(self.between(math.log(low), math.log(high), *shape))

    def normal(self, *shape: int) -> Tensor:
        """Standard normal."""
        return torch.randn(shape, generator=self.generator, device=self.device)

    def yes(self, chance: float, *shape: int) -> Tensor:
        """Booleans, true with a chance."""
        return self.unit(*shape) < chance

    def integers(self, count: int, *shape: int) -> Tensor:
        """Evenly in 0 … count − 1."""
        return torch.randint(count, shape, generator=self.generator, device=self.device)

    def choice(self, values: list[float], *shape: int) -> Tensor:
        """Each of some values as likely as the others."""
        return torch.tensor(values, device=self.device)[self.integers(len(values), *shape)]


def draw_lens(chance: Chance, count: int) -> Lens:
    """Any lens whose blur can be told from pixels."""
    breathing = chance.between(-BREATHING, BREATHING, count)
    return Lens(
        chance.by_ratio(*BLUR_PX, count),
        torch.where(chance.yes(0.2, count), 0.0, breathing),
        *(chance.between(-most, most, count) for most in CENTRE_PX),
        chance.by_ratio(*F_NUMBER, count),
        chance.between(*PITCH_UM, count),
    )


def draw_light(chance: Chance, count: int) -> Light:
    """Any sweep and light."""
    return Light(chance.by_ratio(*SWEEP_S, count), chance.by_ratio(*ILLUMINANCE_LUX, count))
