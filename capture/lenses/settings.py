"""The `[driver]` table of `lens.toml` for an Optotune lens."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..calibration import Calibration
from ..errors import CalibrationError
from ..validation import explain_invalid
from .codec import MAX_CURRENT_MA

Current = Annotated[float, Field(ge=-MAX_CURRENT_MA, le=MAX_CURRENT_MA, allow_inf_nan=False)]
Power = Annotated[float, Field(ge=-20, le=20, allow_inf_nan=False)]
Celsius = Annotated[float, Field(ge=-40, le=125, allow_inf_nan=False)]

LOWEST_HZ, HIGHEST_HZ = 0.001, 100.0
"""The signal generator's resolution is 1 mHz; no liquid lens is faster than the upper limit."""


class OptotuneSettings(BaseModel):
    """The `[driver]` table for an Optotune lens: how to reach the far and the near end.

    With `mode = "current"`, the driver's signal generator runs between `far_ma` and `near_ma`. With `mode =
    "focal_power"`, the host moves the lens from `far_power` to `near_power`, in diopters of the lens itself, which the
    driver compensates for temperature; steps take about 10 ms.

    `generator_phase` is the phase at which the generator starts, as a fraction of a period that begins at the lower
    current. The manual does not state it; only `sync = "events"` needs it, to a quarter period.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: Literal["optotune"]
    mode: Literal["current", "focal_power"] = "current"
    far_ma: Current | None = None
    near_ma: Current | None = None
    far_power: Power | None = None
    near_power: Power | None = None
    temperature_limits_c: tuple[Celsius, Celsius] = (20.0, 50.0)
    generator_phase: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        keys = ("far_ma", "near_ma") if self.mode == "current" else ("far_power", "near_power")
        for key in keys:
            if getattr(self, key) is None:
                raise ValueError(f'{key} is missing; mode = "{self.mode}" needs it')
        far, near = (getattr(self, key) for key in keys)
        if far == near:
            raise ValueError(f"{keys[0]} and {keys[1]} are the same ({far}); the lens would not move")
        lowest, highest = self.temperature_limits_c
        if lowest >= highest:
            raise ValueError(f"temperature_limits_c ({lowest}, {highest}) must rise")
        return self


def optotune_settings(calibration: Calibration) -> OptotuneSettings:
    """Validate a calibration's settings for an Optotune lens.

    Raises:
        CalibrationError: the `[driver]` table is missing or invalid, or the driver cannot make the sweep.
    """
    driver, sweep = calibration.driver, calibration.sweep
    if driver is None:
        raise CalibrationError(
            'lens.toml: has no [driver] table; an Optotune lens needs kind = "optotune", far_ma and near_ma there'
        )
    try:
        settings = OptotuneSettings.model_validate(driver.model_dump())
    except ValidationError as error:
        raise CalibrationError(f"lens.toml: driver: {explain_invalid(error, OptotuneSettings)}") from error
    if sweep.waveform == "sawtooth" and settings.mode == "current":
        raise CalibrationError(
            'lens.toml: sweep.waveform ("sawtooth") cannot be made by the signal generator of an Optotune driver; '
            'use "triangle" or "sine", or driver.mode = "focal_power"'
        )
    if not LOWEST_HZ <= sweep.frequency_hz <= HIGHEST_HZ:
        raise CalibrationError(
            f"lens.toml: sweep.frequency_hz ({sweep.frequency_hz:g}) must be {LOWEST_HZ:g} to {HIGHEST_HZ:g} for an "
            "Optotune driver"
        )
    return settings
