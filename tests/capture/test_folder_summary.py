"""Descriptions of folders of recordings, and of text files."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sweepdepth import RecordingError
from sweepdepth.capture.files.description import describe
from sweepdepth.capture.files.facts import as_numbers
from sweepdepth.capture.recordings.hints import TableHints

COMMAND = Path(sys.executable).with_name("sweepdepth")
OLDER = Path(__file__).parents[1] / "data" / "older"


@pytest.fixture
def folder(tmp_path):
    """Three recordings, of which one has its calibration beside it, a damaged one, and files of other kinds."""
    path = tmp_path / "runs"
    path.mkdir()
    shutil.copy(OLDER / "recording.h5", path / "a.h5")
    shutil.copy(OLDER / "recording.raw", path / "b.raw")
    shutil.copy(OLDER / "lens.toml", path / "b.toml")
    shutil.copy(OLDER / "depth.h5", path / "depth.h5")
    shutil.copy(OLDER / "recording.npz", path / "c.npz")
    (path / "d.h5").write_bytes((OLDER / "recording.h5").read_bytes()[:2000])
    (path / "notes.txt").write_text("a table, near")
    return path


def test_a_folder_of_recordings_has_a_line_for_each_and_totals(folder):
    read: list[float] = []
    facts = describe(folder, on_progress=read.append)
    assert list(facts) == ["recordings", "files"]
    assert list(facts["files"]) == ["a.h5", "b.raw", "c.npz", "d.h5"]
    assert str(facts["files"]["b.raw"]).startswith("EVT2, 48×36 pixels, 477 events in 0.36")
    assert "2 sweeps" in facts["files"]["b.raw"]
    assert facts["files"]["d.h5"].startswith("unreadable: ")
    numbers = as_numbers(facts)
    assert (numbers["recordings"]["recordings"], numbers["recordings"]["events"]) == (4, 3 * 477)
    assert numbers["recordings"]["unreadable"] == 1
    assert numbers["files"]["a.h5"]["events"] == numbers["files"]["c.npz"]["events"] == 477
    assert read[-1] == 3 * 477


def test_the_command_lists_a_folder_and_its_status_says_that_one_is_unreadable(folder):
    done = subprocess.run([COMMAND, "info", folder, "--json"], capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 3, done.stderr
    assert json.loads(done.stdout)["recordings"]["events"] == 3 * 477


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(RecordingError, match=r"has no recordings .* and is no dataset"):
        describe(tmp_path)


def test_assumptions_about_columns_are_given_once(tmp_path):
    (tmp_path / "e.txt").write_text("1000 10 20 1\n1100 11 21 0\n1300 12 22 1\n2000 13 23 1\n")
    facts = describe(tmp_path / "e.txt", hints=TableHints(size=(32, 32)))["recording"]
    assert "columns taken as t,x,y,p" in facts["recognised"]
    assert "columns taken as" not in facts["repairs"]
    assert "times taken as microseconds" in facts["repairs"]
