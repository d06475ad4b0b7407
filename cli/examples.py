"""`sweepdepth examples`"""

from pathlib import Path
from typing import Annotated

import typer

from .options import DebugOption, JsonOption
from .output import print_json, print_tables


def examples(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder to create.")],
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Write the files used in the documentation: recordings, a calibration, configurations, clients."""
    from ..stream.examples import lay_out

    written = lay_out(folder)
    if as_json:
        print_json({"folder": str(folder), "written": written})
    else:
        print_tables({str(folder): dict(written)})
