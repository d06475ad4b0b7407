"""Known vulnerabilities in the pinned packages, from PyPI's advisory database: `./run audit`."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PIP_AUDIT = ROOT / ".venv" / "audit" / "bin" / "pip-audit"
PINNED = ("constraints.txt", "constraints-audit.txt")
NEEDED = "it needs pypi.org itself, since mirrors of packages have no advisories"


def command(pinned: str) -> list[str]:
    """The pip-audit command, which installs and resolves nothing."""
    return [
        *(str(PIP_AUDIT), "--requirement", str(ROOT / pinned), "--no-deps", "--disable-pip"),
        *("--format", "json", "--progress-spinner", "off"),
    ]


def judge(report: dict[str, Any]) -> tuple[int, list[str]]:
    """Exit status and report lines from pip-audit's JSON: 1 for vulnerabilities, 2 for packages that could not be
    examined, which pip-audit itself ignores."""
    found, unknown = [], []
    for package in report["dependencies"]:
        if "skip_reason" in package:
            unknown.append(f"{package['name']}: {package['skip_reason']}")
        for flaw in package.get("vulns", ()):
            fixed = ", ".join(flaw["fix_versions"]) or "no version yet"
            found.append(f"{package['name']} {package['version']}: {flaw['id']}, fixed in {fixed}")
    examined = len(report["dependencies"]) - len(unknown)
    if not examined:
        return 2, [f"nothing was examined: the advisory database did not answer; {NEEDED}"]
    lines = [*found, *(f"not examined: {line}" for line in unknown)]
    lines.append(f"{examined} packages examined, {len(found)} vulnerabilities known, {len(unknown)} not examined")
    return 1 if found else 2 if unknown else 0, lines


def main() -> None:
    if not PIP_AUDIT.exists():
        sys.exit("pip-audit is missing; ./run audit installs it")
    worst = 0
    for pinned in PINNED:
        print(f"{pinned}:", flush=True)
        done = subprocess.run(command(pinned), capture_output=True, text=True, check=False)
        try:
            report = json.loads(done.stdout)
        except ValueError:
            reason = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
            sys.exit(f"  pip-audit gave no answer ({reason}); {NEEDED}")
        status, lines = judge(report)
        print("\n".join(f"  {line}" for line in lines))
        worst = status if status == 1 or not worst else worst
    sys.exit(worst)


if __name__ == "__main__":
    main()
