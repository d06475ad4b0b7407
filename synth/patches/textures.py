"""Procedural textures with the statistics of real surfaces: 1/f noise, dead leaves, lines, checkers, strokes.

Each is a periodic square with values in [0, 1] and detail at all scales. Photographs have amplitudes of 1/f (Field,
JOSA A 1987); so do images of mutually occluding discs with power-law sizes, which also have hard edges (Lee, Mumford
and Huang, IJCV 2001).
"""

import numpy as np
import scipy.fft
from numba import njit
from scipy.special import ndtr

from ..scenes.random_source import RandomSource

SIZE = 512
LEVELS = 10
"""Levels of a texture's mip chain, each half as wide as the previous."""
LEVEL_STARTS = np.concatenate([[0], np.cumsum([(SIZE >> level) ** 2 for level in range(LEVELS)])]).astype(np.int64)
WHITE = 65535

_DISC, _BOX = 0, 1  # other numbers: regular polygons with this many corners


def texture(seed: int) -> np.ndarray:
    """Draw a random texture, (SIZE, SIZE) float32 in [0, 1]."""
    rng = RandomSource(seed)
    makers = {_noise: 4, _leaves: 5, _mixed: 4, _stripes: 1, _board: 1, _grid: 1, _strokes: 2, _marble: 1}
    return rng.weighted(makers)(rng)


def mask(seed: int) -> np.ndarray:
    """A smooth random texture with uniformly distributed values, (SIZE, SIZE) float32 in [0, 1]."""
    rng = RandomSource(seed)
    return ndtr(_field(rng, rng.uniform(1.8, 3.0), rng.log_uniform(80.0, 400.0))).astype(np.float32)


def mip_chain(image: np.ndarray) -> np.ndarray:
    """The mip chain of a texture.

    Args:
        image: (SIZE, SIZE) float32 in [0, 1].

    Returns:
        (LEVEL_STARTS[-1],) uint16, level by level; `WHITE` is 1.
    """
    levels = []
    for _ in range(LEVELS - 1):
        levels.append(np.rint(image * WHITE).astype(np.uint16).ravel())
        image = (image[::2, ::2] + image[1::2, ::2] + image[::2, 1::2] + image[1::2, 1::2]) / 4
    levels.append(np.rint(image * WHITE).astype(np.uint16).ravel())
    return np.concatenate(levels)


def _field(rng: RandomSource, slope: float, largest: float) -> np.ndarray:
    """Gaussian noise of unit deviation with amplitudes of 1/f^slope for wavelengths up to `largest` texels."""
    fy = np.fft.fftfreq(SIZE)[:, None]
    fx = np.fft.rfftfreq(SIZE)[None, :]
    size = np.hypot(fy, fx)
    amplitude = np.where(size > 0, np.maximum(size, 1 / largest), np.inf) ** -slope
    amplitude *= size >= 0.5 / largest
    generator = np.random.default_rng(rng.seed())
    noise = generator.standard_normal((2, *amplitude.shape), np.float32)
    spectrum = (noise[0] + 1j * noise[1]) * amplitude.astype(np.float32)
    field = np.asarray(scipy.fft.irfft2(spectrum, s=(SIZE, SIZE)))
    return field / field.std()


def _noise(rng: RandomSource) -> np.ndarray:
    """Noise, from soft clouds to spots with hard edges."""
    field = _field(rng, rng.uniform(0.8, 1.6), rng.log_uniform(8.0, SIZE))
    steepness = rng.log_uniform(0.25, 30.0)
    return np.clip(0.5 + steepness * (field - rng.uniform(-1.0, 1.0) * min(1.0, steepness)), 0, 1, dtype=np.float32)


def _marble(rng: RandomSource) -> np.ndarray:
    """Veins."""
    field = np.abs(_field(rng, rng.uniform(1.2, 2.2), rng.log_uniform(30.0, SIZE)))
    return np.clip(field * rng.log_uniform(0.5, 8.0), 0, 1, dtype=np.float32)


def _leaves(rng: RandomSource) -> np.ndarray:
    """Dead leaves: mutually occluding discs, boxes and polygons of all sizes."""
    generator = np.random.default_rng(rng.seed())
    least, most = rng.log_uniform(1.0, 12.0), rng.log_uniform(40.0, SIZE / 2)
    # Scale-invariant sizes, p(r) ~ r^-3, drawn by inversion.
    area = 2 * np.log(most / least) / (least**-2 - most**-2) * np.pi
    count = min(int(rng.uniform(2.0, 4.0) * SIZE * SIZE / area) + 20, 20000)
    radius = (least**-2 - generator.random(count) * (least**-2 - most**-2)) ** -0.5
    shapes = [[_DISC], [_BOX], [3, 4, 5, 6], [_DISC, _BOX, 3, 5]][rng.integer(0, 3)]
    values = generator.random(count) ** rng.log_uniform(0.5, 2.0)
    leaves = np.zeros((count, 7))
    leaves[:, 0:2] = generator.uniform(0, SIZE, (count, 2))
    leaves[:, 2] = radius
    leaves[:, 3] = radius * generator.uniform(rng.log_uniform(0.05, 1.0), 1.0, count)
    leaves[:, 4] = (
        generator.uniform(0, np.pi, count) if rng.chance(0.7) else np.pi / 2 * generator.integers(0, 2, count)
    )
    leaves[:, 5] = generator.choice(shapes, count)
    leaves[:, 6] = values
    image = np.full((SIZE, SIZE), np.float32(0.5))
    paint(leaves, image)
    return image


def _mixed(rng: RandomSource) -> np.ndarray:
    """Dead leaves with noise on top: varying albedo and grain."""
    grain = 1 + rng.log_uniform(0.02, 0.4) * _field(rng, rng.uniform(0.8, 1.4), rng.log_uniform(4.0, 200.0))
    return np.clip((0.1 + 0.75 * _leaves(rng)) * grain, 0, 1, dtype=np.float32)


def _ramp(distance: np.ndarray) -> np.ndarray:
    """An antialiased edge, one texel wide, at distance 0."""
    return np.clip(0.5 + distance, 0, 1, dtype=np.float32)


def _period(rng: RandomSource) -> float:
    return SIZE / rng.pick([2, 4, 6, 10, 16, 24, 40, 64, 100, 128])


def _bars(period: float, solid: float) -> np.ndarray:
    """Signed distance (SIZE,) in texels to the edges of periodic bars, negative between bars."""
    at = (np.arange(SIZE) + 0.5) % period
    return solid * period / 2 - np.abs(at - period / 2)


def _stripes(rng: RandomSource) -> np.ndarray:
    bars = _ramp(_bars(_period(rng), rng.uniform(0.1, 0.9)))
    return np.tile(bars, (SIZE, 1))


def _board(rng: RandomSource) -> np.ndarray:
    period = _period(rng)
    bars = 2 * _ramp(_bars(period, 0.5)) - 1
    return (0.5 + 0.5 * bars * (bars if rng.chance(0.7) else 2 * _ramp(_bars(_period(rng), 0.5)) - 1)[:, None]).astype(
        np.float32
    )


def _grid(rng: RandomSource) -> np.ndarray:
    """Crossing lines: tiles, bricks, nets."""
    thin = rng.log_uniform(0.03, 0.3)
    across, down = _period(rng), _period(rng)
    if rng.chance(0.5):
        down = across
    lines = np.maximum(_ramp(_bars(across, thin))[None, :], _ramp(_bars(down, thin))[:, None])
    return 1 - lines if rng.chance(0.5) else lines


def _strokes(rng: RandomSource) -> np.ndarray:
    """Short strokes in rows, like print, or at random, like grass and scratches."""
    generator = np.random.default_rng(rng.seed())
    size = rng.log_uniform(6.0, 60.0)
    printed = rng.chance(0.6)
    count = int(min(rng.uniform(0.5, 4.0) * (SIZE / size) ** 2, 12000))
    leaves = np.zeros((count, 7))
    leaves[:, 0:2] = generator.uniform(0, SIZE, (count, 2))
    leaves[:, 2] = size * generator.uniform(0.15, 0.5, count)
    leaves[:, 3] = np.maximum(size * rng.uniform(0.03, 0.1), 0.4)
    leaves[:, 4] = generator.uniform(0, np.pi, count)
    if printed:
        rows = max(1, int(SIZE / (rng.uniform(1.3, 2.5) * size)))
        leaves[:, 1] = (generator.integers(0, rows, count) + 0.5) * SIZE / rows + generator.normal(
            0, 0.15 * size, count
        )
        leaves[:, 4] = np.pi / 4 * generator.integers(0, 4, count)
    leaves[:, 5] = _BOX
    leaves[:, 6] = 1.0 if printed else generator.random(count)
    image = np.zeros((SIZE, SIZE), np.float32)
    paint(leaves, image)
    return 1 - image if rng.chance(0.6) else image


@njit(nogil=True, cache=True, fastmath={"contract", "nsz", "arcp"}, error_model="numpy")
def paint(leaves: np.ndarray, image: np.ndarray) -> None:
    """Paint shapes on top of each other on a periodic image, with edges one texel wide.

    Args:
        leaves: (N, 7) float64: x, y, half length, half width (of boxes), angle in radians, shape, value.
        image: (S, S) float32, changed in place; S is a power of 2.
    """
    size = image.shape[0]
    normal_x, normal_y = np.empty(16), np.empty(16)
    for i in range(leaves.shape[0]):
        x, y, length, width, angle, kind, value = leaves[i]
        corners = int(kind)
        cos, sin = np.cos(angle), np.sin(angle)
        reach_x = reach_y = length + 1
        if corners == _BOX:
            reach_x = abs(cos) * length + abs(sin) * width + 1
            reach_y = abs(sin) * length + abs(cos) * width + 1
        apothem = length * np.cos(np.pi / corners) if corners > 2 else 0.0
        for n in range(corners if corners > 2 else 0):
            turn = angle + 2 * np.pi * n / corners
            normal_x[n], normal_y[n] = np.cos(turn), np.sin(turn)
        for row in range(int(np.floor(y - reach_y)), int(np.ceil(y + reach_y))):
            dy = row + 0.5 - y
            line = image[row & (size - 1)]
            for column in range(int(np.floor(x - reach_x)), int(np.ceil(x + reach_x))):
                dx = column + 0.5 - x
                if corners == _DISC:
                    inside = length - np.sqrt(dx * dx + dy * dy)
                else:
                    if corners == _BOX:
                        inside = min(length - abs(cos * dx + sin * dy), width - abs(cos * dy - sin * dx))
                    else:
                        inside = apothem
                        for n in range(corners):
                            inside = min(inside, apothem - normal_x[n] * dx - normal_y[n] * dy)
                if inside >= 0.5:
                    line[column & (size - 1)] = value
                elif inside > -0.5:
                    at = line[column & (size - 1)]
                    line[column & (size - 1)] = at + (inside + 0.5) * (value - at)
