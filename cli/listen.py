"""`sweepdepth listen`"""

from pathlib import Path
from typing import Annotated

import typer

from .help import STREAM
from .interruption import until_interrupted
from .options import DebugOption, ForceOption, JsonOption, ServerKeyOption, load_lens
from .output import print_json, say


def listen(
    address: Annotated[str, typer.Argument(help="Address of the publisher: tcp://127.0.0.1:5560.")],
    out: Annotated[Path | None, typer.Option("--out", help="Save the frames to a depth file (HDF5).")] = None,
    lens: Annotated[Path | None, typer.Option("--lens", help="Calibration file (lens.toml) to store in --out.")] = None,
    frames: Annotated[int | None, typer.Option("--frames", min=1, help="Stop after this many depth frames.")] = None,
    follow: Annotated[
        bool, typer.Option("--follow", help="Continue when the stream ends and a new one begins.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(min=0.1, help="Fail after this many seconds without messages.")
    ] = None,
    keys: Annotated[Path | None, typer.Option("--keys", rich_help_panel=STREAM, help="Your NAME.key_secret.")] = None,
    server_key: ServerKeyOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Receive depth: print a line for each frame and each status, or save depth."""
    from ..capture.atomic import refuse_inputs
    from ..stream.listening import facts_of, listen

    if out is not None and lens is None:
        raise typer.BadParameter("--out needs --lens: a depth file carries the calibration, the stream does not")
    calibration = None if lens is None else load_lens(lens)
    if out is not None:
        refuse_inputs(out, lens, keys, server_key)
    stop = until_interrupted()
    n_depth = 0
    for frame in listen(
        address,
        out,
        calibration,
        frames,
        stop=stop,
        follow=follow,
        timeout=timeout,
        keys=keys,
        server_key=server_key,
        force=force,
    ):
        facts = facts_of(frame)
        n_depth += facts["topic"] == "depth"
        if as_json:
            print_json(facts)
        else:
            print("  ".join(f"{name} {_text(value)}" for name, value in facts.items()), flush=True)
    stopped = "stopped: " if stop.is_set() else ""
    say(f"{stopped}{n_depth} depth frames" + (f" in {out}" if out and n_depth else ""))
    if stop.is_set():
        raise typer.Exit(130)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
