"""Resimulation: new sweeps over a scene's ideal focal stack, each with its own sensor, light, speed and range.

Rendering a scene takes seconds, simulating a sweep over it milliseconds, so a network can train on new events every
time. The stack consists of ideal images of instants (`[intensity] noise = false`); the sensor model is the usual one.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from ..capture.calibration import Calibration
from ..capture.errors import RecordingError
from ..capture.files.dataset import SceneTruth, open_dataset, read_truth
from ..capture.files.photographs import Photographs
from ..capture.files.stack_pack import StackPack
from ..capture.optics import breathing_magnification
from ..capture.sweeps import Direction, Sweep
from .generation.config import LightRange, SensorRange
from .generation.draws import draw_sensor
from .generation.make_scene import light_of
from .optics.conventional import expose, photograph_sweep
from .scenes.random_source import RandomSource
from .simulate import simulate_sweeps

COUPLED = "coupled"
"""The name of the images for coupled optical differentiation among a scene's photographs."""

_DARKEST = 0.02
"""Lower bound on radiance, relative to the mean, for measuring changes in log brightness."""


class Conditions(BaseModel):
    """Ranges of sensors, light and sweep duration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    sensor: SensorRange = SensorRange()
    light: LightRange = LightRange(illuminance_lux=(2.0, 3000.0))
    sweep_s: tuple[Annotated[float, Field(gt=0)], float] = (0.03, 2.0)
    """Duration of a sweep, drawn log-uniformly."""


ORDINARY = Conditions(
    sensor=SensorRange(on_threshold=(0.1, 0.35), bandwidth_hz=(100.0, 5000.0), shot_noise_hz=(0.001, 3.0)),
    light=LightRange(illuminance_lux=(300.0, 3000.0)),
    sweep_s=(0.08, 0.6),
)
"""Laboratory conditions: low thresholds, good light and slow sweeps, which give more events to learn from."""


class ResimulationConfig(BaseModel):
    """Distributions of the random parameters of each sweep."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    anything: Conditions = Conditions()
    ordinary: Conditions = ORDINARY
    ordinary_share: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Fraction of sweeps under ordinary conditions; the others use the full ranges."""
    whole: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Fraction of sweeps that span the whole range of the stack."""
    shortest: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Least fraction of the range spanned by the others, which have less blur, and surfaces beyond the ends."""
    least_events: Annotated[float, Field(ge=0)] = 0.02
    """Sweeps with fewer events per pixel are redrawn once, under other conditions."""


@dataclass(frozen=True)
class IdealScene:
    """Noise-free images of a scene over a sweep, with its depth."""

    name: str
    stack: np.ndarray  # (S, H, W) float16, linear radiance, far to near, evenly spaced in diopters, with breathing
    depth: np.ndarray  # (H, W) float32, metres, in the geometry of the far end
    calibration: Calibration
    photographs: Mapping[str, Photographs] = field(default_factory=dict)  # ideal, by the names of their plans

    @property
    def change(self) -> float:
        """Total variation of log brightness over the sweep, averaged over (a quarter of) the pixels."""
        light = self.stack[:, ::2, ::2].astype(np.float32)
        light = np.log(light + _DARKEST * light.mean() + 1e-9)
        return float(np.abs(np.diff(light, axis=0)).sum(axis=0).mean())


@dataclass(frozen=True)
class SimulatedSweep:
    """One simulated sweep with its ground truth."""

    recording: str  # name of the scene
    events: np.ndarray  # (N,) EVENT_DTYPE, in time order
    sweep: Sweep
    truth: np.ndarray  # (H, W) float32, metres, in the geometry of the sweep's far end
    frames: np.ndarray | None  # (F, H, W) float32, frames of a conventional camera, far to near
    frame_diopters: np.ndarray | None  # (F,)
    photographs: Mapping[str, Photographs] = field(default_factory=dict)  # images without a sweep

    @property
    def calibration(self) -> Calibration:
        """The sweep's calibration."""
        return self.sweep.calibration

    @property
    def seconds(self) -> float:
        """Duration of the sweep."""
        return (self.sweep.end_us - self.sweep.start_us) * 1e-6


def load_ideal_scenes(folder: Path, on_scene: Callable[[int], None] = lambda done: None) -> list[IdealScene]:
    """Load the ideal focal stacks of a dataset; scenes without one are skipped.

    Args:
        folder: of a dataset rendered with `[intensity] noise = false`.
        on_scene: called with the number of scenes read so far.

    Raises:
        RecordingError: the folder is not a dataset, or one of its files is damaged.
    """
    scenes = []
    for number, path in enumerate(open_dataset(folder).first_variants, 1):
        scene = ideal_scene(path.stem, read_truth(path))
        scenes += [] if scene is None else [scene]
        on_scene(number)
    return scenes


def load_packed_scenes(path: Path, on_scene: Callable[[int], None] = lambda done: None) -> list[IdealScene]:
    """Load the ideal focal stacks of a pack; `on_scene` is called with the number of scenes read so far.

    Raises:
        RecordingError: it is missing, damaged, or not a pack.
    """
    pack, scenes = StackPack(path), []
    for number, (name, packed) in enumerate(zip(pack.names, pack, strict=True), 1):
        if _is_even(packed.focus_diopters, packed.calibration):
            scenes.append(IdealScene(name, packed.stack.astype(np.float16), packed.depth, packed.calibration))
        on_scene(number)
    return scenes


def lively(scenes: list[IdealScene], least_change: float = 0.1, keep_every: int = 5) -> list[IdealScene]:
    """Drop most scenes whose brightness hardly changes over the sweep.

    Such scenes cause hardly any events with any sensor, so they carry no information on depth; they can be half of all
    random scenes.

    Args:
        scenes: the scenes to choose from.
        least_change: total variation of log brightness over the sweep, averaged over the pixels, from which scenes are
            kept.
        keep_every: one in this many of the other scenes is kept.
    """
    changing = [scene for scene in scenes if scene.change >= least_change]
    still = [scene for scene in scenes if scene.change < least_change]
    return changing + still[::keep_every]


def ideal_scene(name: str, truth: SceneTruth) -> IdealScene | None:
    """The scene of a dataset file; None if its stack is missing, or not evenly spaced over the whole sweep."""
    stack, diopters = truth.focal_stack, truth.focal_stack_diopters
    if stack is None or diopters is None or not _is_even(diopters, truth.calibration):
        return None
    coupled = {} if truth.aperture_pair is None else {COUPLED: truth.aperture_pair}
    photographs = {**truth.photographs, **coupled}
    return IdealScene(name, stack.astype(np.float16), truth.depth, truth.calibration, photographs)


def _is_even(diopters: np.ndarray, calibration: Calibration) -> bool:
    """Whether images are evenly spaced over the whole sweep."""
    sweep = calibration.sweep
    even = np.linspace(sweep.far_diopters, sweep.near_diopters, len(diopters))
    return len(diopters) >= 2 and np.allclose(diopters, even, rtol=1e-4)


def resimulate(
    scene: IdealScene,
    random: np.random.Generator,
    config: ResimulationConfig | None = None,
    frames: int | None = None,
    photographs: Sequence[str] = (),
) -> SimulatedSweep:
    """Simulate a new sweep over a scene, in a random direction; reproducible from the generator's state.

    Args:
        scene: the scene.
        random: source of all random choices.
        config: distributions to draw from.
        frames: number of images of a conventional camera, in the same light, to add; 0: 30 per second; None: no images.
        photographs: names of the scene's photographs to expose in the same light, in the time of the sweep. With any,
            every sweep spans the whole range, in which their focus lies.

    Raises:
        RecordingError: the stack's size differs from its calibration's, or the scene lacks the photographs.
    """
    config = config or ResimulationConfig()
    if missing := set(photographs) - scene.photographs.keys():
        raise RecordingError(
            f"{scene.name}: holds no photographs {min(missing)!r}; render with intensity.photographs = true"
        )
    if photographs:
        config = config.model_copy(update={"whole": 1.0})
    rng = RandomSource(int(random.integers(2**62)))
    sweep, lux = _simulated(scene, rng, config, random, frames)
    if len(sweep.events) < config.least_events * sweep.truth.size:
        sweep, lux = _simulated(scene, rng, config, random, frames)
    taken = {name: expose(scene.photographs[name], sweep.calibration, lux, random) for name in photographs}
    return replace(sweep, photographs=taken)


def _simulated(
    scene: IdealScene, rng: RandomSource, config: ResimulationConfig, random: np.random.Generator, frames: int | None
) -> tuple[SimulatedSweep, float]:
    """A sweep, and its light level in lux."""
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
    return SimulatedSweep(scene.name, recording.events[inside], sweep, truth, shown, diopters), lux


def resimulated(
    scenes: Iterable[IdealScene],
    config: ResimulationConfig | None = None,
    frames: int | None = None,
    photographs: Sequence[str] = (),
) -> list[Callable[[np.random.Generator], SimulatedSweep]]:
    """Make a function per scene that simulates a new sweep on each call, as training takes them."""
    return [lambda random, scene=scene: resimulate(scene, random, config, frames, photographs) for scene in scenes]


def _part(
    scene: IdealScene, rng: RandomSource, config: ResimulationConfig
) -> tuple[np.ndarray, Calibration, np.ndarray]:
    """Choose the full range of a stack or a part of it; returns images, calibration and depth for a sweep over it."""
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
    """Magnify an image (H, W) about a point (x, y in pixels), by nearest neighbours, repeating the border."""
    y, x = (
        np.floor(middle + (np.arange(size) + 0.5 - middle) / magnification).astype(int).clip(0, size - 1)
        for size, middle in zip(image.shape, centre[::-1], strict=True)
    )
    return image[y[:, None], x]
