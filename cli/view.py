"""`sweepdepth view`"""

from pathlib import Path
from typing import Annotated

import typer

from .interruption import until_interrupted
from .options import DebugOption, ServerKeyOption
from .output import say

PortOption = Annotated[int, typer.Option("--port", min=1, max=65535, help="Port of the page, or the next one free.")]


def view(
    address: Annotated[str, typer.Argument(help="Where depth is published: tcp://127.0.0.1:5560.")],
    host: Annotated[str, typer.Option("--host", help="Address of the page; loopback only.")] = "127.0.0.1",
    port: PortOption = 8080,
    keys: Annotated[Path | None, typer.Option("--keys", help="Your NAME.key_secret.")] = None,
    server_key: ServerKeyOption = None,
    debug: DebugOption = False,
) -> None:
    """Show a stream live in a browser: depth, confidence, events, a point cloud, and how it is going."""
    from ..stream.view.viewer import view

    stop = until_interrupted()
    view(address, stop, host=host, port=port, keys=keys, server_key=server_key, on_url=announce)
    raise typer.Exit(130)


def announce(url: str) -> None:
    """Tell where the page is."""
    say(f"the live page is at {url}  (Ctrl-C ends it)")
