"""`sweepdepth view`"""

import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Annotated

import typer

from .extras import require
from .help import STREAM
from .interruption import until_interrupted
from .options import DebugOption, EstimatorOption, LensOption, ServerKeyOption, WeightsOption
from .output import progress_bar, say

PortOption = Annotated[
    int, typer.Option("--port", min=1, max=65535, help="Port of the page; the next free one if it is in use.")
]


def view(
    source: Annotated[
        str,
        typer.Argument(
            metavar="ADDRESS|FILE", help="Address of a publisher, tcp://127.0.0.1:5560, or a recording or depth file."
        ),
    ],
    host: Annotated[str, typer.Option("--host", help="Address of the page; loopback only.")] = "127.0.0.1",
    port: PortOption = 8080,
    keys: Annotated[Path | None, typer.Option("--keys", rich_help_panel=STREAM, help="Your NAME.key_secret.")] = None,
    server_key: ServerKeyOption = None,
    lens: LensOption = None,
    estimator: EstimatorOption = None,
    weights: WeightsOption = None,
    debug: DebugOption = False,
) -> None:
    """Show a stream or a file in a browser: depth, confidence, events, point cloud and statistics.

    Files have a time slider, play and step; a recording is replayed first.
    """
    require("view", "viser")
    stop = until_interrupted()
    if "://" in source:
        from ..stream.view.viewer import view

        view(source, stop, host=host, port=port, keys=keys, server_key=server_key, on_url=announce)
    else:
        _view_file(Path(source), host, port, lens, None if estimator is None else estimator.value, weights, stop)
    raise typer.Exit(130)


def _view_file(
    path: Path,
    host: str,
    port: int,
    lens: Path | None,
    estimator: str | None,
    weights: Path | None,
    stop: threading.Event,
) -> None:
    from ..capture.calibration import Calibration
    from ..capture.errors import SweepdepthError
    from ..stream.run_options import RunOptions
    from ..stream.view.moments import open_moments
    from ..stream.view.playback import view_file

    calibration = None if lens is None else Calibration.load(lens)
    with ExitStack() as resources:
        try:
            with progress_bar(path.name, None, "s") as advance:
                moments = resources.enter_context(
                    open_moments(path, calibration, RunOptions(estimator, weights), stop=stop, on_progress=advance)
                )
        except SweepdepthError:
            if stop.is_set():
                return
            raise
        for warning in moments.warnings:
            say(f"warning: {warning}")
        if not stop.is_set():
            view_file(moments, path.name, stop, host=host, port=port, on_url=announce)


def announce(url: str) -> None:
    """Print the address of the page."""
    say(f"the live page is at {url}  (Ctrl-C to stop)")
