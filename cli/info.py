"""`sweepdepth info`"""

from pathlib import Path
from typing import Annotated

import typer

from .options import DebugOption, JsonOption, LensOption
from .output import print_json, print_tables, progress_bar, say


def info(
    path: Annotated[Path, typer.Argument(help="A recording, dataset, depth, calibration or weights file.")],
    lens: LensOption = None,
    picture: Annotated[
        Path | None,
        typer.Option("--picture", help="Draw scenes of a dataset side by side into this .png, .pdf or .svg."),
    ] = None,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Tell what is in a file."""
    from ..capture.calibration import Calibration
    from ..capture.description import describe

    if path.suffix == ".safetensors":
        from ..net.weights import describe_weights

        facts = describe_weights(path)
    else:
        calibration = None if lens is None else Calibration.load(lens)
        with progress_bar(path.name, None, "events") as advance:
            facts = describe(path, calibration, advance)
    if picture is not None:
        _draw(path, picture)
    if as_json:
        print_json(facts)
    else:
        print_tables(facts)


def _draw(path: Path, picture: Path) -> None:
    from ..capture.dataset import open_dataset
    from ..capture.pictures import save_figure
    from ..synth.contact_sheet import contact_sheet

    save_figure(contact_sheet(open_dataset(path)), picture)
    say(f"written {picture}")
