"""Hot pixels and noise rate, from a recording with lens and scene at rest."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import poisson

from ..calibration import Calibration
from ..errors import CalibrationError
from ..recordings import open_recording

MIN_SECONDS = 1.0

HOT_FACTOR = 10.0
"""A hot pixel fires more than this many times the usual rate; one standard deviation of pixel rates is a factor of 1.26
(0.1 decades), so this is ten of them."""

HOT_HZ = 1.0
"""Least rate of a hot pixel."""

FALSE_ALARMS = 0.01
"""Expected number of false detections on the whole sensor."""

NOISY_HZ, RESTLESS_HZ = 1.0, 10.0
"""Noise rates per pixel above which depth suffers, and above which the scene was not at rest. Real sensors have 0.03 to
0.1 Hz in good light (Gallego et al., TPAMI 2022, table 1), a few Hz in the dark."""

MAX_HOT_SHARE = 0.005


@dataclass(frozen=True)
class Rest:
    """Statistics of a recording of a static scene with the lens at rest."""

    seconds: float
    n_events: int
    hot_pixels: tuple[tuple[int, int], ...]  # x, y
    noise_hz: float  # mean over all pixels but the hot ones
    on_share: float  # of the ordinary pixels' events; NaN without any
    rate_hz: np.ndarray  # (H, W) of each pixel

    @property
    def fault(self) -> str:
        """Why this recording should not be trusted; empty if it is fine."""
        share = len(self.hot_pixels) / self.rate_hz.size
        if self.noise_hz > RESTLESS_HZ:
            return (
                f"a pixel fires {self.noise_hz:.3g} times a second in the recording at rest: something moved or "
                "flickered, or the thresholds are far too low"
            )
        if share > MAX_HOT_SHARE:
            return f"{share:.1%} of the pixels are hot: raise the camera's thresholds, or shield it from what they see"
        if self.noise_hz > NOISY_HZ:
            return f"a pixel makes {self.noise_hz:.3g} noise events a second: raise the thresholds, or use more light"
        return ""


def measure_rest(path: str | Path, calibration: Calibration) -> Rest:
    """Read and evaluate a recording at rest.

    Raises:
        RecordingError: it cannot be read.
        CalibrationError: it is too short.
    """
    camera = calibration.camera
    pixels = camera.width * camera.height
    count, on = np.zeros(pixels, np.int64), np.zeros(pixels, np.int64)
    first_us: int | None = None
    end_us = 0
    with open_recording(path, calibration) as recording:
        for batch in recording:
            pixel = batch.events["y"].astype(np.int64) * camera.width + batch.events["x"]
            count += np.bincount(pixel, minlength=pixels)
            on += np.bincount(pixel[batch.events["polarity"] > 0], minlength=pixels)
            if first_us is None and len(batch.events):
                first_us = int(batch.events["timestamp"][0])
            end_us = batch.end_us
    seconds = 0.0 if first_us is None else (end_us - first_us) * 1e-6
    if seconds < MIN_SECONDS:
        raise CalibrationError(
            f"{path}: lasts {seconds:.2g} s from its first event; a recording at rest needs {MIN_SECONDS:g} s, 10 s "
            "are better, to distinguish noise from hot pixels"
        )
    hot = find_hot(count, seconds)
    usual, hot_at = count[~hot], np.flatnonzero(hot)
    return Rest(
        seconds=seconds,
        n_events=int(count.sum()),
        hot_pixels=tuple((int(i % camera.width), int(i // camera.width)) for i in hot_at),
        noise_hz=float(usual.mean()) / seconds,
        on_share=float(on[~hot].sum()) / max(int(usual.sum()), 1) if usual.any() else float("nan"),
        rate_hz=(count / seconds).reshape(camera.height, camera.width),
    )


def find_hot(count: np.ndarray, seconds: float) -> np.ndarray:  # (N,) int → (N,) bool
    """Pixels with more events than chance and mismatch explain."""
    hot = np.zeros(len(count), bool)
    for _ in range(5):  # the usual rate without the pixels found so far
        usual = float(count[~hot].mean())
        limit = max(poisson.isf(FALSE_ALARMS / len(count), HOT_FACTOR * usual), HOT_HZ * seconds)
        found = count > limit
        if np.array_equal(found, hot):
            break
        hot = found
    return hot
