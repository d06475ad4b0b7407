"""Findings about the machine: a sentence with a verdict, and a remedy where there is one."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "missing", "failed"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: "missing" is what only some jobs need, "failed" what should work and does not."""

    what: str
    verdict: Verdict
    message: str
    remedy: str = ""
