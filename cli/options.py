"""Options that many commands share."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from functools import partial, wraps
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .extras import require
from .help import DEPTH, GENERAL, READING, STREAM, SWEEPS
from .output import say

if TYPE_CHECKING:
    from ..capture.calibration import Calibration
    from ..capture.recordings import TableHints
    from ..capture.sweeps import Direction
    from ..net.estimators import Fuse
    from ..stream.outputs import Publishing
    from ..stream.run_options import RunOptions
    from ..stream.wire.messages import StatusFrame


class Debug:
    """Whether errors are printed with a traceback; set by --debug."""

    on = False


def _set_debug(value: bool) -> None:
    Debug.on = Debug.on or value


class FirstDirection(StrEnum):
    """Direction of the first complete sweep."""

    FAR_NEAR = "far-near"
    NEAR_FAR = "near-far"


class Rate(StrEnum):
    """Rate of depth frames."""

    SWEEP = "sweep"
    BIN = "bin"


class Encoding(StrEnum):
    """How published arrays are encoded."""

    NONE = "none"
    ZSTD = "zstd"


class TimeUnit(StrEnum):
    """Time unit of a text or array file."""

    S = "s"
    MS = "ms"
    US = "us"
    NS = "ns"


class EstimatorName(StrEnum):
    """Name of an estimator."""

    NET = "net"
    POLARITY = "polarity"


def direction_of(first: FirstDirection | None) -> "Direction | None":
    """Value of --first-direction."""
    from ..capture.sweeps import Direction

    directions = {FirstDirection.FAR_NEAR: Direction.FAR_TO_NEAR, FirstDirection.NEAR_FAR: Direction.NEAR_TO_FAR}
    return None if first is None else directions[first]


def fuse_of(text: str | None) -> "Fuse | None":
    """Value of --fuse."""
    if text is None or text == "auto":
        return text
    if not text.isdecimal() or int(text) < 1:
        raise typer.BadParameter(f"--fuse {text}: give a number of sweeps, or auto")
    return int(text)


def hints_of(columns: str | None, time_unit: TimeUnit | None, size: str | None = None) -> "TableHints":
    """Values of --columns, --time-unit and --size."""
    from ..capture.recordings import TableHints

    sides = None if size is None else size_of(size)
    return TableHints(columns, None if time_unit is None else time_unit.value, sides)


def load_lens(path: Path) -> "Calibration":
    """Load the calibration file of a command that does not report its implausible values later, and warn of them."""
    from ..capture.calibration import Calibration

    calibration = Calibration.load(path)
    for doubt in calibration.doubts:
        say(f"warning: {path}: {doubt}")
    return calibration


def size_of(text: str) -> tuple[int, int]:
    """Value of --size, as width and height."""
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
    bool, typer.Option("--json", rich_help_panel=GENERAL, help="Print results as JSON, one object per line.")
]
ForceOption = Annotated[bool, typer.Option("--force", rich_help_panel=GENERAL, help="Replace an existing output.")]
LensOption = Annotated[
    Path | None,
    typer.Option("--lens", help="Calibration file (lens.toml). Optional if the recording contains one."),
]
ColumnsOption = Annotated[
    str | None,
    typer.Option(
        "--columns",
        metavar="t,x,y,p",
        rich_help_panel=READING,
        help="Column order of text or arrays without a header; - for unused columns.",
    ),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size",
        metavar="WxH",
        rich_help_panel=READING,
        help="Sensor size in pixels, if neither the file nor --lens gives it.",
    ),
]
TimeUnitOption = Annotated[
    TimeUnit | None,
    typer.Option(
        "--time-unit",
        rich_help_panel=READING,
        help="Time unit of text or arrays that do not state it.",
        show_default=False,
    ),
]
ServerKeyOption = Annotated[
    Path | None,
    typer.Option("--server-key", rich_help_panel=STREAM, help="The publisher's NAME.key, if it requires keys."),
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
MetricsOption = Annotated[
    str | None,
    typer.Option(
        "--metrics",
        metavar="[HOST:]PORT",
        rich_help_panel=STREAM,
        help="Serve the status as Prometheus metrics; on 127.0.0.1 unless HOST is given.",
    ),
]
EncodingOption = Annotated[
    Encoding,
    typer.Option(
        "--encoding",
        rich_help_panel=STREAM,
        help="Compress what is published, without loss, for slow links; every client reads both.",
    ),
]
RateOption = Annotated[
    Rate,
    typer.Option("--rate", rich_help_panel=DEPTH, help="One depth frame per sweep, or per bin that the lens passes."),
]
EstimatorOption = Annotated[
    EstimatorName | None,
    typer.Option(
        "--estimator",
        rich_help_panel=DEPTH,
        help="Estimator; default: net if installed.",
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
        help="Fuse this many sweeps, or as many as motion allows.",
    ),
]
FillOption = Annotated[bool, typer.Option("--fill", rich_help_panel=DEPTH, help="Fill pixels without evidence.")]
FlickerOption = Annotated[
    bool,
    typer.Option(
        "--suppress-flicker/--keep-flicker",
        show_default=False,
        rich_help_panel=DEPTH,
        help="Remove strong flicker by averaging, or not.",
    ),
]
FirstDirectionOption = Annotated[
    FirstDirection | None,
    typer.Option(
        "--first-direction",
        rich_help_panel=SWEEPS,
        help='Direction of the first complete sweep, for sync = "events" if nothing else determines it.',
    ),
]
TriggerChannelOption = Annotated[
    int | None,
    typer.Option(
        "--trigger-channel",
        min=0,
        max=255,
        rich_help_panel=SWEEPS,
        help="Camera input of the lens's trigger; default: the one with the lens's rhythm.",
    ),
]
DownsampleOption = Annotated[
    int,
    typer.Option(
        "--downsample",
        min=1,
        max=16,
        metavar="N",
        rich_help_panel=DEPTH,
        help="Take N×N pixels together: depth of fewer pixels, for a fraction of the work.",
    ),
]
TriggersOption = Annotated[
    Path | None,
    typer.Option(
        "--triggers",
        rich_help_panel=SWEEPS,
        help="Separate trigger file: CSV with time and edge; see docs/formats.md.",
    ),
]


def sharing(**groups: Callable[..., Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Decorator for shared options: each named parameter of the command is replaced by the options that are the
    parameters of the given function. The command receives a function without arguments that builds the value."""

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
    downsample: DownsampleOption = 1,
) -> "RunOptions":
    """Options of a run from the options of the command line."""
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
        downsample=downsample,
    )


def publishing(
    publish: PublishOption = None,
    keys: KeysOption = None,
    clients: ClientsOption = None,
    encoding: EncodingOption = Encoding.NONE,
) -> "Publishing | None":
    """Address and keys for publishing; None: do not publish."""
    from ..stream.outputs import Publishing

    return None if publish is None else Publishing(publish, keys, clients, encoding=encoding.value)


@contextmanager
def served_metrics(address: str | None) -> "Iterator[Callable[[StatusFrame], None]]":
    """The metrics server of --metrics, if given; yields the function that takes each status."""
    if address is None:
        yield lambda _: None
        return
    require("metrics", "prometheus_client")
    from ..stream.metrics import MetricsServer

    with MetricsServer(address) as server:
        say(f"metrics at {server.url}")
        yield server.update
