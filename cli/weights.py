"""`sweepdepth weights` and `sweepdepth export`"""

from pathlib import Path
from typing import Annotated

import typer

from .options import DebugOption, ForceOption, JsonOption, LensOption, load_lens, size_of
from .output import print_json, print_tables, say

_FIGURES = {
    "val_rmse": "validation RMSE",
    "val_mae": "validation MAE",
    "val_constant": "RMSE of a constant there",
}


def weights(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List the shipped weights, whose names can be used instead of a weights file."""
    from ..net.weights import describe_weights, open_weights, shipped_weights

    for name, path in shipped_weights().items():
        facts = open_weights(name).facts
        if as_json:
            print_json({"name": name, "path": str(path), "facts": dict(facts)})
            continue
        network, figures = describe_weights(name)["network"], facts.get("validation", {})
        rows = {key: network[key] for key in ("sees", "predicts its deviation", "size")}
        if "steps" in facts:
            rows["training"] = f"{facts['steps']:,} steps in the last part, {facts.get('scenes', 0):,} scenes"
        rows |= {shown: f"{100 * figures[key]:.1f} % of the range" for key, shown in _FIGURES.items() if key in figures}
        print_tables({name: rows | {"file": str(path)}})


def export(
    weights: Annotated[str, typer.Argument(metavar="WEIGHTS", help="A weights file, or a name.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="NAME.onnx, or a folder NAME_openvino.")],
    size: Annotated[
        str | None, typer.Option("--size", metavar="WxH", help="Frame size in pixels; default: that of --lens.")
    ] = None,
    lens: LensOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Export a network for one frame size, to be used with --weights without torch."""
    from ..net.engines.exported import export

    if (size is None) == (lens is None):
        raise typer.BadParameter("give the frame size, either --size WxH or --lens FILE")
    if lens is not None:
        camera = load_lens(lens).camera
        width, height = camera.width, camera.height
    else:
        width, height = size_of(size or "")
    written = export(weights, out, width, height, force=force)
    if as_json:
        print_json({"out": str(written), "width": width, "height": height})
    else:
        say(f"written: {written}, for frames of {width}×{height}\nrun it: sweepdepth replay REC --weights {written} …")
