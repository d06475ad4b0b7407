"""What a dataset is made of: the generation configuration, and what chance makes of it for one scene.

A configuration is a TOML file; every key has a default. Numbers with two values are ranges: each scene draws its own
value from them.

    sweeps = 4
    variants = 1

    [camera]
    width = 346
    height = 260
    pixel_pitch_um = 18.5

    [lens]
    focal_length_mm = [8, 16]
    f_number = [1.2, 2.0]

    [sensor]
    preset = "davis346"
    on_threshold = [0.1, 0.2]
"""

import hashlib
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from ..capture.calibration import Breathing, Calibration, Camera, Lens, SweepSettings, Waveform
from ..capture.errors import SweepdepthError
from ..capture.optics import breathing_magnification
from .dice import Dice
from .presets import PRESETS
from .render import RenderSettings
from .sampling import SceneConfig
from .sensor import Sensor
from .simulate import DEFAULT_BLUR_STEP_PX

_LENS, _SENSOR, _WINDOW = 11, 12, 14  # streams of random numbers: what one draws leaves the others alone
_MOST_DRAWS = 1000


class ConfigError(SweepdepthError):
    """A generation configuration that is missing, unreadable or impossible."""


def _as_pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Finite = Annotated[float, Field(allow_inf_nan=False)]
Range = Annotated[tuple[Finite, Finite], BeforeValidator(_as_pair)]
"""A value, or [lowest, highest]."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and value[1] < value[0]:
                raise ValueError(f"{name}: the range {list(value)} must go from the lowest value to the highest")
        return self


class Window(_Section):
    """A part of the sensor."""

    width: Annotated[int, Field(ge=16)]
    height: Annotated[int, Field(ge=16)]


class CameraRange(_Section):
    """The sensor's size; fx follows from the focal length and the pitch."""

    width: Annotated[int, Field(ge=16, le=4096)] = 346
    height: Annotated[int, Field(ge=16, le=4096)] = 260
    pixel_pitch_um: Range = (9.0, 18.5)
    window: Window | None = None
    """What is rendered of it, elsewhere in each scene; None: all. Small frames that hold what large ones do, wherever:
    surfaces larger than the frame, and motion by breathing far from the middle."""

    @model_validator(mode="after")
    def _window_within(self) -> Self:
        if self.window is not None and (self.window.width > self.width or self.window.height > self.height):
            raise ValueError(
                f"window: {self.window.width}×{self.window.height} must lie within {self.width}×{self.height}"
            )
        return self


class LensRange(_Section):
    """Lenses; those whose greatest blur over the sweep is out of `blur_px` are drawn again."""

    focal_length_mm: Range = (6.0, 16.0)
    f_number: Range = (1.2, 4.0)
    blur_px: Range = (3.0, 30.0)


class SweepRange(_Section):
    """How the focus moves. Frequencies are drawn evenly in their logarithm."""

    waveform: Waveform = "triangle"
    frequency_hz: Range = (1.0, 5.0)
    far_diopters: Range = (0.2, 0.8)
    range_diopters: Range = (1.0, 3.0)
    breathing_per_diopter: Range = (-0.012, 0.012)
    breathing_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """The part of lenses that breathe at all; where many do, image motion drowns the focus (docs/training.md)."""
    delay_us: Range = (0.0, 0.0)


class SensorRange(_Section):
    """Sensors: a preset, or without one anything that is sold; each key given here comes instead.

    Times, rates and the dark level are drawn evenly in their logarithm; 0 is only possible alone.
    """

    preset: str | None = None
    on_threshold: Range | None = None
    off_threshold: Range | None = None
    threshold_sigma: Range | None = None
    dark_level: Range | None = None
    stray_light: Range | None = None
    bandwidth_hz: Range | None = None
    refractory_us: Range | None = None
    leak_hz: Range | None = None
    shot_noise_hz: Range | None = None
    hot_fraction: Range | None = None
    hot_hz: Range | None = None
    delay_us: Range | None = None
    resolution_us: Range | None = None

    @model_validator(mode="after")
    def _known_preset(self) -> Self:
        if self.preset is not None and self.preset not in PRESETS:
            raise ValueError(f"preset: there is no sensor {self.preset!r}; there are {', '.join(PRESETS)}")
        return self


_ANY_SENSOR: dict[str, tuple[float, float]] = {
    "on_threshold": (0.10, 1.0),
    "off_threshold": (0.10, 1.0),
    "threshold_sigma": (0.01, 0.05),
    "dark_level": (5e-5, 1e-3),
    "stray_light": (0.001, 0.01),
    "bandwidth_hz": (100.0, 5000.0),
    "refractory_us": (10.0, 1000.0),
    "leak_hz": (0.01, 0.3),
    "shot_noise_hz": (0.001, 5.0),
    "hot_fraction": (0.0, 1e-4),
    "hot_hz": (30.0, 150.0),
    "delay_us": (5.0, 100.0),
    "resolution_us": (1.0, 1.0),
}
"""Around the sensors of `presets` and v2e's clean and noisy, with some room on either side. Thresholds up to 1, as real
recordings needed (Stoffregen et al., ECCV 2020, drew them from 0.1 to 1.7)."""

_ASYMMETRY = 1.5
"""Where no OFF threshold is configured it is the ON threshold times at most this, or over it (V2V, NeurIPS 2025)."""

_BY_RATIO = {
    "on_threshold",
    "off_threshold",
    "dark_level",
    "bandwidth_hz",
    "refractory_us",
    "leak_hz",
    "shot_noise_hz",
    "delay_us",
}


class LightRange(_Section):
    """Illumination of the scene in lux, drawn evenly in its logarithm; white is then that of a white sheet in it."""

    illuminance_lux: Range = (100.0, 2000.0)


class IntensityRange(_Section):
    """A conventional camera behind the same lens."""

    frames: Annotated[int, Field(ge=0, le=1000)] = 0
    """Images of the first sweep that go into `focal_stack`; 0: none."""
    noise: bool = True
    """Whether they are a real camera's; otherwise ideal images of instants, from which `train` simulates anew."""
    aperture_pair: bool = False
    """Whether four images for coupled optical differentiation are made."""


class GenerationConfig(_Section):
    """Everything that a scene depends on besides the seed and its number."""

    sweeps: Annotated[int, Field(ge=1, le=1000)] = 4
    variants: Annotated[int, Field(ge=1, le=100)] = 1
    """Recordings of each scene, with their own light and sensor: scene_000042.h5, scene_000042_v1.h5, …"""
    render: Literal["lightfield", "dof", "patches"] = "lightfield"
    """Blender's light field or its own depth of field, or patch scenes, which need no Blender."""
    blur_step_px: Annotated[float, Field(gt=0, le=10)] = DEFAULT_BLUR_STEP_PX
    camera: CameraRange = CameraRange()
    lens: LensRange = LensRange()
    sweep: SweepRange = SweepRange()
    sensor: SensorRange = SensorRange()
    light: LightRange = LightRange()
    intensity: IntensityRange = IntensityRange()
    scene: SceneConfig = SceneConfig()
    rendering: RenderSettings = RenderSettings()

    @model_validator(mode="after")
    def _stops_down(self) -> Self:
        if self.intensity.aperture_pair and self.render == "dof":
            raise ValueError(
                'intensity.aperture_pair: other apertures come from a light field; set render = "lightfield"'
            )
        return self

    @model_validator(mode="after")
    def _draws_models(self) -> Self:
        if self.render == "patches" and (self.scene.blend is not None or self.scene.assets):
            key = "blend" if self.scene.blend is not None else "assets"
            raise ValueError(f'scene.{key}: patch scenes have no models; set render = "lightfield", or leave it out')
        return self

    @classmethod
    def load(cls, path: str | Path, **overrides: Any) -> Self:
        """Read and check a configuration file; `overrides` replace its keys, `scene={"blend": …}` those in a section.

        Raises:
            ConfigError: missing, unreadable or wrong; the message names file, key, value and what was expected.
        """
        path = Path(path)
        try:
            values = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigError(f"{path}: is not valid TOML: {error}") from error
        for key, value in overrides.items():
            values[key] = {**values.get(key, {}), **value} if isinstance(value, dict) else value
        return cls.parse(values, name=str(path))

    @classmethod
    def parse(cls, values: dict[str, Any], name: str = "configuration") -> Self:
        """Check values as a configuration file has them; `name` is what errors call it."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            key = ".".join(map(str, fault["loc"])) or "configuration"
            message = fault["msg"].removeprefix("Value error, ")
            what = f"{key}: {message}" if fault["type"] == "value_error" else f"{key} ({fault['input']!r}): {message}"
            raise ConfigError(f"{name}: {what}") from error

    def fingerprint(self) -> dict[str, Any]:
        """All values that scenes depend on, as JSON has them, and the content of the user's files."""
        files = [*self.scene.assets, *([] if self.scene.blend is None else [self.scene.blend])]
        values = self.model_dump(mode="json", exclude={"rendering": {"threads"}})
        return values | {"sha256": {str(path): _digest(path) for path in files}}


def sample_calibration(seed: int, index: int, config: GenerationConfig) -> Calibration:
    """Lens, sweep and camera of one scene.

    Raises:
        ConfigError: no lens within the configuration has a blur within `lens.blur_px`.
    """
    dice = Dice(seed, index, _LENS)
    camera, lens, sweep = config.camera, config.lens, config.sweep
    for _ in range(_MOST_DRAWS):
        pitch = dice.uniform(*camera.pixel_pitch_um)
        focal_length = dice.uniform(*lens.focal_length_mm)
        f_number = dice.log_uniform(*lens.f_number)
        far = dice.uniform(*sweep.far_diopters)
        near = far + dice.uniform(*sweep.range_diopters)
        fx = 1000 * focal_length / pitch
        drawn = Lens(focal_length_mm=focal_length, f_number=f_number)
        if lens.blur_px[0] <= fx * drawn.aperture_m * (near - far) <= lens.blur_px[1]:
            break
    else:
        raise ConfigError(
            f"lens.blur_px {list(lens.blur_px)}: no lens of the configuration blurs so much over its sweep; "
            "widen it, or lens.focal_length_mm, lens.f_number or sweep.range_diopters"
        )
    center = (camera.width / 2, camera.height / 2)
    breathing = dice.uniform(*sweep.breathing_per_diopter) if dice.chance(sweep.breathing_share) else 0.0
    if breathing_magnification(near, far, breathing) < 0.5:
        raise ConfigError(f"sweep.breathing_per_diopter ({breathing:g}) shrinks the image below half its size")
    return Calibration(
        camera=Camera(
            width=camera.width,
            height=camera.height,
            pixel_pitch_um=pitch,
            fx=fx,
            fy=fx,
            cx=center[0],
            cy=center[1],
        ),
        lens=drawn,
        sweep=SweepSettings(
            waveform=sweep.waveform,
            frequency_hz=dice.log_uniform(*sweep.frequency_hz),
            far_diopters=far,
            near_diopters=near,
            sync="trigger",
            delay_us=round(dice.uniform(*sweep.delay_us)),
        ),
        breathing=Breathing(scale_per_diopter=breathing, center=center),
    )


def sample_window(seed: int, index: int, config: GenerationConfig, calibration: Calibration) -> Calibration:
    """The calibration of the part of the sensor that is rendered; the same where that is all of it."""
    if config.camera.window is None:
        return calibration
    dice = Dice(seed, index, _WINDOW)
    camera, breathing, window = calibration.camera, calibration.breathing, config.camera.window
    left = dice.integer(0, camera.width - window.width)
    top = dice.integer(0, camera.height - window.height)
    cut = camera.model_copy(
        update={"width": window.width, "height": window.height, "cx": camera.cx - left, "cy": camera.cy - top}
    )
    if breathing is not None:
        centre = breathing.center[0] - left, breathing.center[1] - top
        breathing = breathing.model_copy(update={"center": centre})
    return calibration.model_copy(update={"camera": cut, "breathing": breathing})


def sample_sensor(seed: int, index: int, variant: int, config: GenerationConfig) -> tuple[Sensor, float]:
    """Sensor of one recording of a scene, and the illumination of the scene in lux."""
    return draw_sensor(Dice(seed, index, _SENSOR, variant), config.sensor, config.light)


def draw_sensor(dice: Dice, chosen: SensorRange, light: LightRange) -> tuple[Sensor, float]:
    """Some sensor within ranges, and some illumination in lux."""
    values: dict[str, Any] = {} if chosen.preset is None else PRESETS[chosen.preset].model_dump()
    for name, anything in _ANY_SENSOR.items():
        span = getattr(chosen, name) or (None if chosen.preset is not None else anything)
        if span is None:
            continue
        by_ratio = name in _BY_RATIO and span[0] > 0
        values[name] = dice.log_uniform(*span) if by_ratio else dice.uniform(*span)
    if chosen.preset is None and chosen.on_threshold is None:  # the lower of two: most sensors are set well below 1
        values["on_threshold"] = min(values["on_threshold"], dice.log_uniform(*_ANY_SENSOR["on_threshold"]))
    if chosen.preset is None and chosen.off_threshold is None:
        low, high = _ANY_SENSOR["off_threshold"]
        drawn = values["on_threshold"] * dice.log_uniform(1 / _ASYMMETRY, _ASYMMETRY)
        values["off_threshold"] = min(max(drawn, low), high)
    values["resolution_us"] = round(values["resolution_us"])
    return Sensor.model_validate(values), dice.log_uniform(*light.illuminance_lux)


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
