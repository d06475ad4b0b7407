"""Depth metrics, used for all reported errors."""

from dataclasses import dataclass

import numpy as np

from ..capture.calibration import Calibration
from ..capture.optics import to_diopters

DELTAS = (1.05, 1.15, 1.25)

NORMAL_MEDIAN = 0.6745
"""Median of |x| for a standard normal x."""


@dataclass(frozen=True)
class Metrics:
    """Errors of one depth map, over known pixels whose true depth is inside the sweep range.

    Attributes:
        n_truth: number of pixels whose true depth is inside the sweep range.
        coverage: fraction of them with an answer.
        abs_rel: mean |z − z*| / z*.
        rmse_m: root mean square error in metres.
        mae_m: mean absolute error in metres.
        delta: fractions of pixels with max(z/z*, z*/z) below 1.05, 1.15 and 1.25 (Eigen et al., NIPS 2014).
        rmse: root mean square error in 1/m.
        mae: mean absolute error in 1/m.
        median: median absolute error in 1/m.
        bias: mean error in 1/m.
        rmse_range: `rmse` as a fraction of the sweep range.
        mae_range: `mae` as a fraction of the sweep range.
        median_range: `median` as a fraction of the sweep range.
        std_ratio: median of |error| over the predicted standard deviation, divided by that of a normal distribution: 1
            if the deviations are calibrated, more if they are too small.
        n_outside: number of answered pixels whose true depth is outside the range (not scored above).
        outside_mae: their mean absolute error to the nearer end of the range, 1/m.
        outside_mae_range: the same as a fraction of the sweep range.
        outside_std_range: their mean predicted deviation, as a fraction of the sweep range.
    """

    n_truth: int  # pixels whose true depth is inside the sweep range
    coverage: float  # fraction of them with an answer
    abs_rel: float
    rmse_m: float
    mae_m: float
    delta: tuple[float, ...]  # δ < 1.05, 1.15, 1.25
    rmse: float  # 1/m
    mae: float  # 1/m
    median: float  # median |error|, 1/m
    bias: float  # mean error, 1/m
    rmse_range: float
    mae_range: float
    median_range: float
    std_ratio: float
    n_outside: int  # answered pixels whose true depth is outside the range (not scored above)
    outside_mae: float  # their error to the nearer end of the range, 1/m
    outside_mae_range: float
    outside_std_range: float  # their mean predicted deviation


def score(
    depth: np.ndarray,  # (H, W) metres, NaN where unknown
    truth: np.ndarray,  # (H, W) metres, NaN where unknown
    calibration: Calibration,
    std: np.ndarray | None = None,  # (H, W) 1/m
    where: np.ndarray | None = None,  # (H, W) bool: score these pixels only
) -> Metrics:
    """Compare a depth map with the ground truth.

    Args:
        depth: (H, W) metres, NaN where unknown.
        truth: (H, W) metres, NaN where unknown.
        calibration: gives the sweep range.
        std: (H, W) predicted standard deviations in 1/m.
        where: (H, W) bool, pixels to score; all by default.

    Returns:
        The metrics, NaN for those without any pixel.

    Raises:
        ValueError: the maps differ in shape.

    Examples:
        >>> from sweepdepth import Calibration
        >>> truth = np.full((180, 240), 1.0)
        >>> metrics = score(1.02 * truth, truth, Calibration.load("lens.toml"))
        >>> round(metrics.abs_rel, 3), metrics.coverage
        (0.02, 1.0)
    """
    if depth.shape != truth.shape:
        raise ValueError(f"depth {depth.shape} and truth {truth.shape} differ in shape")
    sweep = calibration.sweep
    true_diopters = to_diopters(truth.astype(np.float64))
    diopters = to_diopters(depth.astype(np.float64))
    candidates = np.isfinite(true_diopters) & (True if where is None else where)
    inside = candidates & (true_diopters >= sweep.far_diopters) & (true_diopters <= sweep.near_diopters)
    answered = inside & np.isfinite(diopters) & (diopters > 0)
    outside = candidates & ~inside & np.isfinite(diopters)

    error = (diopters - true_diopters)[answered]
    z, z_true = 1 / diopters[answered], truth[answered].astype(np.float64)
    ratio = np.maximum(z / z_true, z_true / z)
    nearest_end = np.clip(true_diopters, sweep.far_diopters, sweep.near_diopters)
    size = np.abs(error)
    rmse, mae, median = _mean(error**2) ** 0.5, _mean(size), _median(size)
    outside_mae = _mean(np.abs(diopters - nearest_end)[outside])
    return Metrics(
        n_truth=int(inside.sum()),
        coverage=_mean(answered[inside].astype(float)),
        abs_rel=_mean(np.abs(z - z_true) / z_true),
        rmse_m=_mean((z - z_true) ** 2) ** 0.5,
        mae_m=_mean(np.abs(z - z_true)),
        delta=tuple(_mean((ratio < limit).astype(float)) for limit in DELTAS),
        rmse=rmse,
        mae=mae,
        median=median,
        bias=_mean(error),
        rmse_range=rmse / sweep.range_diopters,
        mae_range=mae / sweep.range_diopters,
        median_range=median / sweep.range_diopters,
        std_ratio=float("nan") if std is None else _median(size / std[answered]) / NORMAL_MEDIAN,
        n_outside=int(outside.sum()),
        outside_mae=outside_mae,
        outside_mae_range=outside_mae / sweep.range_diopters,
        outside_std_range=float("nan") if std is None else _mean(std[outside]) / sweep.range_diopters,
    )


def mean(metrics: list[Metrics]) -> Metrics:
    """Mean of each metric over frames where it is not NaN; counts are summed."""
    if not metrics:
        raise ValueError("no metrics to average")
    values: dict[str, object] = {}
    for name in Metrics.__dataclass_fields__:
        column = np.array([getattr(m, name) for m in metrics], np.float64)
        if name.startswith("n_"):
            values[name] = int(column.sum())
        elif name == "delta":
            values[name] = tuple(_mean(column[:, k]) for k in range(len(DELTAS)))
        else:
            values[name] = _mean(column)
    return Metrics(**values)  # pyright: ignore[reportArgumentType]


def _mean(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")


def _median(values: np.ndarray) -> float:
    values = values[~np.isnan(values)]
    return float(np.median(values)) if values.size else float("nan")
