"""`sweepdepth doctor` and `sweepdepth cameras`"""

from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer
from rich.console import Console

from .options import DebugOption, JsonOption
from .output import print_json

if TYPE_CHECKING:
    from ..capture.findings import Finding

_MARKS = {"ok": "[green]ok[/]     ", "missing": "[yellow]missing[/]", "failed": "[red]failed[/] "}


def doctor(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """Check the installation part by part, with remedies for what does not work."""
    from ..stream.installation import examine

    _show(examine(), as_json)


def cameras(as_json: JsonOption = False, debug: DebugOption = False) -> None:
    """List connected cameras and lens drivers, and what is missing to open them."""
    from ..capture.cameras.plugged import look

    _show(look(), as_json)


def _show(findings: "Iterable[Finding]", as_json: bool) -> None:
    """Print findings as they arrive; exits with 1 if one has failed."""
    console = Console(highlight=False, soft_wrap=True)
    failed = False
    for finding in findings:
        failed = failed or finding.verdict == "failed"
        if as_json:
            print_json(asdict(finding))
            continue
        console.print(f"{_MARKS[finding.verdict]} {finding.what}: ", end="")
        console.print(finding.message, markup=False)
        if finding.remedy:
            console.print(f"        {finding.remedy}", markup=False)
    if failed:
        raise typer.Exit(1)
