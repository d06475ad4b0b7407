"""The README's Python example, run as it stands."""

import os
import re
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from sweepdepth.capture.recordings import open_recording, write_recording
from sweepdepth.stream.demo import recording_path

ROOT = Path(__file__).parents[1]


def test_ten_lines_lead_from_a_recording_to_a_picture_of_its_depth(tmp_path, monkeypatch, capsys):
    code = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert len(code) == 1
    assert len(code[0].splitlines()) == 10
    with h5py.File(recording_path()) as file:
        (tmp_path / "lens.toml").write_text(str(file.attrs["lens_toml"]))
    with open_recording(recording_path()) as recording:
        write_recording(tmp_path / "sweep.aedat4", recording, recording.width, recording.height)
    monkeypatch.chdir(tmp_path)
    scope: dict = {}
    exec(compile(code[0], "README.md", "exec"), scope)
    estimate = scope["estimate"]
    assert estimate.depth.shape == estimate.std.shape
    assert (estimate.depth > 0).any()
    assert np.isnan(estimate.depth).any()
    assert str(estimate) in capsys.readouterr().out
    with Image.open(tmp_path / "depth.png") as picture:
        shown = np.asarray(picture.convert("RGB"))
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) > 100  # colours of depth and of deviation


@pytest.mark.parametrize("page", [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")], ids=lambda p: p.name)
def test_links_of_the_readme_exist(page):
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith(("http://", "https://")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
            assert not os.path.isabs(target)
