"""The calibration file `lens.toml`: camera, lens, sweep, breathing, and the measured focus curve."""

import json
import math
import tomllib
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ..errors import CalibrationError
from ..optics import aperture_m, breathing_magnification
from ..validation import explain_invalid
from .plausibility import doubts, impossibilities

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Finite = Annotated[float, Field(allow_inf_nan=False)]
Waveform = Literal["triangle", "sawtooth", "sine"]
Sync = Literal["trigger", "clock", "events"]
TriggerEdges = Literal["both", "rising", "falling"]
TriggerPulses = Literal["none", "far", "near", "both"]


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class CameraModel(_Section):
    """The sensor and its pinhole geometry at the far end of the sweep. Pixel centres lie at +0.5.

    All of it, `roi`, too, is in pixels of the whole sensor; `capture.sensor_window` makes the camera of the part.
    """

    width: Annotated[int, Field(ge=1, le=16384)]
    height: Annotated[int, Field(ge=1, le=16384)]
    pixel_pitch_um: Positive
    fx: Positive
    fy: Positive
    cx: Finite
    cy: Finite
    distortion: Annotated[tuple[Finite, ...], Field(min_length=5, max_length=5)] | None = None
    hot_pixels: tuple[tuple[int, int], ...] = ()
    roi: tuple[int, int, int, int] | None = None  # x, y, width, height of the part that depth is made of; None: all

    @model_validator(mode="after")
    def _roi_on_sensor(self) -> Self:
        if self.roi is not None:
            x, y, width, height = self.roi
            if not (0 <= x < x + width <= self.width and 0 <= y < y + height <= self.height):
                raise ValueError(
                    f"roi: [{x}, {y}, {width}, {height}] (x, y, width, height) is no part of the "
                    f"{self.width}×{self.height} sensor"
                )
        return self

    @model_validator(mode="after")
    def _hot_pixels_on_sensor(self) -> Self:
        for x, y in self.hot_pixels:
            if not (0 <= x < self.width and 0 <= y < self.height):
                raise ValueError(f"hot_pixels: [{x}, {y}] is off the {self.width}×{self.height} sensor")
        return self


class LensModel(_Section):
    """The lens: focal length and aperture, which determine the blur."""

    focal_length_mm: Positive
    f_number: Positive

    @property
    def aperture_m(self) -> float:
        """Diameter of the entrance pupil in metres."""
        return aperture_m(self.focal_length_mm, self.f_number)


class SweepSettings(_Section):
    """The sweep: waveform, frequency and range of the focus, and how its phase is found."""

    waveform: Waveform
    frequency_hz: Positive
    far_diopters: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    near_diopters: Positive
    sync: Sync
    start_us: int = 0
    delay_us: int = 0
    trigger_channel: Annotated[int, Field(ge=0, le=255)] | None = None  # None: the one at the lens's frequency
    trigger_edges: TriggerEdges = "both"  # which edges, as recorded, mark turning points
    trigger_inverted: bool = False  # falling edges mark the far end
    trigger_pulses: TriggerPulses | None = None  # turning points marked by pulses; None: inferred from the rhythm

    @model_validator(mode="after")
    def _trigger_consistent(self) -> Self:
        if self.waveform == "sawtooth" and self.trigger_pulses in ("near", "both"):
            raise ValueError(
                f'trigger_pulses ("{self.trigger_pulses}") must be "far" with a sawtooth, whose sweeps all begin there'
            )
        if self.trigger_pulses == "none" and self.trigger_edges != "both":
            raise ValueError(
                f'trigger_pulses = "none" takes both kinds of edges, and trigger_edges ("{self.trigger_edges}") only '
                "one; leave one of them out"
            )
        return self

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.near_diopters <= self.far_diopters:
            raise ValueError(
                f"near_diopters ({self.near_diopters}) must be greater than far_diopters ({self.far_diopters}); "
                "both are 1/m"
            )
        if self.sync == "clock" and self.delay_us != 0:
            raise ValueError(f'delay_us ({self.delay_us}) must be 0 with sync = "clock"; move start_us instead')
        return self

    @property
    def range_diopters(self) -> float:
        """Δ = near − far, 1/m."""
        return self.near_diopters - self.far_diopters

    @property
    def duration_us(self) -> float:
        """Length of one sweep in µs: half a period, or a whole one for a sawtooth."""
        return 1e6 / self.frequency_hz / (1 if self.waveform == "sawtooth" else 2)


_TRIGGER_DEFAULTS = {
    key: field.default for key, field in SweepSettings.model_fields.items() if key.startswith("trigger_")
}


class Breathing(_Section):
    """Change of magnification with focus: `m(φ) = 1 + scale_per_diopter · (φ − far)` about `center`."""

    scale_per_diopter: Finite
    center: tuple[Finite, Finite]


class MeasuredCurve(_Section):
    """Measured focus against phase of a far→near pass; replaces the waveform's own curve."""

    phase: Annotated[tuple[Finite, ...], Field(min_length=2)]
    diopters: Annotated[tuple[Finite, ...], Field(min_length=2)]

    @model_validator(mode="after")
    def _monotone(self) -> Self:
        if len(self.phase) != len(self.diopters):
            raise ValueError(f"phase has {len(self.phase)} values and diopters {len(self.diopters)}; give one each")
        if self.phase[0] != 0.0 or self.phase[-1] != 1.0:
            raise ValueError(f"phase must run from 0 to 1, not from {self.phase[0]} to {self.phase[-1]}")
        for name, values in (("phase", self.phase), ("diopters", self.diopters)):
            for a, b in pairwise(values):
                if b <= a:
                    raise ValueError(f"{name} must rise all the way from far to near, but {b} follows {a}")
        return self


class Driver(BaseModel):
    """The `[driver]` table: `kind` selects the lens driver, which validates the other keys."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kind: str


class CameraTable(BaseModel):
    """The `[camera_settings]` table, applied when the camera is opened live and validated by the camera's driver."""

    model_config = ConfigDict(extra="allow", frozen=True)


class Calibration(_Section):
    """One camera behind one sweeping lens: everything needed to turn event times into metric depth.

    Docs and `lens.toml` use the same names.

    Attributes:
        camera: sensor size, pitch and pinhole geometry, in pixels at the far end of the sweep.
        lens: focal length in mm and f-number.
        sweep: waveform, frequency in Hz, range in 1/m, and how sweeps are synchronised.
        breathing: change of magnification with focus; None where the lens has none.
        focus_curve: measured focus against phase; None where the waveform's own holds.
        driver: settings of the lens driver, for live use.
        camera_settings: settings of the camera, for live use.

    Examples:
        >>> calibration = Calibration.load("lens.toml")
        >>> calibration
        Calibration(240×180, 12 mm f/1.4, triangle 2.5 Hz, 0.5 to 2.5 1/m, sync "trigger")
        >>> round(calibration.lens.aperture_m * 1e3, 1)  # mm
        8.6
    """

    camera: CameraModel
    lens: LensModel
    sweep: SweepSettings
    breathing: Breathing | None = None
    focus_curve: MeasuredCurve | None = None
    driver: Driver | None = None
    camera_settings: CameraTable | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        curve, sweep = self.focus_curve, self.sweep
        if curve is not None:
            for key, i, end in (("far_diopters", 0, sweep.far_diopters), ("near_diopters", -1, sweep.near_diopters)):
                if not math.isclose(curve.diopters[i], end, rel_tol=1e-6, abs_tol=1e-9):
                    raise ValueError(
                        f"focus_curve.diopters must have the sweep's ends: {curve.diopters[i]} is not "
                        f"sweep.{key} ({end})"
                    )
        if self.breathing is not None:
            scale = self.breathing.scale_per_diopter
            if breathing_magnification(sweep.near_diopters, sweep.far_diopters, scale) < 0.5:
                raise ValueError(
                    f"breathing.scale_per_diopter ({scale}) shrinks the image below half its size over the sweep"
                )
        if found := impossibilities(self.camera, self.lens, sweep):
            raise ValueError("; ".join(found))
        return self

    def __repr__(self) -> str:
        camera, lens, sweep = self.camera, self.lens, self.sweep
        return (
            f"Calibration({camera.width}×{camera.height}, {lens.focal_length_mm:g} mm f/{lens.f_number:g}, "
            f"{sweep.waveform} {sweep.frequency_hz:g} Hz, {sweep.far_diopters:g} to {sweep.near_diopters:g} 1/m, "
            f'sync "{sweep.sync}")'
        )

    @property
    def doubts(self) -> tuple[str, ...]:
        """Warnings about implausible values, a sentence each; usually none."""
        return tuple(doubts(self.camera, self.lens, self.sweep))

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read and check a calibration file.

        Args:
            path: a TOML file, as docs/calibration.md describes it.

        Returns:
            The calibration.

        Raises:
            CalibrationError: missing, unreadable or wrong; the message names file, key, value and what was expected.
        """
        try:
            text = Path(path).read_text(encoding="utf-8")
        except OSError as error:
            raise CalibrationError(f"{path}: cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise CalibrationError(f"{path}: is not text; expected a TOML calibration file") from error
        return cls.parse(text, name=str(path))

    @classmethod
    def parse(cls, text: str, name: str = "lens.toml") -> Self:
        """Check the text of a calibration file.

        Args:
            text: TOML.
            name: what errors call it.

        Returns:
            The calibration.

        Raises:
            CalibrationError: it is wrong; the message names key, value and what was expected.
        """
        try:
            return cls.model_validate(tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise CalibrationError(f"{name}: is not valid TOML: {error}") from error
        except RecursionError as error:
            raise CalibrationError(f"{name}: is not a calibration file: nested too deeply") from error
        except ValidationError as error:
            raise CalibrationError(f"{name}: {explain_invalid(error, cls)}") from error

    def with_trigger_channel(self, channel: int | None) -> Self:
        """The same calibration with another `sweep.trigger_channel`.

        Args:
            channel: number of the camera's trigger input, 0 to 255; None leaves it as it is.

        Returns:
            The changed calibration.

        Raises:
            CalibrationError: the sweeps are not found by a trigger, or there is no such channel.
        """
        if channel is None:
            return self
        if self.sweep.sync != "trigger":
            raise CalibrationError(
                f'--trigger-channel ({channel}): sweep.sync is "{self.sweep.sync}", so that no trigger is used; leave '
                'it out, or set sweep.sync = "trigger" in lens.toml'
            )
        if not 0 <= channel <= 255:
            raise CalibrationError(f"--trigger-channel ({channel}): channels are numbered from 0 to 255")
        sweep = self.sweep.model_copy(update={"trigger_channel": channel})
        return self.model_copy(update={"sweep": sweep})

    def to_toml(self) -> str:
        """The text of a calibration file that loads as this calibration.

        Returns:
            TOML.
        """
        lines: list[str] = []
        for section, values in self.model_dump(exclude_none=True, exclude_defaults=False).items():
            lines.append(f"[{section}]")
            # Trigger keys are written only where they differ from their defaults.
            shown = {key for key in values if section != "sweep" or values[key] != _TRIGGER_DEFAULTS.get(key)}
            lines += [
                f"{key} = {_toml_value(value)}" for key, value in values.items() if value is not None and key in shown
            ]
            lines.append("")
        return "\n".join(lines)

    def focus_at(self, phase: np.ndarray) -> np.ndarray:
        """Focus over a far→near sweep.

        Args:
            phase: phases in [0, 1], any shape; 0 is the far end.

        Returns:
            Focus in 1/m, same shape.
        """
        s = self.sweep
        if self.focus_curve is not None:
            return np.interp(phase, self.focus_curve.phase, self.focus_curve.diopters)
        if s.waveform == "sine":
            return s.far_diopters + s.range_diopters * (1 - np.cos(np.pi * np.asarray(phase))) / 2
        return s.far_diopters + s.range_diopters * np.asarray(phase)


def _toml_value(value: Any) -> str:
    """One value as TOML; strings are escaped as JSON strings, which TOML's basic strings contain."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {_toml_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml_value, value)) + "]"
    if isinstance(value, float):
        return repr(value)
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else str(value)
