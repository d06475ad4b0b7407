"""Settings of a live source."""

import tomllib
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import CameraError
from ..validation import explain_invalid

Seconds = Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)]
Byte = Annotated[int, Field(ge=0, le=255)]
Coarse = Annotated[int, Field(ge=0, le=7)]


class CameraSettings(BaseModel):
    """A `[camera_settings]` table. Settings not given stay as they are on the camera; unsupported ones are an error.

    `biases` are raw: `[coarse, fine]` by name for a DAVIS (`DiffBn = [4, 39]`), a number for a DVS128. The DVXplorer
    family has `contrast_threshold_on` and `_off`, `global_hold` and `readout` instead (`"VARIABLE_5000"`). `roi` is
    [x, y, width, height] in pixels; coordinates stay those of the whole sensor.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    external_trigger: bool | None = None  # None: on, where there is such an input
    roi: tuple[int, int, int, int] | None = None
    flip_horizontal: bool | None = None
    flip_vertical: bool | None = None
    contrast_threshold_on: Byte | None = None
    contrast_threshold_off: Byte | None = None
    global_hold: bool | None = None
    readout: str | None = None
    biases: dict[str, tuple[Coarse, Byte] | int] = {}
    background_activity_filter_us: Annotated[int, Field(ge=0)] | None = None  # DAVIS, in steps of 250
    refractory_period_us: Annotated[int, Field(ge=0)] | None = None  # DAVIS, in steps of 250
    time_interval_us: Annotated[int, Field(ge=100, le=1_000_000)] = 2000  # interval at which the camera delivers events
    trigger_hold_s: Annotated[float, Field(ge=0, le=1)] = 0.02
    """How long events of one network port wait for triggers of the other."""

    max_lag_s: Annotated[float, Field(ge=0.05, le=3600, allow_inf_nan=False)] | None = None
    """Events that waited longer are dropped, with those after them, until none waits; live depth uses 0.5."""

    connect_timeout_s: Seconds = 5.0
    stall_timeout_s: Annotated[float, Field(ge=0.5, le=3600, allow_inf_nan=False)] = 10.0
    """A source whose process shows no activity for this long is restarted."""

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read the `[camera_settings]` table of a TOML file; other tables are ignored.

        Raises:
            CameraError: the file cannot be read, or its table is missing or invalid.
        """
        try:
            tables = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise CameraError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
        if "camera_settings" not in tables:
            raise CameraError(f"{path}: has no table [camera_settings]")
        return cls.check(tables["camera_settings"], f"{path}: camera_settings")

    @classmethod
    def check(cls, table: dict[str, Any], name: str = "camera_settings") -> Self:
        """Validate a table of settings; `name` is used in error messages.

        Raises:
            CameraError: a key is unknown or a value invalid.
        """
        try:
            return cls.model_validate(table)
        except ValidationError as error:
            raise CameraError(f"{name}: {explain_invalid(error, cls)}") from error
