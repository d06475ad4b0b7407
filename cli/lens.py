"""`sweepdepth lens`"""

from pathlib import Path
from typing import Annotated

import typer

from .interruption import until_interrupted
from .options import DebugOption, JsonOption, load_lens
from .output import print_json, print_tables, progress_bar


def move(
    driver: Annotated[str, typer.Option("--driver", help="optotune:/dev/ttyX.")],
    lens: Annotated[Path, typer.Option("--lens", help="Calibration file (lens.toml) with a [driver] table.")],
    seconds: Annotated[float, typer.Option("--seconds", min=0.5, help="Duration of the motion.")] = 5.0,
    as_json: JsonOption = False,
    debug: DebugOption = False,
) -> None:
    """Sweep the lens as its calibration says, and print a report; afterwards the lens is at rest."""
    from ..capture.errors import LensError
    from ..capture.lenses.trial import try_lens

    if driver == "external":
        raise LensError("external: there is nothing to move; give optotune:/dev/ttyX")
    calibration = load_lens(lens)
    stop = until_interrupted()
    with progress_bar(driver, seconds, "s") as advance:
        trial = try_lens(driver, calibration, seconds, stop, advance)
    limits, status = trial.limits, trial.moving
    if as_json:
        print_json(
            {
                "well": trial.is_well,
                "moving_s": trial.seconds,
                "serial_number": limits.serial_number,
                "firmware": limits.firmware,
                "max_current_ma": limits.max_current_ma,
                "temperature_c": [trial.coldest_c, trial.hottest_c],
                "reconnects": status.reconnects,
                "timeouts": status.timeouts,
                "crc_errors": status.crc_errors,
                "rests": not trial.after.moving,
                "last_error": status.last_error,
            }
        )
    else:
        sweep = calibration.sweep
        warm = "unknown" if trial.coldest_c is None else f"{trial.coldest_c:.1f} to {trial.hottest_c:.1f} °C"
        current = "unknown" if limits.max_current_ma is None else f"{limits.max_current_ma:g} mA"
        print_tables(
            {
                driver: {
                    "verdict": "well" if trial.is_well else "not well",
                    "driver": f"{limits.serial_number or 'no serial number'}, firmware {limits.firmware or 'unknown'}",
                    "moved": f"{trial.seconds:.1f} s, {sweep.waveform} at {sweep.frequency_hz:g} Hz",
                    "largest current": current,
                    "temperature": warm,
                    "line": f"{status.timeouts} timeouts, {status.crc_errors} damaged answers, "
                    f"{status.reconnects} reconnections",
                    "now": "still moving" if trial.after.moving else "at rest",
                    **({"last error": status.last_error} if status.last_error else {}),
                }
            }
        )
    if stop.is_set():
        raise typer.Exit(130)
    if not trial.is_well:
        raise typer.Exit(1)
