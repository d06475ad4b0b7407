"""Options that many commands share."""

from pathlib import Path
from typing import Annotated

import typer


class Debug:
    """Whether errors come with a traceback; set by --debug, read when an error is printed."""

    on = False


def _set_debug(value: bool) -> None:
    Debug.on = Debug.on or value


DebugOption = Annotated[
    bool, typer.Option("--debug", callback=_set_debug, is_eager=True, help="Show the traceback of an error.")
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print results as JSON, one object a line.")]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace an existing output.")]
LensOption = Annotated[
    Path | None,
    typer.Option("--lens", help="Calibration file (lens.toml). Not needed where the recording carries one."),
]
ServerKeyOption = Annotated[
    Path | None, typer.Option("--server-key", help="The publisher's NAME.key, when it asks for keys.")
]
