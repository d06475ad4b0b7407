"""`sweepdepth keys`"""

from pathlib import Path
from typing import Annotated

import typer

from .options import DebugOption, ForceOption
from .output import say


def new(
    name: Annotated[str, typer.Argument(help="Name of the two files.")],
    folder: Annotated[Path, typer.Option("--folder", help="Where to write them.")] = Path(),
    force: ForceOption = False,
    debug: DebugOption = False,
) -> None:
    """Make a CURVE key pair: NAME.key to share, NAME.key_secret to keep."""
    from ..stream.wire.keys import new_keys

    public, secret = new_keys(name, folder, force)
    say(f"{public}: give this to your peers")
    say(f"{secret}: keep this secret; only you can read it")
