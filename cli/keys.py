"""`sweepdepth keys`"""

from pathlib import Path
from typing import Annotated

import typer

from .options import DebugOption, ForceOption
from .output import say


def new(
    name: Annotated[str, typer.Argument(help="Whose keys: the name of the two files.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where to write them.")] = Path(),
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a CURVE key pair: NAME.key to hand out, NAME.key_secret to keep."""
    from ..stream.wire.keys import new_keys

    public, secret = new_keys(name, folder, force)
    say(f"{public}: hand this to whoever is to know you")
    say(f"{secret}: keep this; only you can read it")
