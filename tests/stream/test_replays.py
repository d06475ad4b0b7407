"""Many recordings into a folder of depth files."""

import shutil

import pytest

from sweepdepth import RecordingError
from sweepdepth.capture.files.depth_file import read_depth_file
from sweepdepth.capture.formats.selection import find_recordings, is_many
from sweepdepth.stream.demo import recording_path
from sweepdepth.stream.replays import replay_all
from sweepdepth.stream.run_options import RunOptions


def test_a_folder_is_replayed_and_failures_are_listed(tmp_path):
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    for name in ("a.h5", "b.h5"):
        shutil.copy(recording_path(), folder / name)
    (folder / "b.h5").write_bytes((folder / "b.h5").read_bytes()[:2000])
    (folder / "notes.txt").write_text("no recording")
    assert is_many([str(folder)])
    found = find_recordings([str(folder)])
    assert [path.name for path in found] == ["a.h5", "b.h5"]  # a damaged recording is not passed over
    found = [*found, folder / "missing.raw"]
    done: list[float] = []
    outcomes = replay_all(found, out, options=RunOptions("polarity"), on_progress=done.append)
    assert [outcome.failure is None for outcome in outcomes] == [True, False, False]
    assert "b.h5" in str(outcomes[1].failure)
    assert done == [1, 2, 3]
    assert [path.name for path in out.iterdir()] == ["a.h5"]
    assert len(read_depth_file(out / "a.h5")) >= 4
    again = replay_all(find_recordings([str(folder / "a*.h5")]), out, options=RunOptions("polarity"))
    assert "a.h5: exists; give --force" in str(again[0].failure)
    with pytest.raises(RecordingError, match="is read by this command"):
        replay_all([folder / "a.h5"], folder, force=True)
    with pytest.raises(RecordingError, match="has no recordings"):
        find_recordings([str(out)])
    assert not is_many([str(folder / "a.h5")])


def test_recordings_with_equal_names_get_different_files(tmp_path):
    paths = [tmp_path / "x" / "a.h5", tmp_path / "a.raw"]
    outcomes = replay_all(paths, tmp_path / "out")
    assert [outcome.out.name for outcome in outcomes] == ["a.h5.h5", "a.raw.h5"]
