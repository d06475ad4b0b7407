"""Sweeps simulated anew: from a scene's ideal focal stack, another sensor, light, speed and range for every number.

A rendered scene costs seconds, a sweep over it milliseconds; so a network need never see the same events twice. The
stack is ideal images of instants (`[intensity] noise = false`), and everything else is the ordinary sensor model.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..capture.calibration import Calibration
from ..capture.errors import RecordingError
from ..capture.files.dataset import SceneTruth, open_dataset, read_truth
from ..capture.optics import breathing_magnification
from ..capture.sweeps import Direction, Sweep
from .generation.config import LightRange, SensorRange
from .generation.draws import draw_sensor
from .generation.make_scene import light_of
from .optics.conventional import photograph_sweep
from .scenes.random_source import RandomSource
from .simulate import simulate_sweeps

_DARKEST = 0.02
"""Of the mean radiance: what is darker changes without meaning."""


class Conditions(BaseModel):
    """Sensors, lights and speeds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sensor: SensorRange = SensorRange()
    light: LightRange = LightRange(illuminance_lux=(200.0, 3000.0))
    sweep_s: tuple[Annotated[float, Field(gt=0)], float] = (0.03, 2.0)
    """Duration of a sweep, drawn evenly in its logarithm."""


ORDINARY = Conditions(
    sensor=SensorRange(on_threshold=(0.1, 0.35), bandwidth_hz=(200.0, 5000.0), shot_noise_hz=(0.001, 3.0)),
    light=LightRange(illuminance_lux=(300.0, 3000.0)),
    sweep_s=(0.08, 0.6),
)
"""What laboratories have; there is more to learn from a sweep than with high thresholds, in the dark or in a hurry."""


class ResimulationConfig(BaseModel):
    """What is drawn anew for every sweep."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    anything: Conditions = Conditions()
    ordinary: Conditions = ORDINARY
    ordinary_share: Annotated[float, Field(ge=0, le=1)] = 0.75
    """The part of sweeps under ordinary conditions; the others are under any."""
    whole: Annotated[float, Field(ge=0, le=1)] = 0.6
    """The part of sweeps that span the whole range of the stack."""
    shortest: Annotated[float, Field(gt=0, le=1)] = 0.5
    """The others span this much of it at least: less blur, and surfaces beyond the ends."""
    least_events: Annotated[float, Field(ge=0)] = 0.15
    """Sweeps with fewer events a pixel are drawn once more, in other conditions."""


@dataclass(frozen=True)
class IdealScene:
    """A scene as a lens sweeps over it, without noise."""

    name: str
    stack: np.ndarray  # (S, H, W) float16, linear radiance, far to near, even in diopters, as the lens breathes
    depth: np.ndarray  # (H, W) float32, metres, in the geometry of the far end
    calibration: Calibration

    @property
    def change(self) -> float:
        """Total change of the logarithm of brightness over the sweep, mean over (a quarter of) the pixels."""
        light = self.stack[:, ::2, ::2].astype(np.float32)
        light = np.log(light + _DARKEST * light.mean() + 1e-9)
        return float(np.abs(np.diff(light, axis=0)).sum(axis=0).mean())


@dataclass(frozen=True)
class SimulatedSweep:
    """One sweep and its truth."""

    recording: str  # name of the scene
    events: np.ndarray  # (N,) EVENT_DTYPE, in time order
    sweep: Sweep
    truth: np.ndarray  # (H, W) float32, metres, in the geometry of the sweep's far end
    frames: np.ndarray | None  # (F, H, W) float32, what a conventional camera saw of it, far to near
    frame_diopters: np.ndarray | None  # (F,)

    @property
    def calibration(self) -> Calibration:
        """Of the sweep."""
        return self.sweep.calibration

    @property
    def seconds(self) -> float:
        """How long the sweep takes."""
        return (self.sweep.end_us - self.sweep.start_us) * 1e-6


def load_ideal_scenes(folder: Path, on_scene: Callable[[int], None] = lambda done: None) -> list[IdealScene]:
    """The ideal focal stacks of a dataset; scenes without one are left out.

    Args:
        folder: of a dataset rendered with `[intensity] noise = false`.
        on_scene: called with how many scenes have been read.

    Raises:
        RecordingError: the folder is no dataset, or a file of it is damaged.
    """
    scenes = []
    for number, path in enumerate(open_dataset(folder).first_variants, 1):
        scene = ideal_scene(path.stem, read_truth(path))
        scenes += [] if scene is None else [scene]
        on_scene(number)
    return scenes


def lively(scenes: list[IdealScene], least_change: float = 0.1, keep_every: int = 5) -> list[IdealScene]:
    """The scenes that there is something to learn from, and a few of the others.

    Where brightness hardly changes over the sweep there are hardly any events, whatever the sensor, and depth cannot
    be told. Among scenes that chance made, half can be like that.

    Args:
        scenes: any.
        least_change: total change of the logarithm of brightness over the sweep, mean over the pixels.
        keep_every: of the scenes that change less, one in so many is kept.
    """
    changing = [scene for scene in scenes if scene.change >= least_change]
    still = [scene for scene in scenes if scene.change < least_change]
    return changing + still[::keep_every]


def ideal_scene(name: str, truth: SceneTruth) -> IdealScene | None:
    """The scene of a dataset file; None where its stack is missing, or does not span the sweep evenly."""
    stack, diopters, sweep = truth.focal_stack, truth.focal_stack_diopters, truth.calibration.sweep
    if stack is None or diopters is None or len(stack) < 2:
        return None
    even = np.linspace(sweep.far_diopters, sweep.near_diopters, len(stack))
    if not np.allclose(diopters, even, rtol=1e-4):
        return None
    return IdealScene(name, stack.astype(np.float16), truth.depth, truth.calibration)


def resimulate(
    scene: IdealScene, random: np.random.Generator, config: ResimulationConfig | None = None, frames: int | None = None
) -> SimulatedSweep:
    """A new sweep over a scene, in either direction; the same generator state gives the same sweep.

    Args:
        scene: what is swept over.
        random: source of all that is drawn.
        config: ranges to draw from.
        frames: if given, so many images of a conventional camera come with it, in the same light; 0 stands for 30 a
            second.

    Raises:
        RecordingError: the stack is not of the size that its calibration says.
    """
    config = config or ResimulationConfig()
    rng = RandomSource(int(random.integers(2**62)))
    sweep = _simulated(scene, rng, config, random, frames)
    if len(sweep.events) < config.least_events * sweep.truth.size:
        sweep = _simulated(scene, rng, config, random, frames)
    return sweep


def _simulated(
    scene: IdealScene, rng: RandomSource, config: ResimulationConfig, random: np.random.Generator, frames: int | None
) -> SimulatedSweep:
    conditions = config.ordinary if rng.chance(config.ordinary_share) else config.anything
    sensor, lux = draw_sensor(rng, conditions.sensor, conditions.light)
    stack, calibration, truth = _part(scene, rng, config)
    duration_s = rng.log_uniform(*conditions.sweep_s)
    settings = calibration.sweep.model_copy(update={"frequency_hz": 0.5 / duration_s, "waveform": "triangle"})
    calibration = calibration.model_copy(update={"sweep": settings})
    direction = Direction.FAR_TO_NEAR if rng.chance(0.5) else Direction.NEAR_TO_FAR
    images = stack if direction == Direction.FAR_TO_NEAR else stack[::-1]
    try:
        recording = simulate_sweeps(
            images, calibration, sensor, sweeps=1, seed=rng.seed(), light=light_of(lux, calibration)
        )
    except ValueError as error:
        raise RecordingError(f"{scene.name}: {error}") from error
    sweep = Sweep(0, round(duration_s * 1e6), direction, calibration)
    shown = diopters = None
    if frames is not None:
        count = frames or max(2, round(30 * duration_s))
        shown, diopters = photograph_sweep(stack, calibration, lux, min(count, len(stack)), random)
    inside = recording.events["timestamp"] < sweep.end_us
    return SimulatedSweep(scene.name, recording.events[inside], sweep, truth, shown, diopters)


def resimulated(
    scenes: Iterable[IdealScene], config: ResimulationConfig | None = None, frames: int | None = None
) -> list[Callable[[np.random.Generator], SimulatedSweep]]:
    """Each scene as a source of sweeps without end, as training wants them."""
    return [lambda random, scene=scene: resimulate(scene, random, config, frames) for scene in scenes]


def _part(
    scene: IdealScene, rng: RandomSource, config: ResimulationConfig
) -> tuple[np.ndarray, Calibration, np.ndarray]:
    """All images of a stack, or successive ones, with the calibration and depth of a lens that sweeps over them."""
    count = len(scene.stack)
    if rng.chance(config.whole):
        return scene.stack.astype(np.float32), scene.calibration, scene.depth
    length = min(count, max(2, round(rng.uniform(config.shortest, 1.0) * count)))
    first = rng.integer(0, count - length)
    sweep = scene.calibration.sweep
    step = sweep.range_diopters / (count - 1)
    far = sweep.far_diopters + first * step
    settings = sweep.model_copy(update={"far_diopters": far, "near_diopters": far + (length - 1) * step})
    calibration = scene.calibration.model_copy(update={"sweep": settings})
    depth, breathing = scene.depth, scene.calibration.breathing
    if breathing is not None and breathing.scale_per_diopter:
        grown = float(breathing_magnification(far, sweep.far_diopters, breathing.scale_per_diopter))
        depth = magnified(depth, grown, breathing.center)
        scaled = breathing.model_copy(update={"scale_per_diopter": breathing.scale_per_diopter / grown})
        calibration = calibration.model_copy(update={"breathing": scaled})
    return scene.stack[first : first + length].astype(np.float32), calibration, depth


def magnified(image: np.ndarray, magnification: float, centre: tuple[float, float]) -> np.ndarray:
    """An image (H, W) grown about a point (x, y in pixels), by nearest pixels; borders are repeated."""
    y, x = (
        np.floor(middle + (np.arange(size) + 0.5 - middle) / magnification).astype(int).clip(0, size - 1)
        for size, middle in zip(image.shape, centre[::-1], strict=True)
    )
    return image[y[:, None], x]
