"""`sweepdepth convert`"""

from pathlib import Path
from typing import Annotated

import typer

from .options import DebugOption, ForceOption, JsonOption, LensOption
from .output import print_json, progress_bar, say


def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="A recording, or a depth file.")],
    target: Annotated[Path, typer.Argument(metavar="OUT", help="Its suffix picks the format.")],
    lens: LensOption = None,
    frame: Annotated[int, typer.Option(help="Which depth frame; negative counts from the end.")] = 0,
    lossy: Annotated[bool, typer.Option("--lossy", help="Allow formats that cannot hold everything.")] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Convert a recording to .h5, .aedat4, .raw, .dat, .es or .csv, or a depth frame to .png, .ply or .npy."""
    from ..capture.calibration import Calibration
    from ..capture.conversion import convert_depth, convert_recording
    from ..capture.export import SUFFIXES
    from ..capture.recordings.atomic import refuse_inputs

    refuse_inputs(target, source, lens)
    if target.suffix in SUFFIXES:
        convert_depth(source, target, frame, force=force)
        result = {"out": str(target), "frame": frame}
    else:
        calibration = None if lens is None else Calibration.load(lens)
        with progress_bar(source.name, None, "events") as advance:
            n_events, notes = convert_recording(
                source, target, calibration, force=force, lossy=lossy, on_progress=advance
            )
        for note in notes:
            say(note)
        result = {"out": str(target), "events": n_events, "notes": list(notes)}
    if as_json:
        print_json(result)
    else:
        say(f"written {target}")
