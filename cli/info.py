"""`sweepdepth info`"""

from pathlib import Path
from typing import Annotated

import typer

from .options import DebugOption, JsonOption, LensOption
from .output import print_json, print_tables, progress_bar


def info(
    path: Annotated[Path, typer.Argument(help="A recording, dataset, depth file or calibration file.")],
    lens: LensOption = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Tell what is in a file."""
    from ..capture.calibration import Calibration
    from ..capture.description import describe

    calibration = None if lens is None else Calibration.load(lens)
    with progress_bar(path.name, None, "events") as advance:
        facts = describe(path, calibration, advance)
    if as_json:
        print_json(facts)
    else:
        print_tables(facts)
