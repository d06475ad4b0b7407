"""The tables that `./run bench live` prints are those of docs/live.md, and its JSON has the same numbers."""

import json
import re
from pathlib import Path

from bench._live_load import Load, Run
from bench._live_tables import print_runs

PAGE = Path(__file__).parents[1] / "docs/live.md"


def made_up() -> Run:
    run = Run(Load(640, 480, "polarity", None, "sweep", downsample=2), rate=40.0, seconds=10.0)
    run.ages_ms, run.errors = [float(ms) for ms in range(101)], [0.02] * 101
    run.sent, run.unsent, run.dropped = 300, 50, {"camera_events": 50, "sweeps_incomplete": 3, "recorder_events": 0}
    run.rss = {"live": [(0.0, 900.0), (1.0, 1200.0)], "camera": [(0.0, 100.0)]}
    return run


def test_a_run_is_a_row_with_what_was_lost_where(capsys):
    print_runs([made_up()])
    row = capsys.readouterr().out.splitlines()[-1]
    dropped = "50 camera events, 3 sweeps incomplete, 50 not sent"
    assert row == f"| 640×480, 2×2 binned | 40 | 28.6% | 10.1 | 50 ms | 99 ms | 0.020 | 1.30 GB | {dropped} |"


def test_a_run_without_any_depth_has_a_row_and_a_summary(capsys):
    run = Run(Load(640, 480, None, None, "sweep"), rate=80.0, seconds=10.0)
    print_runs([run])
    assert "| none | none |" in capsys.readouterr().out
    assert run.summary()["age_p50_ms"] is None


def test_the_summary_has_the_numbers_of_the_row_as_json():
    found = json.loads(json.dumps(made_up().summary()))
    assert (found["camera"], found["rate"], found["lost"]) == ("640×480, 2×2 binned", 40.0, 0.28571)
    assert (found["age_p50_ms"], found["age_p99_ms"], found["depths_per_s"], found["memory_gb"]) == (50, 99, 10.1, 1.3)


def test_the_table_of_the_page_has_columns_that_are_printed(capsys):
    print_runs([])
    printed = {cell.strip() for cell in capsys.readouterr().out.splitlines()[0].strip("|").split("|")}
    tables = re.findall(r"^\| camera \| M events/s \|.*\|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert tables
    for head in tables:
        assert {cell.strip() for cell in head.strip("|").split("|")} <= printed
