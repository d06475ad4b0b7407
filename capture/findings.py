"""What a look at the machine found: sentences with a verdict, and the way out where there is one."""

from dataclasses import dataclass
from typing import Literal

Verdict = Literal["ok", "missing", "failed"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: "missing" is what only some jobs need, "failed" what should work and does not."""

    what: str
    verdict: Verdict
    told: str
    remedy: str = ""
