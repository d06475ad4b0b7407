"""Model of a target's events in the spatial frequency domain, tile by tile, and its likelihood.

A detail of spatial frequency k on a surface in focus at position g0 (0 at the far end, 1 at the near end) has, at
position g, the contrast of a blur disc, OTF(|k| · c · |g − g0|), and breathing moves it by v pixels over the range.
Events are the derivative d/dg [OTF(g) · exp(−2πi k·v (g − ½))]. How well this explains the events, for any details,
determines the focus g0 and the motion v. Since the model includes the events caused by motion, the estimate is not
biased towards zero motion, unlike alignment of event images from both sides of focus.

Each detail has its own unknown amplitude and noise: if a fraction ρ of its energy is explained, its profile likelihood
is (1 − ρ)^−BINS. So strong details that fit badly (such as coarse ones, which stay below the pixels' thresholds on one
side of focus) count less than weak ones that fit well.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.special import j1

TILE_PX = 32
BINS = 24
MAX_TILES = 80
"""On large sensors, only this many tiles with the most events are used."""

LOWEST, HIGHEST = 0.03, 0.45
"""Range of spatial frequencies in cycles per pixel: a tile holds about one period at the lower end, and pixels resolve
no more above the upper end."""

_FINER = 2  # steps within a bin
_NOISE = 3e-3  # least energy of a model curve, relative to a detail that blurs from full to zero contrast
_SILENT = 1e-6  # energy below which a detail has no events


@dataclass(frozen=True)
class Tiles:
    """Windowed tiles of a stack, transformed in space."""

    spectra: np.ndarray  # (T, B, K) complex64
    centres: np.ndarray  # (T, 2) x, y in pixels
    frequency: np.ndarray  # (K, 2) cycles per pixel


def cut_tiles(stack: np.ndarray) -> Tiles:  # (B, H, W)
    """Half-overlapping tiles over the sensor, at most `MAX_TILES` with the most events."""
    _, height, width = stack.shape
    size = min(TILE_PX, height, width)
    y, x = (np.unique(np.linspace(0, n - size, max(1, round(2 * n / size) - 1)).astype(int)) for n in (height, width))
    corners = np.array([(i, j) for j in y for i in x])
    activity = np.array([np.abs(stack[:, j : j + size, i : i + size]).sum() for i, j in corners])
    corners = corners[np.sort(np.argsort(-activity, kind="stable")[:MAX_TILES])]
    window = np.hanning(size + 2)[1:-1].astype(np.float32)
    u, v = np.meshgrid(np.fft.rfftfreq(size), np.fft.fftfreq(size))
    radius = np.hypot(u, v)
    used = (radius > LOWEST) & (radius < HIGHEST)
    spectra = np.stack(
        [
            np.fft.rfft2(stack[:, j : j + size, i : i + size] * np.outer(window, window))[:, used].astype(np.complex64)
            for i, j in corners
        ]
    )
    return Tiles(spectra, corners + size / 2, np.stack([u[used], v[used]], axis=1))


def evidence(
    tiles: Tiles,
    position: float,  # g0
    blur_px: float,  # diameter of the disc when the focus is a whole range away
    motion: np.ndarray | None = None,  # (T, 2) pixels over the range
) -> np.ndarray:
    """(T,) log likelihood of a position and motion for each tile: −Σ ln(1 − ρ) over its details."""
    if motion is None:
        motion = np.zeros_like(tiles.centres)
    turn = 2 * np.pi * motion @ tiles.frequency.T
    return _evidence(tiles.spectra, _contrast(tiles, position, blur_px), turn)


def _contrast(tiles: Tiles, position: float, blur_px: float) -> np.ndarray:
    """(G, K) contrast of each detail under blur, at steps finer than the bins."""
    g = np.linspace(0, 1, (tiles.spectra.shape[1] - 1) * _FINER + 1)
    z = np.pi * blur_px * np.abs(g[:, None] - position) * np.hypot(*tiles.frequency.T) + 1e-9
    return 2 * j1(z) / z


@njit(nogil=True, cache=True)
def _evidence(
    spectra: np.ndarray,  # (T, B, K) complex64
    contrast: np.ndarray,  # (G, K)
    turn: np.ndarray,  # (T, K) decrease of a detail's phase over the range, radians
) -> np.ndarray:
    tiles, bins, details = spectra.shape
    steps = contrast.shape[0] - 1
    total = np.zeros(tiles)
    curve = np.empty(bins, np.complex128)
    for t in range(tiles):
        for k in range(details):
            curve[:] = 0
            wave = np.exp(0.5j * turn[t, k])
            step = np.exp(-1j * turn[t, k] / steps)
            before = contrast[0, k] * wave
            for j in range(steps):
                wave *= step
                now = contrast[j + 1, k] * wave
                at = (j + 0.5) / _FINER
                lower = int(at)
                curve[lower] += (now - before) * (1 - at + lower)
                curve[lower + 1] += (now - before) * (at - lower)
                before = now
            energy, power, product = _SILENT, _NOISE, 0j
            for b in range(bins):
                energy += spectra[t, b, k].real ** 2 + spectra[t, b, k].imag ** 2
                power += curve[b].real ** 2 + curve[b].imag ** 2
                product += spectra[t, b, k] * np.conj(curve[b])
            total[t] -= np.log(1 - (product.real**2 + product.imag**2) / (power * energy))
    return total


def evidence_numpy(tiles: Tiles, position: float, blur_px: float, motion: np.ndarray) -> np.ndarray:
    """`evidence` in plain NumPy."""
    bins = tiles.spectra.shape[1]
    contrast = _contrast(tiles, position, blur_px)
    steps = len(contrast) - 1
    turn = -2j * np.pi * motion @ tiles.frequency.T
    wave = contrast * np.exp(turn[:, None] * (np.linspace(0, 1, steps + 1)[:, None] - 0.5))
    middle = (np.arange(steps) + 0.5) / _FINER
    tent = np.maximum(0.0, 1 - np.abs(np.arange(bins)[:, None] - middle))
    curve = tent @ np.diff(wave, axis=1)
    power = np.sum(np.abs(curve) ** 2, axis=1) + _NOISE
    energy = np.sum(np.abs(tiles.spectra) ** 2, axis=1) + _SILENT
    product = np.sum(tiles.spectra * curve.conj(), axis=1)
    return -np.sum(np.log(1 - np.abs(product) ** 2 / (power * energy)), axis=1)
