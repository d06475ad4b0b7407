"""A bank of texture tiles, (T, 128, 128) in [0, 1], periodic: noise, cells, patches, cracks, marble, waves, grids."""

import torch
from torch import Tensor

from .lens import Chance

SIZE = 128
FEATURES = 12.0
"""Features that a tile is wide."""


def make_tiles(chance: Chance, count: int) -> Tensor:
    """(T, 128, 128) float16: most of its values between 0 and 1, features of 1/12 of its width."""
    makers = [_noise] * 6 + [_patches] * 3 + [_cells] * 2 + [_cracks] * 2 + [_marble] * 2 + [_waves, _checker, _bricks]
    tiles = [makers[i % len(makers)](chance) for i in range(count)]
    return torch.stack(tiles).clamp(0, 1).half()


def _grid(device: torch.device) -> tuple[Tensor, Tensor]:
    at = (torch.arange(SIZE, device=device) + 0.5) / SIZE
    return at[None, :].expand(SIZE, SIZE), at[:, None].expand(SIZE, SIZE)


def _field(chance: Chance, slope: float, features: float = FEATURES) -> Tensor:
    """Gaussian noise whose spectrum falls from one feature's frequency on, with zero mean and unit deviation."""
    f = torch.fft.fftfreq(SIZE, 1 / SIZE, device=chance.device)
    radius = torch.hypot(f[:, None], f[None, :])
    amplitude = torch.where(radius > 0, 1 / (1 + (radius / features) ** 2) ** (slope / 2), 0.0)
    amplitude = amplitude * (radius > 0.25 * features)
    field = torch.fft.ifft2(torch.fft.fft2(chance.normal(SIZE, SIZE)) * amplitude).real
    return field / field.std()


def _noise(chance: Chance) -> Tensor:
    return 0.5 + 0.3 * _field(chance, float(chance.between(1.5, 6.0, 1)))


def _marble(chance: Chance) -> Tensor:
    return 1 - _field(chance, float(chance.between(2.0, 5.0, 1)), 0.7 * FEATURES).abs()


def _voronoi(chance: Chance) -> tuple[Tensor, Tensor, Tensor]:
    """Distances to the nearest and second nearest point, in features, and which is nearest."""
    count = int(FEATURES**2)
    px, py = chance.unit(count, 1, 1), chance.unit(count, 1, 1)
    x, y = _grid(chance.device)
    dx, dy = ((a - b + 0.5) % 1 - 0.5 for a, b in ((x, px), (y, py)))
    near = torch.topk(dx**2 + dy**2, 2, dim=0, largest=False)
    return *(FEATURES * near.values.sqrt()), near.indices[0]  # pyright: ignore[reportReturnType]


def _patches(chance: Chance) -> Tensor:
    return chance.unit(int(FEATURES**2))[_voronoi(chance)[2]]


def _cells(chance: Chance) -> Tensor:
    return 1.3 * _voronoi(chance)[0]


def _cracks(chance: Chance) -> Tensor:
    first, second, _ = _voronoi(chance)
    return (second - first) / 0.2


def _waves(chance: Chance) -> Tensor:
    x, y = _grid(chance.device)
    phase = 2 * torch.pi * FEATURES * (x + y) / 2 + float(chance.between(0.0, 3.0, 1)) * _field(chance, 4.0, 4.0)
    return 0.5 + 0.5 * torch.sin(2 * phase / 2)


def _checker(chance: Chance) -> Tensor:
    x, y = ((axis * FEATURES).floor() for axis in _grid(chance.device))
    return (x + y) % 2


def _bricks(chance: Chance) -> Tensor:
    x, y = _grid(chance.device)
    row = (y * FEATURES).floor()
    along = x * FEATURES / 2 + 0.5 * (row % 2)
    mortar = ((y * FEATURES) % 1 < 0.1) | (along % 1 < 0.05)
    shade = chance.unit(SIZE, SIZE)[row.long() % SIZE, along.floor().long() % (int(FEATURES) // 2)]
    return torch.where(mortar, 0.0, 0.6 + 0.4 * shade)
