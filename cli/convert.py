"""`sweepdepth convert`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .options import (
    ColumnsOption,
    DebugOption,
    ForceOption,
    JsonOption,
    LensOption,
    SizeOption,
    TimeUnitOption,
    TriggersOption,
    hints_of,
    load_lens,
)
from .output import print_json, progress_bar, say

if TYPE_CHECKING:
    from ..capture.calibration import Calibration


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A recording, or a depth file.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Output; its suffix selects the format.")],
    lens: LensOption = None,
    frame: Annotated[
        int | None,
        typer.Option(
            help="Number of the depth frame, from 0; negative: from the end. Default: all, or the first.",
            show_default=False,
        ),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All depth frames, one file each: OUT_0000.png, …")] = False,
    millimetres: Annotated[
        bool,
        typer.Option(
            "--millimetres", help="Depth as a 16-bit PNG in millimetres, 0 where unknown, instead of colours."
        ),
    ] = False,
    fps: Annotated[
        float | None, typer.Option(min=0.1, max=120, help="Frames per second of a film; default for depth: real time.")
    ] = None,
    lossy: Annotated[bool, typer.Option("--lossy", help="Allow formats that cannot store everything.")] = False,
    triggers: TriggersOption = None,
    check: Annotated[bool, typer.Option("--check", help="Compare both files afterwards, event by event.")] = False,
    columns: ColumnsOption = None,
    time_unit: TimeUnitOption = None,
    size: SizeOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Convert a recording or a depth file.

    Recordings can be converted to .h5, .aedat4, .npz, .csv, .raw, .dat or .es, or to a film of the events, .mp4 or
    .gif.

    Depth can be converted to .png, .tif, .exr, .ply or .npy, to .npz with all frames, or to a film, .mp4 or .gif.
    """
    from ..capture.atomic import refuse_inputs
    from ..capture.errors import RecordingError
    from ..capture.files.films import FILM_SUFFIXES
    from ..capture.formats.kinds import is_depth_file

    refuse_inputs(target, source, lens, triggers)
    calibration, hints = None if lens is None else load_lens(lens), hints_of(columns, time_unit, size)
    result: dict[str, Any] = {"out": str(target)}
    written = [target]
    if is_depth_file(source):
        if triggers is not None or check or hints:
            raise RecordingError(
                f"{source}: is a depth file; --triggers, --check, --columns, --time-unit and --size are for recordings"
            )
        written = _convert_depth(source, target, frame, every=every, millimetres=millimetres, fps=fps, force=force)
        result = {"out": [str(path) for path in written] if every else str(target), "frame": frame}
    elif frame is not None or every or millimetres:
        raise RecordingError(f"{source}: is a recording; --frame, --all and --millimetres are for depth files")
    elif target.suffix.lower() in FILM_SUFFIXES:
        if check:
            raise RecordingError(f"{target}: a film has no events to compare; omit --check")
        result |= _film_events(source, target, calibration, triggers=triggers, fps=fps, force=force, hints=hints)
    elif fps is not None:
        raise RecordingError(f"{target}: --fps is for films, .mp4 and .gif")
    else:
        result |= _convert_recording(
            source, target, calibration, triggers=triggers, force=force, lossy=lossy, hints=hints
        )
        if check:
            result |= _compare(source, target, calibration, triggers=triggers, hints=hints)
    if as_json:
        print_json(result)
    elif len(written) > 1:
        say(f"written {written[0]} to {written[-1].name}, {len(written)} files")
    else:
        say(f"written {target}")


def _convert_depth(source: Path, target: Path, frame: int | None, **options: Any) -> list[Path]:
    """Export frames of a depth file; returns the files written. `options` are those of `convert_depth`."""
    from ..capture.files.conversion import convert_depth

    with progress_bar(source.name, None, "frames") as advance:
        return convert_depth(source, target, frame, on_progress=advance, **options)


def _film_events(source: Path, target: Path, calibration: "Calibration | None", **options: Any) -> dict[str, Any]:
    """Render a film of events; returns what to report. `options` are those of `convert_events`."""
    from ..capture.files.conversion import convert_events

    with progress_bar(source.name, None, "pictures") as advance:
        return {"pictures": convert_events(source, target, calibration, on_progress=advance, **options)}


def _convert_recording(source: Path, target: Path, calibration: "Calibration | None", **options: Any) -> dict[str, Any]:
    """Convert a recording; returns what to report. `options` are those of `convert_recording`."""
    from ..capture.files.conversion import convert_recording

    with progress_bar(source.name, None, "events") as advance:
        n_events, notes = convert_recording(source, target, calibration, on_progress=advance, **options)
    for note in notes:
        say(note)
    return {"events": n_events, "notes": list(notes)}


def _compare(source: Path, target: Path, calibration: "Calibration | None", **options: Any) -> dict[str, Any]:
    """Compare two recordings; returns what to report. `options` are those of `compare_recordings`.

    Raises:
        RecordingError: they differ.
    """
    from ..capture.errors import RecordingError
    from ..capture.files.conversion import compare_recordings

    with progress_bar(f"{target.name}, comparing", None, "events") as advance:
        same, differences = compare_recordings(source, target, calibration, on_progress=advance, **options)
    if differences:
        raise RecordingError(f"{target}: differs from {source}: {'; '.join(differences)}")
    say(f"compared: {same:,} events are identical")
    return {"compared": same}
