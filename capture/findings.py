"""Findings about the machine: a verdict, a sentence, and a remedy where there is one."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "missing", "failed"]


@dataclass(frozen=True)
class Finding:
    """Result of one check: "missing" is something that only some tasks need, "failed" something that should work."""

    what: str
    verdict: Verdict
    message: str
    remedy: str = ""
