"""The load of `./run bench live`, and what is measured under it."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sweepdepth import Calibration
from sweepdepth.stream.pipeline import Rate

SWEEP_US, STEP_US = 200_000, 5000
LENS = """
[camera]
width = {width}
height = {height}
pixel_pitch_um = 9.0
fx = {fx}
fy = {fx}
cx = {cx}
cy = {cy}
[lens]
focal_length_mm = 12.0
f_number = 1.4
[sweep]
waveform = "triangle"
frequency_hz = 2.5
far_diopters = 0.5
near_diopters = 2.5
sync = "trigger"
"""


@dataclass(frozen=True)
class Load:
    """The load of a run: sensor size and estimator."""

    width: int
    height: int
    estimator: str | None
    weights: str | None
    depth_rate: Rate
    downsample: int = 1

    @property
    def camera(self) -> str:
        """How tables call it."""
        n = self.downsample
        return f"{self.width}×{self.height}" + (f", {n}×{n} binned" if n > 1 else "")

    @property
    def calibration(self) -> Calibration:
        """A calibration whose largest blur is the same fraction of the image at every size."""
        size = {"width": self.width, "height": self.height, "fx": 2.083 * self.width}
        return Calibration.parse(LENS.format(**size, cx=self.width / 2, cy=self.height / 2))

    def scene(self) -> np.ndarray:
        """(H, W) diopters: planes side by side."""
        columns = np.linspace(0.9, 2.1, 8)[np.arange(self.width) * 8 // self.width]
        return np.broadcast_to(columns, (self.height, self.width))

    def truth(self) -> np.ndarray:
        """The scene in the pixels of the depth."""
        n = self.downsample
        return self.scene()[n // 2 :: n, n // 2 :: n][: self.height // n, : self.width // n]


@dataclass
class Run:
    """Measurements of one run after settling."""

    load: Load
    rate: float  # requested M events/s
    seconds: float = 0.0
    ages_ms: list[float] = field(default_factory=list)  # of each depth frame at the subscriber
    wire_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    errors: list[float] = field(default_factory=list)  # median of each depth frame, as a fraction of the range
    rss: dict[str, list[tuple[float, float]]] = field(default_factory=dict)  # process → (s, MB)
    cpu: dict[str, float] = field(default_factory=dict)  # stage → cores
    sent: int = 0
    unsent: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    queues: dict[str, int] = field(default_factory=dict)  # largest lengths
    events_per_s: float = 0.0
    quality: float = 0.0

    @property
    def lost_events(self) -> int:
        return self.unsent + self.dropped.get("camera_events", 0)

    @property
    def lost_share(self) -> float:
        return self.lost_events / max(1, self.sent + self.unsent)

    @property
    def sweeps_without_depth(self) -> int:
        return max(0, round(self.seconds * 1e6 / SWEEP_US) - 1 - len(self.ages_ms))

    @property
    def depths_per_s(self) -> float:
        return len(self.ages_ms) / self.seconds

    @property
    def median_error(self) -> float:
        """Median over the depths of their median errors, as a fraction of the range; NaN without any."""
        return float(np.median([error for error in self.errors if np.isfinite(error)] or np.nan))

    @property
    def memory_gb(self) -> float:
        """The most of all processes together."""
        return sum(max(mb for _, mb in samples) for samples in self.rss.values()) / 1000

    def age_ms(self, *percent: float) -> np.ndarray:
        """Percentiles of the age; NaN without any depth."""
        return np.percentile(self.ages_ms, percent) if self.ages_ms else np.full(len(percent), np.nan)

    def summary(self) -> dict[str, Any]:
        """What tables and charts show, as JSON."""
        p50, p99, oldest = (round(float(age), 1) if self.ages_ms else None for age in self.age_ms(50, 99, 100))
        return {
            "camera": self.load.camera, "width": self.load.width, "height": self.load.height,
            "downsample": self.load.downsample, "rate": self.rate, "seconds": round(self.seconds, 1),
            "sent": self.sent, "unsent": self.unsent, "dropped": self.dropped, "lost": round(self.lost_share, 5),
            "depths_per_s": round(self.depths_per_s, 2), "age_p50_ms": p50, "age_p99_ms": p99, "age_max_ms": oldest,
            "memory_gb": round(self.memory_gb, 2), "cores": {name: round(n, 2) for name, n in self.cpu.items()},
        }  # fmt: skip
