"""`sweepdepth new-lens`"""

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .options import DebugOption, ForceOption
from .output import say


class WaveformName(StrEnum):
    """Waveform of the focus."""

    TRIANGLE = "triangle"
    SINE = "sine"
    SAWTOOTH = "sawtooth"


class SyncName(StrEnum):
    """How turning points are found."""

    TRIGGER = "trigger"
    CLOCK = "clock"
    EVENTS = "events"


def new_lens(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="Calibration file to write.")] = Path("lens.toml"),
    sensor: Annotated[
        str | None, typer.Option("--sensor", help="davis346, dvxplorer, imx636, …, or WxH@PITCH.")
    ] = None,
    focal_length: Annotated[float | None, typer.Option("--focal-length", help="Focal length of the lens, mm.")] = None,
    f_number: Annotated[float | None, typer.Option("--f-number", help="f-number set on the lens: 1.4, 2, …")] = None,
    near: Annotated[float | None, typer.Option("--near", help="Nearest distance in focus, m.")] = None,
    far: Annotated[float | None, typer.Option("--far", help="Farthest distance in focus, m; may be inf.")] = None,
    frequency: Annotated[
        float | None, typer.Option("--frequency", help="Frequency of the lens, full periods per second.")
    ] = None,
    waveform: Annotated[
        WaveformName, typer.Option("--waveform", help="Waveform of the focus.")
    ] = WaveformName.TRIANGLE,
    sync: Annotated[SyncName, typer.Option("--sync", help="How turning points are found.")] = SyncName.TRIGGER,
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Write an initial calibration file with comments. Prompts for values not given as options."""
    from ..capture.atomic import PartialFile, check_target
    from ..capture.calibration.sensors import SENSORS
    from ..capture.calibration.template import lens_text

    if out.suffix != ".toml":
        raise typer.BadParameter(f"{out}: a calibration is written as .toml")
    check_target(out, "calibration", force=force)
    known = "\n".join(
        f"  {name}: {s.width}×{s.height}, {s.pixel_pitch_um:g} µm, {s.cameras}" for name, s in SENSORS.items()
    )
    answers: dict[str, Any] = {
        "sensor": (sensor, f"Sensor\n{known}\n  or WIDTHxHEIGHT@PITCH_UM, such as 640x480@9", "davis346", str),
        "focal_length_mm": (focal_length, "Focal length of the lens, mm", 12.0, float),
        "f_number": (f_number, "f-number", 2.0, float),
        "near_m": (near, "Nearest distance in focus, m", 0.4, float),
        "far_m": (far, "Farthest distance in focus, m (inf for infinity)", 2.0, float),
        "frequency_hz": (frequency, "Frequency of the lens, full periods per second", 2.5, float),
    }
    missing = [name for name, (given, *_) in answers.items() if given is None]
    if missing and not sys.stdin.isatty():
        flags = {
            "focal_length_mm": "--focal-length",
            "near_m": "--near",
            "far_m": "--far",
            "frequency_hz": "--frequency",
        }
        listed = ", ".join(flags.get(name, f"--{name.replace('_', '-')}") for name in missing)
        raise typer.BadParameter(f"there is no terminal to prompt on: give {listed}")
    values = {
        name: typer.prompt(
            question, default=default, type=kind, err=True, value_proc=_known_sensor if name == "sensor" else None
        )
        if given is None
        else given
        for name, (given, question, default, kind) in answers.items()
    }
    near_m, far_m, focal_length_mm = values["near_m"], values["far_m"], values["focal_length_mm"]
    if not 0 < near_m < far_m:
        raise typer.BadParameter(f"--near {near_m:g} must be less than --far {far_m:g}; both are distances in metres")
    if focal_length_mm < 1:
        raise typer.BadParameter(f"--focal-length {focal_length_mm:g}: expected millimetres, such as 12")
    width, height, pitch = _sensor(values.pop("sensor"))
    text = lens_text(
        width=width,
        height=height,
        pixel_pitch_um=pitch,
        waveform=waveform.value,
        sync=sync.value,
        **values,
    )
    with PartialFile(out, force, "calibration") as partial:
        partial.write_text(text, encoding="utf-8")
    say(f"written: {out}; to see derived values: sweepdepth info {out}")


def _known_sensor(text: str) -> str:
    """Check a sensor that was typed, so that it is asked for again if it is wrong."""
    _sensor(text)
    return text


def _sensor(text: str) -> tuple[int, int, float]:
    """Width, height and pitch, from the name of a sensor, or of a camera that has no other, or WxH@PITCH."""
    from ..capture.calibration.sensors import SENSORS

    name = text.lower()
    cameras = [s for s in SENSORS.values() if name in s.cameras.lower().replace(",", " ").split()]
    found = SENSORS.get(name) or (cameras[0] if len(cameras) == 1 else None)
    if found is not None:
        return found.width, found.height, found.pixel_pitch_um
    size, _, pitch = text.lower().partition("@")
    width, _, height = size.partition("x")
    try:
        return int(width), int(height), float(pitch)
    except ValueError:
        raise typer.BadParameter(
            f"--sensor {text}: expected {', '.join(SENSORS)}, or WIDTHxHEIGHT@PITCH_UM such as 640x480@9"
        ) from None
