"""Options that many commands share."""

import re
from collections.abc import Callable
from enum import StrEnum
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .help import DEPTH, GENERAL, READING, STREAM, SWEEPS

if TYPE_CHECKING:
    from ..capture.recordings import TableHints
    from ..capture.sweeps import Direction
    from ..net.estimators import Fuse
    from ..stream.outputs import Publishing
    from ..stream.run_options import RunOptions


class Debug:
    """Whether errors come with a traceback; set by --debug, read when an error is printed."""

    on = False


def _set_debug(value: bool) -> None:
    Debug.on = Debug.on or value


class FirstDirection(StrEnum):
    """Direction of the first whole sweep."""

    FAR_NEAR = "far-near"
    NEAR_FAR = "near-far"


class Rate(StrEnum):
    """How often there is depth."""

    SWEEP = "sweep"
    BIN = "bin"


class TimeUnit(StrEnum):
    """Unit of the times in a file of text or arrays."""

    S = "s"
    MS = "ms"
    US = "us"
    NS = "ns"


class EstimatorName(StrEnum):
    """How events become depth."""

    NET = "net"
    POLARITY = "polarity"


def direction_of(first: FirstDirection | None) -> "Direction | None":
    """What --first-direction says, or None."""
    from ..capture.sweeps import Direction

    directions = {FirstDirection.FAR_NEAR: Direction.FAR_TO_NEAR, FirstDirection.NEAR_FAR: Direction.NEAR_TO_FAR}
    return None if first is None else directions[first]


def fuse_of(text: str | None) -> "Fuse | None":
    """What --fuse says."""
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"--fuse {text}: give a number of sweeps, or auto")
    return int(text)


def hints_of(columns: str | None, time_unit: TimeUnit | None, size: str | None = None) -> "TableHints":
    """What --columns, --time-unit and --size say."""
    from ..capture.recordings import TableHints

    sides = None if size is None else size_of(size)
    return TableHints(columns, None if time_unit is None else time_unit.value, sides)


def size_of(text: str) -> tuple[int, int]:
    """Width and height that --size says."""
    match = re.fullmatch(r"([1-9]\d{0,4})[xX×]([1-9]\d{0,4})", text)
    if match is None:
        raise typer.BadParameter(f"--size {text}: expected width and height in pixels, such as 1280x720")
    return int(match[1]), int(match[2])


DebugOption = Annotated[
    bool,
    typer.Option(
        "--debug", callback=_set_debug, is_eager=True, rich_help_panel=GENERAL, help="Show the traceback of an error."
    ),
]
JsonOption = Annotated[
    bool, typer.Option("--json", rich_help_panel=GENERAL, help="Print results as JSON, one object a line.")
]
ForceOption = Annotated[bool, typer.Option("--force", rich_help_panel=GENERAL, help="Replace an existing output.")]
LensOption = Annotated[
    Path | None,
    typer.Option("--lens", help="Calibration file (lens.toml). Not needed where the recording carries one."),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="t,x,y,p",
        rich_help_panel=READING,
        help="Order of columns of text or arrays that do not say it; - for one that is not needed.",
    ),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="WxH",
        rich_help_panel=READING,
        help="Size of the sensor in pixels, where neither file nor --lens says it.",
    ),
]
TimeUnitOption = Annotated[
    TimeUnit | None,
    typer.Option(
        "--time-unit",
        rich_help_panel=READING,
        help="Unit of the times in text or arrays that do not say it.",
        show_default=False,
    ),
]
ServerKeyOption = Annotated[
    Path | None,
    typer.Option("--server-key", rich_help_panel=STREAM, help="The publisher's NAME.key, when it asks for keys."),
]
PublishOption = Annotated[
    str | None,
    typer.Option("--publish", rich_help_panel=STREAM, help="Address to publish depth on: tcp://127.0.0.1:5560."),
]
KeysOption = Annotated[
    Path | None, typer.Option("--keys", rich_help_panel=STREAM, help="The publisher's NAME.key_secret.")
]
ClientsOption = Annotated[
    Path | None, typer.Option("--clients", rich_help_panel=STREAM, help="Folder with the NAME.key of allowed clients.")
]
RateOption = Annotated[
    Rate,
    typer.Option("--rate", rich_help_panel=DEPTH, help="A depth each sweep, or each time the lens has passed a bin."),
]
EstimatorOption = Annotated[
    EstimatorName | None,
    typer.Option(
        "--estimator",
        rich_help_panel=DEPTH,
        help="How events become depth; net unless it is not installed.",
        show_default=False,
    ),
]
WeightsOption = Annotated[
    Path | None,
    typer.Option(
        "--weights",
        metavar="FILE|NAME",
        rich_help_panel=DEPTH,
        help="Weights for the network; `sweepdepth weights` lists names.",
    ),
]
FuseOption = Annotated[
    str | None,
    typer.Option(
        "--fuse",
        metavar="N|auto",
        rich_help_panel=DEPTH,
        help="Answer so many sweeps together, or as many as motion allows.",
    ),
]
FillOption = Annotated[bool, typer.Option("--fill", rich_help_panel=DEPTH, help="Fill pixels without evidence.")]
FlickerOption = Annotated[
    bool,
    typer.Option(
        "--suppress-flicker/--keep-flicker",
        show_default=False,
        rich_help_panel=DEPTH,
        help="Average flickering light away, where the events show much of it, or not.",
    ),
]
FirstDirectionOption = Annotated[
    FirstDirection | None,
    typer.Option(
        "--first-direction",
        rich_help_panel=SWEEPS,
        help='Direction of the first whole sweep, for sync = "events" where nothing else tells it.',
    ),
]
TriggerChannelOption = Annotated[
    int | None,
    typer.Option(
        "--trigger-channel",
        min=0,
        max=255,
        rich_help_panel=SWEEPS,
        help="Camera input that the lens's trigger is on; without it, the one that keeps the lens's rhythm.",
    ),
]
TriggersOption = Annotated[
    Path | None,
    typer.Option(
        "--triggers",
        rich_help_panel=SWEEPS,
        help="Triggers in a file of their own: CSV with time and edge; see docs/formats.md.",
    ),
]


def sharing(**groups: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Let commands share options: in place of a parameter that is named here, the command has the options that the
    parameters of its function are. It gets a function without arguments that makes the value of them."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        options: list[Parameter] = []
        for parameter in signature(command).parameters.values():
            group = groups.get(parameter.name)
            options += [parameter] if group is None else signature(group).parameters.values()

        @wraps(command)
        def run(**values: Any) -> None:
            made = {
                name: partial(make, **{option: values.pop(option) for option in signature(make).parameters})
                for name, make in groups.items()
            }
            command(**values, **made)

        options = [option.replace(kind=Parameter.KEYWORD_ONLY) for option in options]
        run.__signature__ = Signature(options)  # pyright: ignore[reportAttributeAccessIssue]
        run.__annotations__ = {option.name: option.annotation for option in options}
        return run

    return decorate


def run_options(
    estimator: EstimatorOption = None,
    weights: WeightsOption = None,
    fuse: FuseOption = None,
    rate: RateOption = Rate.SWEEP,
    fill: FillOption = False,
    suppress_flicker: FlickerOption = True,
    first_direction: FirstDirectionOption = None,
    trigger_channel: TriggerChannelOption = None,
) -> "RunOptions":
    """How events become depth."""
    from ..stream.run_options import RunOptions

    return RunOptions(
        estimator=None if estimator is None else estimator.value,
        weights=weights,
        fuse=fuse_of(fuse),
        rate=rate.value,
        filling=fill,
        suppressing=suppress_flicker,
        first_direction=direction_of(first_direction),
        trigger_channel=trigger_channel,
    )


def publishing(
    publish: PublishOption = None, keys: KeysOption = None, clients: ClientsOption = None
) -> "Publishing | None":
    """Where to publish, and to whom; None: nowhere."""
    from ..stream.outputs import Publishing

    return None if publish is None else Publishing(publish, keys, clients)
