"""Three simulated newcomers, each in an empty folder with only the wheel, run the commands of the pages.

A walk names pages and headings; the blocks under these are run in order. Sizes of datasets and training are small.
Packages that pip would download are links to those installed here, limited to the extras that the pages name;
sweepdepth itself is installed from the wheel.
"""

import json
import shlex
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from sweepdepth.capture.files.dataset import read_truth
from sweepdepth.capture.files.depth_file import read_depth_file

from ..installed import link_needed, make_python
from ..pages import ROOT, blocks_of
from ..reader import Reader

INSTALL = ("docs/install.md", "Install")
LAY_OUT = ("docs/install.md", "Example files")

WALKS = {
    "student": [
        ("docs/index.md", "2. Look at the recording"),
        ("docs/index.md", "3. Turn it into depth"),
        ("docs/index.md", "4. Stream it"),
        ("docs/index.md", "5. See it move"),
        ("docs/view.md", "The live page"),
        ("docs/replay.md", "To a file"),
        ("docs/replay.md", "Between formats"),
        ("docs/formats.md", "Recordings"),
        ("examples/first_depth.ipynb", ""),
    ],
    "engineer": [
        ("docs/calibration.md", "The calibration file, `lens.toml`"),
        ("docs/pipe.md", "Try it"),
        ("docs/live.md", "4. Run"),
        ("docs/live.md", "5. Listen"),
        ("docs/replay.md", "As if it were live"),
        ("docs/wire.md", "Clients"),
        ("docs/wire.md", "Only the newest frame"),
        ("docs/wire.md", "Keys"),
    ],
    "researcher": [
        ("docs/generate.md", "A first dataset"),
        ("docs/generate.md", "A single scene"),
        ("docs/generate.md", "Photographs instead of Blender"),
        ("docs/training.md", "Training a network"),
        ("docs/training.md", "Fine-tuning"),
        ("docs/training.md", "Without torch"),
    ],
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.blender,
    pytest.mark.timeout(900),
    pytest.mark.skipif(
        any(find_spec(name) is None for name in ("bpy", "torch", "openvino", "viser")),
        reason="the extras are not all installed",
    ),
]


@dataclass
class Newcomer(Reader):
    """A reader who starts with Python, a wheel and an empty folder."""

    wheels: Path = Path()
    others: Path = Path()  # packages that pip finds installed
    start_folder: Path = Path()
    page: str = ""

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in super().environment.items() if not name.startswith(("PYTHON", "PIP_"))}
        return kept | {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(self.wheels), "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

    def turn_to(self, page: str) -> None:
        """Start a page in a new folder, as the install page says."""
        if page != self.page:
            self.folder = self.start_folder / Path(page).stem
            self.folder.mkdir()
            for _, command in steps_under(*LAY_OUT):
                self.run(command)
        self.page = page

    def do(self, command: str) -> None:
        self.run(command)

    def run(self, command: str) -> None:
        match shlex.split(command, comments=True):
            case ["python3", "-m", "venv", folder]:
                make_python(self.folder / folder)
                (packages,) = (self.folder / folder).glob("lib/python*/site-packages")
                (packages / "others.pth").write_text(f"{self.others}\n")
                (self.folder / folder / "bin" / "node").symlink_to(shutil.which("node") or "/nonexistent")
            case [".", activate]:
                self.bin = (self.folder / activate).parent
            case ["pip", "install", named]:
                link_needed(self.others, set(named.rstrip("]").partition("[")[2].split(",")))
                self.finish(self.start(command), command)
            case ["cd", folder]:
                self.folder /= folder
                modules = ROOT / "examples" / "node" / "node_modules"  # the packages that `npm ci` would install
                if modules.is_dir():
                    (self.folder / "examples" / "node" / "node_modules").symlink_to(modules)
            case _:
                super().run(command)

    def make(self, words: list[str], name: str) -> None:
        self.made.clear()  # each is run
        super().make(words, name)


def steps_under(page: str, heading: str) -> list[tuple[str, str]]:
    """(kind, command or code) of the blocks under a heading, or in a notebook."""
    if page.endswith(".ipynb"):
        cells = json.loads((ROOT / page).read_text(encoding="utf-8"))["cells"]
        return [("python", "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"))]
    steps: list[tuple[str, str]] = []
    for block in blocks_of(ROOT / page, heading):
        if block.kind == "sh":
            steps += [("sh", command) for command in block.commands]
        elif block.kind == "python":
            steps.append(("python", block.text))
    assert steps, f"{page} says nothing to do under {heading}"
    return steps


def steps_of_walks() -> list[Any]:
    """(walk, page, kind, command or code), each a test, in order."""
    found = []
    for walk, sections in WALKS.items():
        number = 0
        for page, heading in sections:
            for kind, text in steps_under(page, heading):
                number += 1
                name = f"{walk}-{number}-{Path(page).stem}-" + "-".join(text.split()[:2])
                found.append(pytest.param(walk, page, kind, text, id=name))
    return found


@pytest.fixture(scope="module")
def wheels(tmp_path_factory) -> Path:
    """The wheel, as it would be published."""
    folder = tmp_path_factory.mktemp("wheels")
    source = tmp_path_factory.mktemp("source") / "sweepdepth"
    unwanted = shutil.ignore_patterns(".git", ".venv", "node_modules", "__pycache__", "build", "*.egg-info", "site")
    shutil.copytree(ROOT, source, symlinks=True, ignore=unwanted)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    subprocess.run([*build, str(folder), str(source)], check=True, timeout=200)
    return folder


@pytest.fixture(scope="module")
def installed(tmp_path_factory, wheels) -> Newcomer:
    """The folder of the commands after following the install page; all walks start there."""
    folder = tmp_path_factory.mktemp("installed")
    newcomer = Newcomer(folder, 0, Path(), patience_s=500, wheels=wheels, others=folder / "others")
    for _, command in steps_under(*INSTALL):
        newcomer.run(command)
    return newcomer


@pytest.fixture(scope="module")
def newcomers(tmp_path_factory, installed) -> Iterator[Callable[[str], Newcomer]]:
    """The reader of each walk, with the results of its earlier commands."""
    known: dict[str, Newcomer] = {}

    def newcomer(walk: str) -> Newcomer:
        if walk not in known:
            folder = tmp_path_factory.mktemp(walk)
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
            known[walk] = replace(installed, made={}, folder=folder, start_folder=folder, port=port)
        return known[walk]

    yield newcomer
    for reader in known.values():
        reader.leave()


@pytest.mark.parametrize("walk,page,kind,text", steps_of_walks())
def test_a_newcomer_succeeds_with_the_wheel_and_the_pages(walk, page, kind, text, newcomers):
    newcomer = newcomers(walk)
    newcomer.turn_to(page)
    if kind == "python":
        newcomer.run_python(text)
    else:
        newcomer.do(text)


def made_by(newcomers: Callable[[str], Newcomer], walk: str, page: str) -> Path:
    """The folder in which a walk followed a page."""
    folder = newcomers(walk).start_folder / page / "here"
    if not folder.is_dir():
        pytest.skip("the walk before this was left out")
    return folder


def test_the_student_has_depth_that_is_right_and_no_torch(newcomers):
    folder = made_by(newcomers, "student", "index")
    depth = read_depth_file(folder / "depth.h5").depth
    truth = read_truth(folder / "stream" / "demo_recording.h5")
    error = np.abs(1 / depth - 1 / truth.depth) / truth.calibration.sweep.range_diopters
    assert len(depth) == 4
    assert np.nanmedian(error) < 0.1
    with Image.open(folder / "depth.png") as picture:
        assert picture.width > truth.calibration.camera.width / 2
    assert not (newcomers("student").others / "torch").exists()


def test_the_engineer_received_all_frames(newcomers):
    received = read_depth_file(made_by(newcomers, "engineer", "replay") / "received.h5").depth
    assert len(received) == 4
    assert np.isfinite(received).mean() > 0.3


def test_the_researcher_has_evaluated_weights_that_run_without_torch(newcomers):
    folder = made_by(newcomers, "researcher", "training")
    assert (folder / "trained" / "curves.png").exists()
    report = json.loads((folder / "report" / "evaluation.json").read_text())
    assert "constant" in json.dumps(report)
    for name in ("depth.h5", "robot.h5"):
        assert np.isfinite(read_depth_file(folder / name).depth).all()
