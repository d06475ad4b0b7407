"""Metric depth from relative depth and two apertures, fitted by gradients through a model of defocus.

Talegaonkar et al., "Repurposing Marigold for Zero-Shot Metric Depth Estimation via Defocus Blur Cues", arXiv
2505.17358. The nearly all-in-focus image through a small aperture is blurred like by a thin lens for an assumed depth;
its difference from the image through the large aperture measures the error of that depth. Relative depth becomes metric
by two numbers, the positions of its nearest and farthest parts. Then the map itself is corrected: in the paper by
changing the noise from which a diffusion model makes the map, here by adding a smooth map.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ....capture.calibration import Calibration
from ....capture.errors import SweepdepthError
from ....capture.files.photographs import Photographs
from ...blur import gaussian_blur
from ...cases import Case, photographs_of
from ...estimate import Estimate
from .constant import UNIFORM_STD
from .relative import RelativeDepth

LEVELS = 24
"""Blur widths that are computed; images for other widths are interpolated."""

BEYOND = 0.2
"""Largest distance of surfaces beyond the ends of the sweep range, as a fraction of the range."""

STEPS, RATE = 80, 0.02
"""Steps of the gradient descent, for scale and shift and again for the map."""

CELL_PX, SMOOTHNESS = 8, 0.5
"""Cell size in pixels of the map that is added, and weight of its differences between cells relative to image errors in
standard deviations of noise."""

WINDOW_PX, LEAST_STD = 4.0, 0.01
"""Width of the Gaussian over which errors are pooled for the predicted deviation, and its lower bound as a fraction of
the sweep range."""

_GRID = np.linspace(0.0, 1.0, 9)


@dataclass(frozen=True)
class TwoApertures:
    """Makes relative depth metric; `whole`: whether the map is corrected after scale and shift."""

    relative: RelativeDepth
    whole: bool = True

    @property
    def name(self) -> str:
        return "apertures" if self.whole else "apertures, scale and shift"

    def __call__(self, case: Case) -> Estimate:
        pair = photographs_of(case, "two_apertures")
        return metric_depth(pair, self.relative(case), case.calibration, self.relative.of_depth, self.whole)


def metric_depth(
    pair: Photographs,
    nearness: np.ndarray,  # (H, W)
    calibration: Calibration,
    of_depth: bool = False,
    whole: bool = True,
) -> Estimate:
    """Estimate the depth of every pixel.

    Args:
        pair: images through a small and then a large aperture, at one focus.
        nearness: (H, W), greater where it is nearer, of any scale and shift.
        calibration: of the lens.
        of_depth: whether it is linear in depth; otherwise in inverse depth.
        whole: whether the map is corrected, too.

    Raises:
        SweepdepthError: the relative depth is not of the images' size.
    """
    if nearness.shape != pair.images.shape[1:]:
        raise SweepdepthError(f"relative depth of shape {nearness.shape} is not that of images {pair.images.shape[1:]}")
    low, high = np.nanpercentile(nearness, [2, 98])
    part = torch.from_numpy(np.nan_to_num((nearness - low) / max(high - low, 1e-9)).clip(-0.5, 1.5).astype(np.float32))
    model = Defocus(pair, calibration)
    settings = calibration.sweep
    zero = settings.far_diopters / settings.range_diopters  # positions measured from 0 diopters, the inverse of depth

    def between(far: Tensor, near: Tensor) -> Tensor:
        if not of_depth:
            return far + part * (near - far)
        far, near = (far + zero).clamp(min=0.02), (near + zero).clamp(min=0.02)
        return far * near / (near + part.clamp(0, 1) * (far - near)) - zero

    position = _fitted(model, between)
    if whole:
        position = _corrected(model, position)
    std = _deviation(model, position)
    diopters = settings.far_diopters + settings.range_diopters * position.clamp(0, 1).numpy()
    return Estimate(diopters.astype(np.float32), (std * settings.range_diopters).astype(np.float32), float("nan"))


class Defocus:
    """Model of the image through the large aperture, from the one through the small aperture and given positions."""

    def __init__(self, pair: Photographs, calibration: Calibration) -> None:
        settings, (small, large) = calibration.sweep, pair.aperture_scale.tolist()
        scale_px = calibration.camera.fx * calibration.lens.aperture_m * np.sqrt(large**2 - small**2)  # variances add
        self._focus = float((pair.diopters[1] - settings.far_diopters) / settings.range_diopters)
        self._px = float(scale_px * settings.range_diopters)
        farthest = max(abs(-BEYOND - self._focus), abs(1 + BEYOND - self._focus))
        self._step = self._px * farthest / (LEVELS - 1)
        mean = float(pair.images.mean())
        shown = torch.from_numpy(pair.images.astype(np.float32) / max(mean, 1e-9))
        self.blurred = torch.stack([_disc_blur(shown[0], self._step * k) for k in range(LEVELS)])
        self.seen = _stabilised(shown[1])
        difference = self.seen.diff(dim=0).diff(dim=1).abs().median()
        self.noise = float(difference) / 0.6745 / 2 + 1e-3

    def predicted(self, position: Tensor) -> Tensor:  # (…, H, W) of the sweep range → the same
        """The square root of brightness through the large aperture."""
        at = ((position - self._focus).abs() * self._px / self._step).clamp(0, LEVELS - 1.001)
        lower = at.detach().floor().long()
        share = at - lower
        levels = self.blurred.expand(*at.shape[:-2], *self.blurred.shape)
        below, above = (torch.gather(levels, -3, (lower + k).unsqueeze(-3)).squeeze(-3) for k in (0, 1))
        return _stabilised(below + share * (above - below))

    def error(self, position: Tensor) -> Tensor:
        """Differences from the image in standard deviations of its noise, with a pseudo-Huber loss."""
        return (1 + ((self.predicted(position) - self.seen) / self.noise / 2).square()).sqrt() - 1


def _stabilised(light: Tensor) -> Tensor:
    return (light.clamp(min=0) + 0.01).sqrt()


def _disc_blur(image: Tensor, diameter_px: float) -> Tensor:
    """Blur by a disc with a soft rim of one pixel."""
    reach = int(np.ceil(diameter_px / 2))
    y, x = torch.meshgrid(*(torch.arange(-reach, reach + 1.0),) * 2, indexing="ij")
    disc = (diameter_px / 2 + 0.5 - torch.hypot(x, y)).clamp(0, 1)
    padded = functional.pad(image[None, None], (reach,) * 4, mode="replicate")
    return functional.conv2d(padded, (disc / disc.sum())[None, None])[0, 0]


def _fitted(model: Defocus, between: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Fit the positions of the farthest and the nearest part: grid search, then gradient descent."""
    pairs = torch.tensor([(far, near) for far in _GRID for near in _GRID if far <= near], dtype=torch.float32)
    with torch.no_grad():
        errors = torch.stack([model.error(between(far, near)).mean() for far, near in pairs])
    ends = pairs[errors.argmin()].clone().requires_grad_()
    far, near = _descend(ends, lambda: model.error(between(ends[0], ends[1])).mean())
    return between(far, near)


def _corrected(model: Defocus, position: Tensor) -> Tensor:
    """Add a smooth map that reduces the difference between modelled and observed image."""
    height, width = position.shape
    cells = torch.zeros(1, 1, -(-height // CELL_PX) + 1, -(-width // CELL_PX) + 1, requires_grad=True)

    def added() -> Tensor:
        return functional.interpolate(cells, (height, width), mode="bicubic", align_corners=True)[0, 0]

    def loss() -> Tensor:
        rough = cells.diff(dim=2).square().mean() + cells.diff(dim=3).square().mean()
        return model.error(position + added()).mean() + SMOOTHNESS * CELL_PX**2 * rough

    _descend(cells, loss)
    return (position + added()).detach().clamp(-BEYOND, 1 + BEYOND)


def _descend(values: Tensor, loss: Callable[[], Tensor]) -> Tensor:
    optimizer = torch.optim.Adam([values], lr=RATE)
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
    return values.detach()


def _deviation(model: Defocus, position: Tensor) -> np.ndarray:
    """(H, W) predicted deviation as a fraction of the sweep range: image error over its derivative by depth, both
    pooled."""
    position = position.clone().requires_grad_()
    predicted = model.predicted(position)
    (change,) = torch.autograd.grad(predicted.sum(), position)
    squares = torch.stack([(predicted.detach() - model.seen).square(), change.square()]).numpy()
    error, slope = gaussian_blur(squares.astype(np.float32), WINDOW_PX)
    return np.sqrt(error / np.maximum(slope, 1e-12)).clip(LEAST_STD, UNIFORM_STD)
