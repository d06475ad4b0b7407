"""The `sweepdepth` command: its subcommands, and the handling of errors and interruptions."""

import sys
import traceback
from typing import Annotated

import typer

from ..capture.errors import SweepdepthError
from .help import GroupedCommand, WholeGroup
from .interruption import ExitWhenInterrupted
from .options import Debug

app = typer.Typer(
    name="sweepdepth",
    help="Dense metric depth from an event camera behind a focus-sweeping lens.",
    epilog="Start with: sweepdepth demo",
    no_args_is_help=True,
    cls=WholeGroup,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _version(value: bool) -> None:
    if value:
        from .. import __version__

        print(f"sweepdepth {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Global options."""


from . import (  # noqa: E402
    calibrate,
    convert,
    demo,
    doctor,
    evaluation,
    examples,
    info,
    keys,
    lens,
    listen,
    live,
    new_lens,
    replay,
    synth,
    train,
    view,
    weights,
)

app.command("demo", cls=GroupedCommand, epilog="Example: sweepdepth demo --out pictures")(demo.demo)
app.command("info", cls=GroupedCommand, epilog="Example: sweepdepth info sweep.aedat4 --lens lens.toml")(info.info)
app.command("convert", cls=GroupedCommand, epilog="Example: sweepdepth convert depth.h5 depth.png")(convert.convert)
app.command(
    "replay", cls=GroupedCommand, epilog="Example: sweepdepth replay sweep.aedat4 --lens lens.toml --out depth.h5"
)(replay.replay)
app.command(
    "live",
    cls=GroupedCommand,
    epilog="Example: sweepdepth live --camera dv --lens lens.toml --driver optotune:/dev/ttyACM0 "
    "--publish tcp://127.0.0.1:5560",
)(live.live)
app.command(
    "calibrate",
    cls=GroupedCommand,
    epilog="Example: sweepdepth calibrate near.h5@0.5 mid.h5@0.8 far.h5@1.6 --lens start.toml --out lens.toml",
)(calibrate.calibrate)
app.command(
    "new-lens",
    cls=GroupedCommand,
    epilog="Example: sweepdepth new-lens lens.toml --sensor davis346 --focal-length 12 --f-number 1.4 "
    "--near 0.4 --far 2 --frequency 2.5",
)(new_lens.new_lens)
app.command("cameras", cls=GroupedCommand, epilog="Example: sweepdepth cameras")(doctor.cameras)
app.command("examples", cls=GroupedCommand, epilog="Example: sweepdepth examples here")(examples.examples)
app.command("doctor", cls=GroupedCommand, epilog="Example: sweepdepth doctor")(doctor.doctor)
app.command("listen", cls=GroupedCommand, epilog="Example: sweepdepth listen tcp://127.0.0.1:5560")(listen.listen)
app.command("view", cls=GroupedCommand, epilog="Example: sweepdepth view tcp://127.0.0.1:5560")(view.view)
app.command("eval", cls=GroupedCommand, epilog="Example: sweepdepth eval --data dataset --baselines all --out report")(
    evaluation.evaluate
)
app.command("train", cls=GroupedCommand, epilog="Example: sweepdepth train --data dataset --out trained")(train.train)
app.command("weights", cls=GroupedCommand, epilog="Example: sweepdepth weights")(weights.weights)
app.command("export", cls=GroupedCommand, epilog="Example: sweepdepth export default robot_openvino --size 346x260")(
    weights.export
)
synth_app = typer.Typer(
    help="Synthetic recordings with ground truth.", no_args_is_help=True, cls=WholeGroup, rich_markup_mode=None
)
synth_app.command("render", cls=GroupedCommand, epilog="Example: sweepdepth synth render --out dataset --scenes 50")(
    synth.render
)
synth_app.command(
    "simulate",
    cls=GroupedCommand,
    epilog="Example: sweepdepth synth simulate photographs --lens lens.toml --out sweep.h5",
)(synth.simulate)
synth_app.command("pack", cls=GroupedCommand, epilog="Example: sweepdepth synth pack dataset train.pack")(synth.pack)
app.add_typer(synth_app, name="synth")
lens_app = typer.Typer(help="Focus-sweeping lenses.", no_args_is_help=True, cls=WholeGroup, rich_markup_mode=None)
lens_app.command(
    "test", cls=GroupedCommand, epilog="Example: sweepdepth lens test --driver optotune:/dev/ttyACM0 --lens lens.toml"
)(lens.move)
app.add_typer(lens_app, name="lens")
keys_app = typer.Typer(help="CURVE keys for streams to other machines.", no_args_is_help=True, rich_markup_mode=None)
keys_app.command("new", cls=GroupedCommand, epilog="Example: sweepdepth keys new robot")(keys.new)
app.add_typer(keys_app, name="keys")


def main() -> None:
    """Run the command line. Exit status: 1 for errors, printed as one line; 2 for wrong usage; 3 if some of several
    inputs failed and the others are written; 130 when interrupted."""
    interruption = ExitWhenInterrupted()
    try:
        app()
    except (SweepdepthError, OSError) as error:
        if Debug.on:
            traceback.print_exc()
        elif not interruption.came:
            print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    finally:
        interruption.end()
