"""`sweepdepth convert`"""

from pathlib import Path
from typing import Annotated

import typer

from .options import (
    ColumnsOption,
    DebugOption,
    ForceOption,
    JsonOption,
    LensOption,
    TimeUnitOption,
    TriggersOption,
    hints_of,
)
from .output import print_json, progress_bar, say


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A recording, or a depth file.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Its suffix picks the format.")],
    lens: LensOption = None,
    frame: Annotated[int, typer.Option(help="Which depth frame; negative counts from the end.")] = 0,
    lossy: Annotated[bool, typer.Option("--lossy", help="Allow formats that cannot hold everything.")] = False,
    triggers: TriggersOption = None,
    check: Annotated[
        bool, typer.Option("--check", help="Read both files afterwards and compare them event by event.")
    ] = False,
    columns: ColumnsOption = None,
    time_unit: TimeUnitOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Convert a recording to .h5, .aedat4, .npz, .csv, .raw, .dat or .es, or a depth frame to .png, .ply or .npy."""
    from ..capture.calibration import Calibration
    from ..capture.conversion import compare_recordings, convert_depth, convert_recording
    from ..capture.errors import RecordingError
    from ..capture.export import SUFFIXES

    if target.suffix in SUFFIXES:
        if triggers is not None:
            raise RecordingError(f"{triggers}: --triggers is for recordings, and a depth file has none")
        convert_depth(source, target, frame, force=force)
        result = {"out": str(target), "frame": frame}
    else:
        calibration, hints = None if lens is None else Calibration.load(lens), hints_of(columns, time_unit)
        with progress_bar(source.name, None, "events") as advance:
            n_events, notes = convert_recording(
                source,
                target,
                calibration,
                triggers=triggers,
                force=force,
                lossy=lossy,
                on_progress=advance,
                hints=hints,
            )
        for note in notes:
            say(note)
        result = {"out": str(target), "events": n_events, "notes": list(notes)}
        if check:
            with progress_bar(f"{target.name}, comparing", None, "events") as advance:
                same, differences = compare_recordings(source, target, calibration, hints=hints, on_progress=advance)
            if differences:
                raise RecordingError(f"{target}: is not the same as {source}: {'; '.join(differences)}")
            result["compared"] = same
            say(f"compared: {same:,} events are the same")
    if as_json:
        print_json(result)
    else:
        say(f"written {target}")
