"""`sweepdepth info`"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .interruption import exit_unless_all
from .options import (
    ColumnsOption,
    DebugOption,
    ForceOption,
    JsonOption,
    LensOption,
    SizeOption,
    TimeUnitOption,
    TriggerChannelOption,
    TriggersOption,
    hints_of,
)
from .output import print_json, print_tables, progress_bar, say

if TYPE_CHECKING:
    from ..capture.calibration import Calibration
    from ..capture.files.facts import Facts
    from ..capture.recordings import TableHints


def info(
    path: Annotated[
        Path,
        typer.Argument(
            help="A recording, a folder of them, a dataset, a depth file, a calibration or weights file, or the name "
            "of shipped weights."
        ),
    ],
    lens: LensOption = None,
    picture: Annotated[
        Path | None,
        typer.Option(
            "--picture",
            help="Plot a recording (event rates, sweeps, stack) or scenes of a dataset to .png, .pdf or .svg.",
        ),
    ] = None,
    trigger_channel: TriggerChannelOption = None,
    triggers: TriggersOption = None,
    columns: ColumnsOption = None,
    time_unit: TimeUnitOption = None,
    size: SizeOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Show the content of a file."""
    from ..capture.calibration import Calibration
    from ..capture.files.description import describe
    from ..capture.files.facts import as_numbers

    calibration = None if lens is None else Calibration.load(lens)
    hints = hints_of(columns, time_unit, size)
    if picture is not None:
        from ..capture.reporting.figures import check_figure

        check_figure(picture, path, lens, triggers, force=force)
    from ..net.weights import describe_weights, is_weights

    if is_weights(path):
        facts = describe_weights(path)
    else:
        with progress_bar(path.name, None, "events") as advance:
            facts = describe(
                path, calibration, advance, trigger_channel=trigger_channel, triggers=triggers, hints=hints
            )
    if picture is not None:
        _draw(path, picture, calibration, trigger_channel, triggers, hints, facts)
    if as_json:
        print_json(as_numbers(facts))
    else:
        print_tables(facts)
    unreadable = facts.get("recordings", {}).get("unreadable", 0)
    exit_unless_all(len(facts.get("files", {})) - unreadable, unreadable)


def _draw(
    path: Path,
    picture: Path,
    calibration: "Calibration | None",
    trigger_channel: int | None,
    triggers: Path | None,
    hints: "TableHints",
    facts: "Facts",
) -> None:
    from ..capture.errors import RecordingError
    from ..capture.files.dataset import open_dataset
    from ..capture.files.survey import survey
    from ..capture.files.survey_figure import recording_figure
    from ..capture.reporting.figures import save_figure
    from ..synth.generation.contact_sheet import contact_sheet

    if "dataset" in facts:
        figure = contact_sheet(open_dataset(path))
    elif "recording" in facts:
        with progress_bar(f"{path.name}, again for the picture", None, "events") as advance:
            figure = recording_figure(
                survey(path, calibration, advance, trigger_channel=trigger_channel, triggers=triggers, hints=hints)
            )
    else:
        raise RecordingError(
            f"{path}: has no picture; --picture draws a recording or a dataset, `sweepdepth convert` depth files"
        )
    save_figure(figure, picture)
    say(f"written {picture}")
