"""`sweepdepth calibrate`"""

from pathlib import Path
from typing import Annotated

import typer

from .options import DebugOption, FirstDirectionOption, ForceOption, JsonOption, direction_of, load_lens
from .output import print_json, print_tables, progress_bar


def calibrate(
    recordings: Annotated[
        list[str],
        typer.Argument(metavar="REC@METRES ...", help="Recordings of a textured target, each with its distance."),
    ],
    lens: Annotated[Path, typer.Option("--lens", help="Initial calibration; ends of the sweep to 20 %.")],
    out: Annotated[Path, typer.Option("--out", help="Calibration file to write, with a figure beside it.")],
    rest: Annotated[
        Path | None, typer.Option("--rest", help="Recording with lens and scene at rest: finds hot pixels.")
    ] = None,
    first_direction: FirstDirectionOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Find focus curve, delay, breathing and hot pixels from recordings of a flat target at known distances."""
    from ..capture.atomic import check_target
    from ..capture.target_calibration import calibrate, parse_target, save_calibration

    targets = [parse_target(text) for text in recordings]
    start = load_lens(lens)
    if out.suffix != ".toml":
        raise typer.BadParameter(f"--out {out}: a calibration is written as .toml, and a picture as .png beside it")
    # Check the outputs now rather than after minutes of work.
    inputs = (*(target.path for target in targets), lens, rest)
    check_target(out, "calibration", *inputs, force=force)
    check_target(out.with_suffix(".png"), "picture", *inputs, force=force)
    with progress_bar("calibrating", 1.0, "") as advance:
        result = calibrate(targets, start, rest, first_direction=direction_of(first_direction), on_progress=advance)
    picture = save_calibration(result, out, force=force)

    sweep, breathing = result.calibration.sweep, result.calibration.breathing
    assert breathing is not None
    late_ms = None if result.lateness is None else result.lateness.mean_us / 1000
    if as_json:
        print_json(
            {
                "grade": result.grade,
                "reasons": list(result.reasons),
                "far_diopters": sweep.far_diopters,
                "near_diopters": sweep.near_diopters,
                "focus_curve": result.calibration.focus_curve is not None,
                "worst_residual": result.worst_residual,
                "later_ms": late_ms,
                "scale_per_diopter": breathing.scale_per_diopter,
                "center": list(breathing.center),
                "hot_pixels": len(result.calibration.camera.hot_pixels),
                "out": str(out),
                "picture": str(picture),
            }
        )
        return
    print_tables(
        {
            str(out): {
                "verdict": result.verdict,
                "focus": f"{sweep.far_diopters:.3f} to {sweep.near_diopters:.3f} 1/m"
                + (", a measured curve" if result.calibration.focus_curve else ""),
                "worst residual": f"{result.worst_residual:.2%} of the range",
                "delay": "kept" if late_ms is None else f"{late_ms:+.2f} ms",
                "breathing": f"{breathing.scale_per_diopter:+.3%} per 1/m about {breathing.center}",
                "hot pixels": len(result.calibration.camera.hot_pixels),
                "notes": result.notes,
                "picture": str(picture),
            }
        }
    )
