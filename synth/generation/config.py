"""The generation configuration of a dataset, from which `draws` samples each scene's parameters.

A configuration is a TOML file; every key has a default. Pairs of numbers are ranges, from which each scene draws its
own value.

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

from ...capture.calibration import Waveform
from ...capture.errors import SweepdepthError
from ...capture.validation import explain_invalid
from ..optics.render_settings import RenderSettings
from ..scenes.layouts import SceneConfig
from ..sensor.presets import PRESETS
from ..simulate import DEFAULT_BLUR_STEP_PX


class ConfigError(SweepdepthError):
    """A generation configuration that is missing, unreadable or impossible."""


def _as_pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value


Finite = Annotated[float, Field(allow_inf_nan=False)]
Range = Annotated[tuple[Finite, Finite], BeforeValidator(_as_pair)]
"""A value, or a range [lowest, highest]."""


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _ranges_rise(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and value[1] < value[0]:
                raise ValueError(f"{name}: the range {list(value)} must go from the lowest value to the highest")
        return self


class Window(_Section):
    """A rectangular part of the sensor."""

    width: Annotated[int, Field(ge=16)]
    height: Annotated[int, Field(ge=16)]


class CameraRange(_Section):
    """The sensor; fx follows from focal length and pixel pitch."""

    width: Annotated[int, Field(ge=16, le=4096)] = 346
    height: Annotated[int, Field(ge=16, le=4096)] = 260
    pixel_pitch_um: Range = (9.0, 18.5)
    window: Window | None = None
    """Size of the rendered part, at a random position in each scene; None: the whole sensor. Small frames then show
    what large ones do: surfaces larger than the frame, and motion by breathing far from the centre."""

    @model_validator(mode="after")
    def _window_within(self) -> Self:
        if self.window is not None and (self.window.width > self.width or self.window.height > self.height):
            raise ValueError(
                f"window: {self.window.width}×{self.window.height} must lie within {self.width}×{self.height}"
            )
        return self


class LensRange(_Section):
    """The lens; it is drawn again if its largest blur over the sweep is outside `blur_px`."""

    focal_length_mm: Range = (6.0, 16.0)
    f_number: Range = (1.2, 4.0)
    blur_px: Range = (3.0, 30.0)


class SweepRange(_Section):
    """The sweep. Frequencies are drawn log-uniformly."""

    waveform: Waveform = "triangle"
    frequency_hz: Range = (1.0, 5.0)
    far_diopters: Range = (0.2, 0.8)
    range_diopters: Range = (1.0, 3.0)
    breathing_per_diopter: Range = (-0.012, 0.012)
    breathing_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    """Fraction of lenses with breathing; with many, image motion dominates the focus signal (docs/training.md)."""
    delay_us: Range = (0.0, 0.0)


class SensorRange(_Section):
    """The sensor: a preset, or else the range of sensors on the market; keys given here override either.

    Times, rates and the dark level are drawn log-uniformly; 0 is only allowed as a single value.
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


class LightRange(_Section):
    """Illuminance of the scene in lux, drawn log-uniformly; radiance 1 is a white sheet under it."""

    illuminance_lux: Range = (100.0, 2000.0)


class IntensityRange(_Section):
    """Images of a conventional camera behind the same lens."""

    frames: Annotated[int, Field(ge=0, le=1000)] = 0
    """Number of images of the first sweep stored in `focal_stack`; 0: none."""
    noise: bool = True
    """True: images of a real camera, with noise; False: ideal images of instants, from which `train` resimulates."""
    aperture_pair: bool = False
    """Whether to render four images for coupled optical differentiation."""
    photographs: bool = False
    """Whether to render the sets of images of `capture.files.photographs.PLANS`."""


class GenerationConfig(_Section):
    """Everything that a scene depends on, besides the seed and its number."""

    sweeps: Annotated[int, Field(ge=1, le=1000)] = 4
    variants: Annotated[int, Field(ge=1, le=100)] = 1
    """Recordings per scene, each with its own light and sensor: scene_000042.h5, scene_000042_v1.h5, …"""
    render: Literal["lightfield", "dof", "patches"] = "lightfield"
    """Renderer: Blender's light field, Blender's own depth of field, or patch scenes, which need no Blender."""
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
        key = "aperture_pair" if self.intensity.aperture_pair else "photographs"
        if getattr(self.intensity, key) and self.render == "dof":
            raise ValueError(f'intensity.{key}: other apertures come from a light field; set render = "lightfield"')
        return self

    @model_validator(mode="after")
    def _draws_models(self) -> Self:
        if self.render == "patches" and (self.scene.blend is not None or self.scene.assets):
            key = "blend" if self.scene.blend is not None else "assets"
            raise ValueError(f'scene.{key}: patch scenes have no models; set render = "lightfield", or leave it out')
        return self

    @model_validator(mode="after")
    def _computes_light(self) -> Self:
        if self.rendering.lighting == "computed" and (self.scene.blend is not None or self.scene.assets):
            key = "blend" if self.scene.blend is not None else "assets"
            raise ValueError(
                f'scene.{key}: its materials need rendering.lighting = "traced"; set that, or leave it out'
            )
        return self

    @classmethod
    def load(cls, path: str | Path, **overrides: Any) -> Self:
        """Read and validate a configuration file; `overrides` replace its keys, also in sections: `scene={"blend": …}`.

        Raises:
            ConfigError: missing, unreadable or invalid; the message names file, key, value and what was expected.
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
        """Validate the values of a configuration file; `name` is used in error messages."""
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise ConfigError(f"{name}: {explain_invalid(error, cls)}") from error

    def fingerprint(self) -> dict[str, Any]:
        """All values that scenes depend on, as JSON values, with digests of the user's files."""
        files = [*self.scene.assets, *([] if self.scene.blend is None else [self.scene.blend])]
        values = self.model_dump(mode="json", exclude={"rendering": {"threads"}})
        if values["rendering"]["lighting"] == "traced":  # as all light was, and datasets say nothing of it
            del values["rendering"]["lighting"]
        return values | {"sha256": {str(path): _digest(path) for path in files}}


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror or error}") from error
