"""The troubleshooting page quotes what the code says, word for word."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
GAP = "\0"


def said() -> list[str]:
    """All texts of the code, with a gap where a value is put in."""
    texts = []
    for folder in ("capture", "synth", "net", "stream", "cli"):
        for path in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.JoinedStr):
                    texts.append("".join(p.value if isinstance(p, ast.Constant) else GAP for p in node.values))  # type: ignore[misc]
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    texts.append(node.value)
    return texts


def rows(head: str) -> list[list[str]]:
    """The rows of all tables whose first column has this head."""
    found = []
    for table in re.findall(rf"^\| {head} \|.*\n\|[-|]+\n((?:\|.*\n)+)", PAGE, re.MULTILINE):
        found += [[cell.strip() for cell in row.strip("|").split(" | ")] for row in table.splitlines()]
    return found


SAID = said()


@pytest.mark.parametrize("row", rows("it says"), ids=lambda row: row[0].strip("`| ")[:40])
def test_each_message_occurs_in_the_code(row):
    quoted = re.fullmatch(r"\|? ?`(.+)`", row[0])
    assert quoted is not None, row[0]
    pattern = ".*".join(re.escape(part.strip()) for part in quoted[1].split("…"))
    assert any(re.search(pattern, text, re.DOTALL) for text in SAID), quoted[1]


def test_each_entry_has_a_cause_and_a_way_out():
    entries = [*rows("it says"), *rows("another program says"), *rows("you see")]
    assert len(entries) > 90
    assert all(len(row) == 3 and all(len(cell) > 2 for cell in row) for row in entries)


def test_every_job_has_its_messages():
    heads = re.findall(r"^## (.*)$", PAGE, re.MULTILINE)
    for job in ("Install", "Cameras", "lens turns", "Calibration", "Replay", "Live", "Streams", "Blender", "Training"):
        assert any(job in head for head in heads), job
