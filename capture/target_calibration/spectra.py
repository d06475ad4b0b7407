"""What a target's events should look like, tile by tile, in the plane of spatial frequencies.

A detail of spatial frequency k on a surface at focus position g0 (0 at the far end, 1 at the near end) is seen at g
with the contrast of a disc of blur, OTF(|k| · c · |g − g0|), at a place that breathing moves by v pixels over it all.
Events are the derivative of that: d/dg [OTF(g) · exp(−2πi k·v (g − ½))]. How well this explains the events, whatever
the details are, says where focus is (g0) and how the image moves (v). The motion's own events are part of the model, so
unlike aligning event images of both sides of focus it is not drawn towards no motion at all.

Each detail has an amplitude and a noise of its own, both unknown: with a part ρ of its energy explained, its profile
likelihood is (1 − ρ)^−BINS. Strong details that fit badly, as coarse ones do whose change stays below the pixels'
thresholds on one side of focus, then count less than weak ones that fit well.
"""

from dataclasses import dataclass

import numpy as np
from numba import njit
from scipy.special import j1

TILE_PX = 32
BINS = 24
MAX_TILES = 80
"""Of a large sensor, the tiles with most events."""

LOWEST, HIGHEST = 0.03, 0.45
"""Cycles per pixel: below, a tile holds hardly a period; above, pixels no longer resolve."""

_FINER = 2  # steps within a bin
_NOISE = 3e-3  # of the energy of a detail that goes from sharp to gone, below which a curve is too weak to count
_SILENT = 1e-6  # energy of a detail without events, which explains nothing


@dataclass(frozen=True)
class Tiles:
    """Windowed tiles of a stack, transformed in space."""

    spectra: np.ndarray  # (T, B, K) complex64
    centres: np.ndarray  # (T, 2) x, y in pixels
    frequency: np.ndarray  # (K, 2) cycles per pixel


def cut_tiles(stack: np.ndarray) -> Tiles:  # (B, H, W)
    """Half-overlapping tiles over the whole sensor, those with most events."""
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
    """(T,) how well a target there, so moving, explains each tile's events: −Σ ln(1 − ρ) over its details."""
    if motion is None:
        motion = np.zeros_like(tiles.centres)
    turn = 2 * np.pi * motion @ tiles.frequency.T
    return _evidence(tiles.spectra, _contrast(tiles, position, blur_px), turn)


def _contrast(tiles: Tiles, position: float, blur_px: float) -> np.ndarray:
    """(G, K) what blur leaves of each detail, at steps finer than the bins."""
    g = np.linspace(0, 1, (tiles.spectra.shape[1] - 1) * _FINER + 1)
    z = np.pi * blur_px * np.abs(g[:, None] - position) * np.hypot(*tiles.frequency.T) + 1e-9
    return 2 * j1(z) / z


@njit(nogil=True, cache=True)
def _evidence(
    spectra: np.ndarray,  # (T, B, K) complex64
    contrast: np.ndarray,  # (G, K)
    turn: np.ndarray,  # (T, K) radians that a detail's phase falls by over the range
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
