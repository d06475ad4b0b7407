"""Refocuses a light field: the image at any focus as a weighted sum of shifted views, with lens breathing.

Output pixel q is at image position p = centre + (q − centre) / m(φ) in the geometry of the far end; there view k is
sampled at p − fx · u_k · (φ − reference). The compiled kernel works row by row: two rows of each view are blended into
one, which stays in L1 cache while it is shifted and added.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numba import njit

from ...capture.calibration import Calibration
from ...capture.optics import breathing_magnification
from .lightfield import LightField, view_weights

BLEND = 0.65
"""Width of the transition between two samples of a view, in pixels.

Since views are sampled at different positions, their sum is a box pixel of width 1 with edges blurred by this width. 1
is bilinear interpolation, a tent twice as wide as the pixel; 0 is an exact box, but has steps and more noise. Compared
with high-sample depth of field, 0.65 had the smallest error on most scenes (bench/rendering.py)."""


def refocus(
    light_field: LightField,
    focus_diopters: float,  # 1/m
    calibration: Calibration,
    aperture_scale: float = 1.0,
    threads: int = 1,
) -> np.ndarray:
    """The image at one focus, (H, W) float32, linear radiance.

    Raises:
        ValueError: the focus needs a larger margin, or the aperture is larger than the rendered one.
    """
    return refocus_sweep(light_field, [focus_diopters], calibration, aperture_scale, threads)[0]


def refocus_sweep(
    light_field: LightField,
    focus_diopters: Sequence[float] | np.ndarray,  # (S,), 1/m
    calibration: Calibration,
    aperture_scale: float = 1.0,
    threads: int = 1,
) -> np.ndarray:
    """The images at several focus distances, (S, H, W) float32; faster than `refocus` for each.

    Threads share the rows of the image; the result does not depend on their number.
    """
    weights = view_weights(len(light_field.views), aperture_scale)
    used = weights > 0
    columns, rows = _reading_positions(light_field, np.asarray(focus_diopters, np.float64), calibration, used)
    views = light_field.views[: int(used.sum())]
    height, width = light_field.depth.shape
    out = np.empty((columns.shape[0], height, width), np.float32)
    bands = np.linspace(0, height, max(threads, 1) + 1).astype(int)
    share = weights[used].astype(np.float32)

    def work(band: int) -> None:
        shift_and_add(views, columns, rows, share, bands[band], bands[band + 1], out)

    if threads <= 1:
        work(0)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, range(threads)))
    return out


def _reading_positions(
    light_field: LightField, focus: np.ndarray, calibration: Calibration, used: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Sampling positions of the output pixels in the views' arrays: columns (S, K, W) and rows (S, K, H), float32.

    The fraction is the weight of the next element.
    """
    camera, sweep, breathing = calibration.camera, calibration.sweep, calibration.breathing
    height, width = light_field.depth.shape
    if (height, width) != (camera.height, camera.width):
        raise ValueError(f"the light field is {width}×{height}, but the calibration {camera.width}×{camera.height}")
    magnification = np.ones_like(focus)
    centre = (0.0, 0.0)
    if breathing is not None:
        magnification = breathing_magnification(focus, sweep.far_diopters, breathing.scale_per_diopter)
        centre = breathing.center
    positions = []
    for axis, (size, scale) in enumerate(((width, camera.fx), (height, camera.fy))):
        at = centre[axis] + (np.arange(size) + 0.5 - centre[axis]) / magnification[:, None, None]
        shift = scale * light_field.offsets[used, axis] * (focus[:, None] - light_field.reference_diopters)
        at = at - (shift + light_field.jitter[used, axis])[:, :, None] + light_field.margin - 0.5
        sample = np.floor(at)
        at = (sample + np.clip((at - sample - 0.5) / BLEND + 0.5, 0.0, 1.0)).astype(np.float32)
        if at.min() < 0 or at.max() >= size + 2 * light_field.margin - 1:
            raise ValueError(
                f"a focus from {focus.min():g} to {focus.max():g} 1/m reaches beyond the light field's margin of "
                f"{light_field.margin} px; render it for that range"
            )
        positions.append(at)
    return positions[0], positions[1]


@njit(nogil=True, cache=True, fastmath={"contract"})
def shift_and_add(
    views: np.ndarray,  # (K, h, w) float32
    columns: np.ndarray,  # (S, K, W) float32, sampling positions in a view's row
    rows: np.ndarray,  # (S, K, H) float32
    weights: np.ndarray,  # (K,) float32
    first_row: int,
    last_row: int,
    out: np.ndarray,  # (S, H, W) float32
) -> None:
    """Fill rows [first_row, last_row) of each image with the weighted sum of all views' samples.

    All images are computed together, so that the few view rows needed for one row of all images stay in cache.
    """
    n_images, n_views, width = columns.shape
    line = np.empty(views.shape[2], np.float32)
    for y in range(first_row, last_row):
        for s in range(n_images):
            target = out[s, y]
            target[:] = np.float32(0)
            for k in range(n_views):
                row = rows[s, k, y]
                i = int(row)
                below = (row - np.float32(i)) * weights[k]
                above = weights[k] - below
                upper, lower = views[k, i], views[k, i + 1]
                for x in range(line.size):
                    line[x] = above * upper[x] + below * lower[x]
                at = columns[s, k]
                j = int(at[0])
                if abs(at[width - 1] - at[0] - np.float32(width - 1)) < 1e-3:  # no change of scale, only a shift
                    right = at[0] - np.float32(j)
                    left = np.float32(1) - right
                    near, far = line[j : j + width], line[j + 1 : j + 1 + width]
                    for x in range(width):
                        target[x] += left * near[x] + right * far[x]
                else:
                    for x in range(width):
                        j = int(at[x])
                        right = at[x] - np.float32(j)
                        target[x] += line[j] + right * (line[j + 1] - line[j])


def shift_and_add_numpy(
    views: np.ndarray, columns: np.ndarray, rows: np.ndarray, weights: np.ndarray
) -> np.ndarray:  # (S, H, W)
    """`shift_and_add` for all rows in plain NumPy."""
    j, i = columns.astype(int), rows.astype(int)
    right, below = columns - j, rows - i
    k = np.arange(len(views))[:, None, None]
    images = []
    for s in range(len(columns)):
        x, y = j[s][:, None, :], i[s][:, :, None]
        r, b = right[s][:, None, :], below[s][:, :, None]
        upper = views[k, y, x] * (1 - r) + views[k, y, x + 1] * r
        lower = views[k, y + 1, x] * (1 - r) + views[k, y + 1, x + 1] * r
        images.append(np.einsum("k,kyx->yx", weights, upper * (1 - b) + lower * b))
    return np.array(images)
